"""Event files have each step once, also after stops, and are what TensorBoard reads."""

import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event

from pipeline.errors import InputError
from pipeline.models.history import read_history
from pipeline.tables.contracts import MODEL_FOLDER, SHARDS_FOLDER
from pipeline.train.saved_states import SavedStates
from pipeline.train.scalar_events import ScalarEvents, read_records
from pipeline.train.step import EVENTS_NAME
from tests.support.factory_shards import Toy, make_shards
from tests.train.test_resume import run, run_steps

pytestmark = pytest.mark.slow

STEP = ("train/learning_rate", "train/loss", "train/samples_per_second")
EPOCH = ("validation/accuracy", "validation/loss", "validation/macro_f1")


def list_steps(folder: Path) -> list[int]:
    """The steps of all events with numbers, in the order of the files."""
    events = [Event.FromString(content) for path in sorted(folder.iterdir()) for content in read_records(path)]
    return [event.step for event in events if event.HasField("summary")]


def test_steps_after_the_saved_state_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "seed-0"
    for start in (0, 6, 4, 4, 9):  # the last one finds no more than step 8
        events = ScalarEvents(folder, start)
        for step in range(start + 1, start + 5):
            events.add(step, {"loss": float(step), "score": None})
    assert list_steps(folder) == [1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13]
    assert ScalarEvents(folder, 0).path.name.endswith("000000")
    assert list_steps(folder) == []


@pytest.mark.parametrize("lost", [1, 12, 25])
def test_an_event_that_was_cut_is_removed(lost: int, tmp_path: Path) -> None:
    events = ScalarEvents(tmp_path, 0)
    for step in (1, 2, 3):
        events.add(step, {"loss": 1.0})
    content = events.path.read_bytes()
    events.path.write_bytes(content[:-lost])
    ScalarEvents(tmp_path, 3).add(4, {"loss": 1.0})
    assert list_steps(tmp_path) == [1, 2, 4]


def test_a_training_writes_what_its_history_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in the middle, with two seeds: a run each."""
    monkeypatch.setattr(SavedStates, "is_due", lambda states: True)
    make_shards(tmp_path / SHARDS_FOLDER, Toy(train=45, val=8))
    changes = {"tensorboard": True, "seeds": [0, 5]}
    run_steps(9, tmp_path, tmp_path, monkeypatch, **changes)
    run(tmp_path, tmp_path, **changes)
    folders = {0: tmp_path / "work" / MODEL_FOLDER, 5: tmp_path / "work" / MODEL_FOLDER / "seed-5"}
    for seed, folder in folders.items():
        shown = EventAccumulator(str(tmp_path / EVENTS_NAME / f"seed-{seed}"), {"scalars": 0}).Reload()
        assert sorted(shown.Tags()["scalars"]) == [*STEP, *EPOCH]
        for name in STEP:
            assert [event.step for event in shown.Scalars(name)] == list(range(1, 25)), name
        history = read_history(folder / "history.tsv")
        rates = [event.value for event in shown.Scalars("train/learning_rate")]
        assert rates[5::6] == pytest.approx(history["learning_rate"], rel=1e-5)
        for name in EPOCH:
            events = shown.Scalars(name)
            assert [event.step for event in events] == [6, 12, 18, 24]
            assert [event.value for event in events] == pytest.approx(history[f"val_{name.split('/')[1]}"], rel=1e-5)
        losses = [event.value for event in shown.Scalars("train/loss")]
        means = [(sum(losses[at : at + 5]) * 8 + losses[at + 5] * 5) / 45 for at in range(0, 24, 6)]
        assert means == pytest.approx(history["train_loss"], rel=1e-5)
    assert {path.name for path in (tmp_path / EVENTS_NAME).iterdir()} == {"seed-0", "seed-5"}


def test_the_package_is_named_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_shards(tmp_path / SHARDS_FOLDER, Toy(train=8, val=4))
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(InputError, match=r"train\.tensorboard is true, but the package tensorboard is not installed"):
        run(tmp_path, tmp_path, tensorboard=True)
