"""Two processes train as one does: the same samples in the same steps, gradients and weights as near as sums are."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from pipeline.errors import InputError, ParamsError
from pipeline.models.batches import Batch, ReadOrder, read_batches
from pipeline.models.checkpoint import load_model
from pipeline.tables.contracts import MODEL_FOLDER, SHARDS_FOLDER
from pipeline.train.step import Course, open_splits, plan_course
from pipeline.train.team import ALONE, Team
from pipeline.train.training_loop import Trainer
from shardwright import ShardDataset
from tests.support.factory_shards import Toy, make_shards
from tests.train.test_train import ROOT, make_params, run_train

pytestmark = pytest.mark.slow

SETTINGS: dict[str, Any] = {"epochs": 4, "batch_size": 8, "patience": 100, "width": 4, "dropout": 0.0}
"""24 steps; the last batch of an epoch has five samples, an odd number."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "data"
    make_shards(folder / SHARDS_FOLDER, Toy(train=45, val=8, missing=("audio",)))
    return folder


def read_shares(data: Path, processes: int) -> list[list[Batch]]:
    """Return the batches of an epoch in each process."""
    with ShardDataset(data / SHARDS_FOLDER, "train") as split:
        orders = [ReadOrder(8, True, 3, 1, rank=rank, processes=processes) for rank in range(processes)]
        return [list(read_batches("shardwright", split, order)) for order in orders]


@pytest.mark.parametrize("processes", [2, 4, 8])
def test_the_order_is_the_same_in_any_number_of_processes(data: Path, processes: int) -> None:
    (whole,) = read_shares(data, 1)
    shares = read_shares(data, processes)
    for batch, *parts in zip(whole, *shares, strict=True):
        valid = [[key for key, there in zip(part["key"], part["valid"], strict=True) if there] for part in parts]
        found = [keys[position] for position in range(8 // processes) for keys in valid if position < len(keys)]
        assert found == batch["key"]


@dataclass(frozen=True)
class Half(Team):
    """One of two processes, which hears nothing of the other."""

    def add(self, *values: float) -> list[float]:
        return list(values)

    def add_gradients(self, model: nn.Module) -> None:
        pass


def find_gradients(data: Path, team: Team, batch: Batch) -> tuple[float, list[Tensor]]:
    course = plan_course(make_params(**SETTINGS), *open_splits(data))
    assert isinstance(course, Course)
    torch.manual_seed(0)
    trainer = Trainer(course.lesson.build_model(), course.params, len(course.data), team)
    samples = min(8, len(course.data))
    loss = trainer.add_gradients([trainer.prepare(batch)], samples)
    return loss, [parameter.grad for parameter in trainer.model.parameters() if parameter.grad is not None]


def test_gradients_of_a_step_are_the_same(data: Path) -> None:
    (whole,), shares = read_shares(data, 1), read_shares(data, 2)
    loss, gradients = find_gradients(data, ALONE, whole[0])
    halves = [find_gradients(data, Half(rank, 2), shares[rank][0]) for rank in range(2)]
    assert sum(half[0] for half in halves) == pytest.approx(loss, rel=1e-6)
    for one, *parts in zip(gradients, *(half[1] for half in halves), strict=True):
        torch.testing.assert_close(parts[0] + parts[1], one, atol=1e-6, rtol=0)


def write_params(data: Path, folder: Path, **changes: Any) -> None:
    """Make a folder to run the stage in."""
    (folder / "data").mkdir(exist_ok=True, parents=True)
    if not (folder / "data" / SHARDS_FOLDER).exists():
        (folder / "data" / SHARDS_FOLDER).symlink_to(data / SHARDS_FOLDER)
    params = make_params(**SETTINGS | changes)
    (folder / "params.yaml").write_text(yaml.safe_dump({"train": params.model_dump(mode="json")}))


def run_stage(data: Path, folder: Path, **changes: Any) -> subprocess.CompletedProcess[str]:
    """Run the stage as DVC does, in a folder of its own."""
    write_params(data, folder, **changes)
    environment = {"PYTHONPATH": str(ROOT), **os.environ}
    command = [sys.executable, "-m", "stages.train"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def load_weights_bytes(folder: Path) -> bytes:
    return (folder / "data" / MODEL_FOLDER / "last.safetensors").read_bytes()


def load_weights(folder: Path) -> dict[str, Tensor]:
    return load_model(folder / MODEL_FOLDER, "last.safetensors")[0].state_dict()


def test_two_processes_learn_what_one_learns(data: Path, tmp_path: Path) -> None:
    """With SGD: AdamW divides gradients by their size, and so takes a full step on one that is nothing but rounding."""
    sgd = {"optimizer": "sgd", "learning_rate": 0.01}
    done = run_stage(data, tmp_path, processes=2, **sgd)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("train    in 53 = kept 53 + dropped 0; ")
    run_train(data, "one", **SETTINGS | sgd)
    one, two = load_weights(data / "one"), load_weights(tmp_path / "data")
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-6
    assert not (tmp_path / ".cache/training").exists() or not list((tmp_path / ".cache/training").iterdir())


STOP = """
import os
from pipeline.train.saved_states import SavedStates

save = SavedStates.save

def save_or_stop(states, state):
    save(states, state)
    if state.step == 9:
        os._exit(9)

SavedStates.is_due = lambda states: True
SavedStates.save = save_or_stop
"""


@pytest.mark.sweep
def test_two_processes_go_on_after_a_stop(data: Path, tmp_path: Path) -> None:
    changes = {"processes": 2, "dropout": 0.5}
    assert run_stage(data, tmp_path / "whole", **changes).returncode == 0
    (tmp_path / "sitecustomize.py").write_text(STOP)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
        assert run_stage(data, tmp_path / "stopped", **changes).returncode != 0
    done = run_stage(data, tmp_path / "stopped", **changes)
    assert done.stderr.startswith("train: resuming at step 9 of 24\n"), done.stderr
    assert load_weights_bytes(tmp_path / "stopped") == load_weights_bytes(tmp_path / "whole")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 9}, r"train\.batch_size is 9; it must be a multiple of train\.processes \(2\)"),
        ({"reader": "webdataset"}, r"train\.reader is .*webdataset.*; it must be shardwright"),
    ],
)
def test_what_cannot_be_shared_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        make_params(processes=2, **changes)


def test_processes_are_started_by_the_stage(data: Path) -> None:
    with pytest.raises(InputError, match=r"train\.processes is 2, but torchrun started 1"):
        run_train(data, "alone", **SETTINGS, processes=2)


@pytest.mark.sweep
def test_processes_with_a_batch_norm_agree_when_to_stop(data: Path, tmp_path: Path) -> None:
    """Each normalizes its own samples; they validate with the leader's statistics, else one would wait for ever."""
    image = {"name": "resnet18", "channels": [8, 8, 8, 8], "lr_mult": 0.5}
    done = run_stage(data, tmp_path, processes=2, encoders={"image": image}, patience=1, epochs=12)
    assert done.returncode == 0, done.stderr
    assert load_model(tmp_path / "data" / MODEL_FOLDER)[0].get_buffer("encoders.0.bn1.num_batches_tracked") > 0
