"""A training shows its rows at once, and says where its time went."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.models.history import Epoch, write_history
from pipeline.tables.contracts import MODEL_FOLDER, SHARDS_FOLDER
from pipeline.train.progress import Progress
from pipeline.train.step import LIVE_NAME
from pipeline.train.training_log import SAVING, VALIDATING, TrainingLog, find_peak_memory
from tests.support.factory_shards import Toy, make_shards
from tests.train.test_train import RUN, run_train

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def make_epoch(number: int) -> Epoch:
    return Epoch(number, 1.0 / number, None, {"accuracy": None}, 0.001)


def read_slowly(clock: Clock, seconds: float) -> Iterator[dict[str, Any]]:
    for _ in range(5):
        clock.now += seconds
        yield {"key": ["a"] * 8}


def train_slowly(log: TrainingLog, clock: Clock, reading: float, validating: float = 0.0) -> None:
    for _ in log.show_batches(read_slowly(clock, reading), 5, "batches", Progress()):
        clock.now += 1.0
    with log.measure(SAVING):
        clock.now += 0.0
    with log.measure(VALIDATING):
        clock.now += validating


@pytest.mark.parametrize(
    ("reading", "validating", "shares", "limit"),
    [
        (
            0.01,
            1.0,
            "0.8 % waiting for data, 0.0 % augmenting, 0.0 % saving states, 16.5 % validating",
            "computing on cpu",
        ),
        (0.25, 0.0, "20.0 % waiting for data, 0.0 % augmenting, 0.0 % saving states, 0.0 % validating", "reading: "),
        (0.0, 15.0, "0.0 % waiting for data, 0.0 % augmenting, 0.0 % saving states, 75.0 % validating", "validation: "),
    ],
)
def test_the_bottleneck_is_named(tmp_path: Path, reading: float, validating: float, shares: str, limit: str) -> None:
    clock = Clock()
    log = TrainingLog(tmp_path / "live.tsv", RUN, clock=clock)
    train_slowly(log, clock, reading, validating)
    described = log.describe(CPU)
    assert described.startswith(f"training {40 / (5 + 5 * reading):,.0f} samples/s; {shares}; peak memory ")
    assert f"limited by {limit}" in described


def test_the_rate_is_that_of_all_epochs(tmp_path: Path) -> None:
    clock = Clock()
    log = TrainingLog(tmp_path / "live.tsv", RUN, clock=clock)
    for _ in range(10):
        train_slowly(log, clock, 0.0, validating=2.0)
    assert log.find_rate() == pytest.approx(8)


def test_rows_are_there_at_once(tmp_path: Path) -> None:
    path = tmp_path / "live.tsv"
    log = TrainingLog(path, RUN)
    log.start(Progress(history=(make_epoch(1), make_epoch(2))))
    for number in (3, 4):
        log.add_epoch(Progress(history=(make_epoch(number),)), 9)
        write_history(tmp_path / "whole.tsv", [make_epoch(n) for n in range(1, number + 1)])
        assert path.read_text() == (tmp_path / "whole.tsv").read_text()
    log.start(Progress())
    log.add_epoch(Progress(history=(make_epoch(1),)), 9)
    assert path.read_text() == "epoch\ttrain_loss\tval_loss\tval_accuracy\tlearning_rate\n1\t1\t\t\t0.001\n"


def test_a_log_has_a_line_every_ten_seconds_at_most(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    log = TrainingLog(tmp_path / "live.tsv", RUN, clock=clock)
    for number in range(1, 31):
        clock.now += 1
        log.add_epoch(Progress(history=(make_epoch(number),)), 30)
    said = capfd.readouterr().err.splitlines()
    assert [line.split(":")[1] for line in said] == [" epoch 10 of 30", " epoch 20 of 30", " epoch 30 of 30"]
    assert said[0].startswith("train: epoch 10 of 30: train_loss 0.1, learning_rate 0.001; 0 samples/s")


def test_the_peak_of_the_memory_is_some_megabytes() -> None:
    assert 50e6 < find_peak_memory(CPU) < 100e9


def test_a_training_leaves_its_rows_and_says_its_rate(tmp_path: Path) -> None:
    make_shards(tmp_path / SHARDS_FOLDER, Toy(train=24, val=8))
    outcome = run_train(tmp_path)
    assert "samples/s; " in outcome.notes[-1]
    history = tmp_path / "run" / MODEL_FOLDER / "history.tsv"
    assert (tmp_path / LIVE_NAME).read_bytes() == history.read_bytes()
