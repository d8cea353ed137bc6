"""A training that was stopped at any moment goes on to the same bits; damaged states and full disks are said."""

import functools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from pipeline.errors import PipelineError
from pipeline.incremental.module_sources import find_path
from pipeline.models import batches
from pipeline.runtime.run_stage import Workspace, explain_disk_errors
from pipeline.tables.contracts import MODEL_FOLDER, SHARDS_FOLDER
from pipeline.train import resume_key, saved_states
from pipeline.train.resume_key import compute_key, list_hashed_files
from pipeline.train.saved_states import SavedStates, State
from pipeline.train.step import remove_states, train
from shardwright import Loader
from shardwright.format.atomic_write import write_file
from tests.support.factory_shards import Toy, make_shards, spoil_sample
from tests.train.test_train import ROOT, RUN, make_params, read_bytes

pytestmark = pytest.mark.slow

STEPS = 24
"""Of the runs here: four epochs of six batches, the last of which is smaller."""

SETTINGS: dict[str, Any] = {"epochs": 4, "batch_size": 8, "patience": 100, "width": 4}

WEIGHTS = ("best.safetensors", "last.safetensors", "history.tsv")
"""Files that do not hold the params."""

Bytes = dict[str, bytes]


class Stopped(Exception):  # noqa: N818
    """What stops a training here."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_shards(folder / SHARDS_FOLDER, Toy(train=45, val=8, missing=("audio",)))
    return folder


@pytest.fixture(scope="module")
def expected(data: Path) -> Bytes:
    """The files of a run that was not stopped."""
    return run(data, data / "whole")


@pytest.fixture(autouse=True)
def _save_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SavedStates, "is_due", lambda states: True)


def run(data: Path, folder: Path, **changes: Any) -> Bytes:
    """Train, going on from what the folder has; return the files of the model."""
    workspace = Workspace(data, folder / "work", folder, RUN)
    shutil.rmtree(workspace.work, ignore_errors=True)
    train(make_params(**{**SETTINGS, **changes}), workspace)
    return read_bytes(workspace.work)


def run_steps(steps: int, data: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """Train as `run` does, but stop after some steps and the saving of the state."""
    left = iter(range(steps - 1))
    save = SavedStates.save

    def save_or_stop(states: SavedStates, state: State) -> None:
        save(states, state)
        if next(left, None) is None:
            raise Stopped

    with monkeypatch.context() as patched:
        patched.setattr(SavedStates, "save", save_or_stop)
        with pytest.raises(Stopped):
            run(data, folder, **changes)


def list_states(folder: Path) -> list[Path]:
    return sorted((folder / "training").rglob("step-*.json"))


def test_stopped_after_every_step(
    data: Path, expected: Bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each step is taken by new objects that have nothing of the others but the files, after other random numbers."""
    for step in range(1, STEPS + 1):
        torch.rand(step)
        with monkeypatch.context() as patched:
            patched.setattr(batches, "Loader", functools.partial(Loader, threads=step % 3))
            run_steps(1, data, tmp_path, patched)
        assert [int(path.stem[5:]) for path in list_states(tmp_path)] == [step - 1, step][-min(step, 2) :]
        assert len(list((tmp_path / "training").rglob("best-*"))) <= 2
    assert run(data, tmp_path) == expected
    said = capfd.readouterr().err.splitlines()
    assert said == [f"train: resuming at step {step} of {STEPS}" for step in range(1, STEPS + 1)]


def test_other_readers_go_on_too(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = "webdataset"
    whole = run(data, tmp_path / "whole", reader=reader, epochs=2)
    run_steps(9, data, tmp_path, monkeypatch, reader=reader, epochs=2)
    assert run(data, tmp_path, reader=reader, epochs=2) == whole


KILLED = """
import sys
from pathlib import Path
from pipeline.train.saved_states import SavedStates
from tests.train import test_resume

SavedStates.is_due = lambda states: True
test_resume.run(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def kill_when(data: Path, folder: Path, is_time: Callable[[], bool]) -> None:
    """Start a training in a process of its own, and kill it at a moment, or let it end."""
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(data), str(folder)], cwd=ROOT)
    try:
        while process.poll() is None and not is_time():
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def has_step(folder: Path, step: int) -> bool:
    return any(int(path.stem[5:]) >= step for path in list_states(folder))


def test_killed_three_times(data: Path, expected: Bytes, tmp_path: Path) -> None:
    for step in (3, 11, 18):
        kill_when(data, tmp_path, functools.partial(has_step, tmp_path, step))
        assert has_step(tmp_path, step)
    assert run(data, tmp_path) == expected


@pytest.mark.sweep
def test_killed_fifty_times(data: Path, expected: Bytes, tmp_path: Path) -> None:
    """At any moment: the one that is looked for is seen up to 20 ms late."""
    for kill in range(50):
        kill_when(data, tmp_path, functools.partial(has_step, tmp_path, 1 + kill * STEPS // 60))
    assert run(data, tmp_path) == expected


@pytest.mark.parametrize(
    ("damage", "suffix"), [("cut", ".json"), ("remove", ".json"), ("flip", ".safetensors"), ("remove", ".safetensors")]
)
def test_a_damaged_state_is_not_used(
    data: Path,
    expected: Bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    damage: str,
    suffix: str,
) -> None:
    run_steps(9, data, tmp_path, monkeypatch)
    path = list_states(tmp_path)[-1].with_suffix(suffix)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else content)
    assert run(data, tmp_path) == expected
    said = capfd.readouterr().err
    assert "resuming at step 8 of 24" in said
    assert ("is damaged" in said) == ((damage, suffix) != ("remove", ".json"))


def test_training_starts_afresh_where_all_states_are_damaged(
    data: Path, expected: Bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run_steps(9, data, tmp_path, monkeypatch)
    for path in list_states(tmp_path):
        path.write_bytes(b"")
    assert run(data, tmp_path) == expected
    said = capfd.readouterr().err
    assert said.count("is damaged") == 2
    assert "resuming" not in said


def test_a_full_disk_leaves_the_last_state(
    data: Path, expected: Bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(15))

    def fill(path: Path, chunks: list[bytes]) -> None:
        write_file(path, chunks)
        if next(calls, None) is None:
            path.with_name(f".{path.name}.partial").write_bytes(b"half")
            path.unlink()
            raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(saved_states, "write_file", fill)
        message = r"No space left on device; free some space there"
        with pytest.raises(PipelineError, match=message), explain_disk_errors(tmp_path):
            run(data, tmp_path)
    assert len(list_states(tmp_path)) == 2
    assert run(data, tmp_path) == expected
    assert not list((tmp_path / "training").rglob(".*.partial"))


def test_other_params_or_data_start_afresh(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run_steps(9, data, tmp_path, monkeypatch)
    whole = run(data, tmp_path / "whole", seed=1)
    assert run(data, tmp_path, seed=1) == whole
    assert "resuming" not in capfd.readouterr().err
    assert len(list((tmp_path / "training/work").iterdir())) == 1, "the states of the other params are removed"
    remove_states(Workspace(data, tmp_path / "work", tmp_path, RUN))
    assert not list_states(tmp_path)


LIST_MODULES = """
import sys
from pathlib import Path
from pipeline.config.check_params import check_all_blocks, read_params

check_all_blocks(read_params(Path("params.yaml")))
checked = set(sys.modules)  # it may refuse, no more
from pipeline.runtime.run_stage import run_stage
from stages.train import step

assert run_stage("train", ["6_model"], step) == 0
print(*sorted(set(sys.modules) - checked), sep="\\n")
"""


def test_the_key_has_the_hash_of_every_module_that_runs(data: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / SHARDS_FOLDER).symlink_to(data / SHARDS_FOLDER)
    params = make_params(epochs=1, fusion="plugins/examples/fusion.py:Largest")
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"train": params.model_dump(mode="json")}))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", LIST_MODULES]
    done = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
    files = {str(path) for name in done.stdout.split() if (path := find_path(name))}
    assert files <= set(list_hashed_files(params))
    assert files >= {"plugins/examples/fusion.py", "shardwright/datasets/permutation.py", "stages/train.py"}


def test_the_key_depends_on_all_that_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    first = compute_key(make_params(), "0" * 64, cpu)
    assert compute_key(make_params(), "0" * 64, cpu) == first
    keys = {
        compute_key(make_params(threads=2), "0" * 64, cpu),
        compute_key(make_params(), "1" * 64, cpu),
        compute_key(make_params(fusion="plugins/examples/fusion.py:Largest"), "0" * 64, cpu),
    }
    monkeypatch.setattr(torch, "__version__", "0")
    keys.add(compute_key(make_params(), "0" * 64, cpu))
    monkeypatch.setattr(resume_key, "hash_source", lambda module: "other code")
    keys.add(compute_key(make_params(), "0" * 64, cpu))
    assert len(keys - {first}) == 5


def test_a_loss_that_is_no_number_keeps_the_state(tmp_path: Path) -> None:
    make_shards(tmp_path / SHARDS_FOLDER, Toy(train=12), spoil=spoil_sample)
    for _ in range(2):
        with pytest.raises(PipelineError, match=r"the loss is nan in epoch 1, at step \d+, on the samples .*train-005"):
            run(tmp_path, tmp_path / "run", batch_size=1)
        assert list_states(tmp_path / "run")


def test_saving_takes_a_hundredth_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    now = [0.0]
    states = SavedStates(tmp_path, print, clock=lambda: now[0])

    def write_slowly(path: Path, chunks: list[bytes]) -> None:
        write_file(path, chunks)
        now[0] += 0.2

    monkeypatch.setattr(saved_states, "write_file", write_slowly)
    saved = []
    for step in range(4000):
        now[0] += 0.1
        if states.is_due():
            states.save(State(step, {}, {"a": torch.zeros(1)}, {}))
            saved.append(now[0])
    assert saved[0] < 6
    assert len(saved) == pytest.approx(0.01 * now[0] / 0.4, abs=1)


@pytest.mark.parametrize(
    "changes",
    [{"ema": 0.9, "accumulate": 4, "optimizer": "sgd"}, {"average_epochs": 3, "precision": "bfloat16"}],
    ids=["moving", "epochs"],
)
def test_every_setting_of_the_loop_goes_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    whole = run(data, tmp_path / "whole", **changes)
    assert whole["best.safetensors"] != run(data, tmp_path / "plain")["best.safetensors"]
    for steps in (3, 4, 1):
        run_steps(steps, data, tmp_path, monkeypatch, **changes)
    assert run(data, tmp_path, **changes) == whole


def test_several_seeds_go_on_with_the_one_that_was_stopped(
    data: Path, expected: Bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run_steps(STEPS + 6, data, tmp_path, monkeypatch, seeds=[0, 5])
    first = run(data, tmp_path, seeds=[0, 5])
    assert capfd.readouterr().err == "train: resuming at step 5 of 24 with seed 5\n"
    assert {name: first[name] for name in WEIGHTS} == {name: expected[name] for name in WEIGHTS}
    other = run(data, tmp_path / "other", seed=5)
    folder = tmp_path / "work" / MODEL_FOLDER
    assert {name: (folder / "seed-5" / name).read_bytes() for name in WEIGHTS} == {
        name: other[name] for name in WEIGHTS
    }
    assert [line.split("\t")[0] for line in (folder / "seeds.tsv").read_text().splitlines()] == ["seed", "0", "5"]
