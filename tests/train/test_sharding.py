"""Processes that share a model learn what those learn that each hold it; what they save and publish is whole."""

import functools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, distributed, nn
from torch._C._distributed_c10d import HashStore

from pipeline.errors import ParamsError
from pipeline.models.checkpoint import BEST
from pipeline.tables.contracts import MODEL_FOLDER, SHARDS_FOLDER
from pipeline.tasks.table import TASKS
from pipeline.train.optimizer import clip_gradients
from pipeline.train.saved_states import SavedStates
from pipeline.train.sharding import ShardedTeam, list_blocks
from pipeline.train.team import sum_gradients
from tests.support.factory_shards import Toy
from tests.support.small_captions import make_captioned
from tests.support.waiting import wait_for
from tests.train.test_resume import has_step
from tests.train.test_team import STOP, load_weights, load_weights_bytes, run_stage, write_params
from tests.train.test_train import ROOT, make_params, run_train

pytestmark = pytest.mark.slow

SETTINGS: dict[str, Any] = {"epochs": 4, "batch_size": 8, "patience": 100, "width": 8}
"""24 steps; the last batch of an epoch has one sample, none for the second process."""

PLAIN: dict[str, Any] = SETTINGS | {"dropout": 0.0, "optimizer": "sgd", "learning_rate": 0.01}
SHARDINGS = ("none", "full")
SHARED: dict[str, Any] = {"processes": 2, "sharding": "full"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Samples for every task."""
    folder = tmp_path_factory.mktemp("data") / "data"
    make_captioned(folder / SHARDS_FOLDER, Toy(classes=("1", "2"), train=41, val=8, missing=("audio", "text")))
    return folder


class Block(nn.Module):
    """A layer, a number that cannot be cut, and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 5)
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("mean", torch.ones(3))

    def forward(self, values: Tensor) -> Tensor:
        return torch.tanh(self.layer(values)) * self.scale


class Blocks(nn.Module):
    """A list of blocks, and one of layers, which are too small to be blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.heads = nn.ModuleList(nn.Linear(5, 1) for _ in range(2))

    def forward(self, values: Tensor) -> Tensor:
        return sum(
            (head(block(values)).sum() for head, block in zip(self.heads, self.blocks, strict=True)), values.sum()
        )


@pytest.fixture
def group() -> Iterator[None]:
    """A group of one process."""
    distributed.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def test_members_of_lists_with_modules_of_their_own_are_blocks() -> None:
    model = Blocks()
    assert list_blocks(model) == [model.blocks[1], model.blocks[0], model]
    assert list_blocks(nn.ModuleList([nn.Sequential(nn.ReLU())])) == []


def test_weights_are_cut_and_put_together(group: None) -> None:
    team, cpu = ShardedTeam(), torch.device("cpu")
    whole = Blocks()
    model = Blocks()
    model.load_state_dict(whole.state_dict())
    model = team.place(model, cpu)
    assert not [name for name, value in model.named_parameters() if (type(value) is nn.Parameter) != (value.ndim == 0)]
    with torch.no_grad():
        for value in model.parameters():
            value.mul_(0)
    model.load_state_dict(team.shard(whole.state_dict(), model.state_dict()))
    assert_equal(team.unshard(model.state_dict()), whole.state_dict())
    assert not ShardedTeam(rank=1).unshard(model.state_dict())


def test_gradients_are_clipped_to_the_norm_of_all(group: None) -> None:
    whole, model = Blocks(), Blocks()
    model.load_state_dict(whole.state_dict())
    model = ShardedTeam().place(model, torch.device("cpu"))
    for each in (whole, model):
        each(torch.arange(6.0).view(2, 3)).backward()
        clip_gradients(each, 0.5)
    expected = {name: value.grad for name, value in whole.named_parameters() if value.grad is not None}
    found = ShardedTeam().unshard(
        {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    )
    assert len(found) == len(expected) == 10
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name])
    assert torch.stack([value.square().sum() for value in found.values()]).sum().sqrt() == pytest.approx(0.5, abs=1e-5)


def test_a_gradient_that_no_process_has_stays_none(group: None) -> None:
    one, other = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(()))
    one.grad = torch.full((2,), 3.0)
    sum_gradients([one, other])
    assert torch.equal(one.grad, torch.full((2,), 3.0))
    assert other.grad is None


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert list(found) == list(expected)
    assert all(torch.equal(value, expected[name]) and type(value) is Tensor for name, value in found.items())


def test_processes_that_share_a_model_learn_what_one_learns(data: Path, tmp_path: Path) -> None:
    """Also after a stop, from a state that any process can read."""
    (tmp_path / "sitecustomize.py").write_text(STOP)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
        assert run_stage(data, tmp_path, **PLAIN | SHARED).returncode != 0
    (saved,) = (tmp_path / ".cache/training").rglob("seed-0")
    state = SavedStates(saved, print).read_latest()
    assert state is not None
    run_train(data, "one", **PLAIN)
    one = load_weights(data / "one")
    assert {f"model.{name}": value.shape for name, value in one.items()} == {
        name: value.shape for name, value in state.tensors.items() if name.startswith("model.")
    }
    done = run_stage(data, tmp_path, **PLAIN | SHARED)
    assert done.stderr.startswith("train: resuming at step 9 of 24\n"), done.stderr
    two = load_weights(tmp_path / "data")
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-6


def have_ended(pids: Sequence[str]) -> bool:
    return not any(Path("/proc", pid).exists() for pid in pids)


@pytest.mark.sweep
def test_killed_processes_go_on_to_the_same_bits(data: Path, tmp_path: Path) -> None:
    """First torchrun alone is killed, and the others end with it; then all are."""
    changes = SETTINGS | SHARED | {"ema": 0.9, "dropout": 0.5, "accumulate": 2}  # 12 steps
    assert run_stage(data, tmp_path / "whole", **changes).returncode == 0
    folder = tmp_path / "killed"
    write_params(data, folder, **changes)
    (tmp_path / "sitecustomize.py").write_text(STOP.replace("== 9", "== -1"))
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    for step, killed in ((3, 1), (8, 3)):
        process = subprocess.Popen([sys.executable, "-m", "stages.train"], cwd=folder, env=environment)
        wait_for(functools.partial(has_step, folder / ".cache", step), seconds=600)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for pid in (process.pid, *map(int, children))[:killed]:
            os.kill(pid, signal.SIGKILL)
        process.wait()
        wait_for(functools.partial(have_ended, children))
    done = run_stage(data, folder, **changes)
    assert "train: resuming at step" in done.stderr
    assert load_weights_bytes(folder) == load_weights_bytes(tmp_path / "whole")


RESNET = {"name": "resnet18", "channels": [8] * 4}
RUNS: dict[str, dict[str, Any]] = {
    "moving average": {"ema": 0.5, "max_gradient": 0.1},
    "average of epochs": {"average_epochs": 3, "accumulate": 4},
    "bfloat16": {"precision": "bfloat16", "fusion": "gated"},
    "retrieval": {"task": {"name": "retrieval"}, "max_gradient": 0.1},
    "sigmoid": {"task": {"name": "retrieval", "loss": "siglip"}},
    "generation": {"task": {"name": "generation"}, "fusion": "cross_attention"},
    "masked words": {
        "task": {"name": "masked_words"},
        "modalities": ["text"],
        "encoders": {"text": {"name": "transformer"}},
    },
    "regression": {
        "task": {"name": "regression"},
        "encoders": {"image": {**RESNET, "freeze": True}, "audio": {"name": "transformer"}, "text": {"name": "gru"}},
    },
    "batch norms": {"task": {"name": "multi_label"}, "ema": 0.5, "epochs": 2, "encoders": {"image": RESNET}},
}


def train_together(data: Path, runs: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
    """Train with each of some settings in two processes, sharded and not."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [
        sys.executable,
        *launcher,
        "-m",
        "tests.support.train_together",
        str(data),
        json.dumps(runs),
        str(folder),
    ]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, check=True)


def compare(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """Return the largest difference of a weight."""
    assert one.keys() == other.keys()
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in one)


@pytest.mark.sweep
def test_every_task_and_setting_learns_the_same(data: Path, tmp_path: Path) -> None:
    """With dropout: its numbers are drawn by each process, sharded or not."""
    sgd = SETTINGS | {"optimizer": "sgd", "learning_rate": 0.01}
    train_together(data, {name: sgd | each for name, each in RUNS.items()}, tmp_path)
    for name in RUNS:
        files = [tmp_path / f"{name}-{sharding}" for sharding in SHARDINGS]
        one, two = (safetensors.torch.load_file(f"{file}.safetensors") for file in files)
        print(f"{name}: {compare(one, two):.2g}")
        assert compare(one, two) < 1e-5, name
        whole, share = (json.loads(Path(f"{file}.json").read_text())["held"] for file in files)
        assert share < 0.6 * whole, name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, r'train\.sharding is "full"; it must be none where train\.processes is 1'),
        ({"processes": 2, "compile": True}, r"train\.compile is true; it must be false where train\.sharding is full"),
    ],
)
def test_what_cannot_be_sharded_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        make_params(sharding="full", **changes)


@pytest.mark.sweep
def test_one_process_and_two_learn_the_same(data: Path, tmp_path: Path) -> None:
    """Every task, whether the model is shared or not; but for retrieval, which compares the samples of a process. With
    AdamW at a width at which gradients are more than rounding."""
    runs: dict[str, dict[str, Any]] = {name: PLAIN | {"task": {"name": name}} for name in TASKS if name != "retrieval"}
    runs["masked_words"] |= {"modalities": ["text"], "encoders": {"text": {"name": "gru"}}}
    runs["adamw"] = SETTINGS | {"dropout": 0.0, "width": 32}
    train_together(data, runs, tmp_path)
    for name, changes in runs.items():
        run_train(data, f"one {name}", **changes)
        one = safetensors.torch.load_file(data / f"one {name}" / MODEL_FOLDER / BEST)
        for sharding in SHARDINGS:
            difference = compare(one, safetensors.torch.load_file(tmp_path / f"{name}-{sharding}.safetensors"))
            print(f"{name}, {sharding}: {difference:.2g}")
            assert difference < 1e-5, name
