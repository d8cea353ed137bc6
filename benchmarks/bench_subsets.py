"""What every subset of the parts costs beside a plain evaluation: CPU time, and bytes of the meters.

    python -m benchmarks.bench_subsets [--project .] [--samples 2000] [--rounds 5]

The model and the test split of a project that was built, the demo; and synthetic samples of three modalities
and 100 classes, with the default encoders and fusion, not trained. One thread. Plain and all seven subsets alternate;
the least time of each counts. Writes `benchmarks/results/subsets.md`.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.bench_evaluate import BATCH, CLASSES, make_batches, make_keys
from benchmarks.support.apart import CHECKOUT
from pipeline.evaluate.predict import make_meters, predict
from pipeline.models.batches import Batch, ReadOrder, read_batches
from pipeline.models.checkpoint import load_model
from pipeline.models.model import Model
from pipeline.tables.contracts import MODALITIES, MODEL_FOLDER, SHARDS_FOLDER
from pipeline.tasks.options import ClassificationOptions
from pipeline.train.lesson import list_inputs, plan_lesson
from pipeline.train.params import TrainParams
from shardwright import ShardDataset
from tests.support.factory_shards import Toy, make_shards

LIMIT = 1.4
"""Times the time of a pass with all parts alone that every subset may take."""

RESULT = CHECKOUT / "benchmarks/results/subsets.md"


@dataclass(frozen=True)
class Subject:
    """A model, and a split to measure it on: its keys, and what reads its batches."""

    name: str
    model: Model
    keys: NDArray[np.bytes_]
    read: Callable[[], Iterable[Batch]]

    def time_pass(self, every: bool) -> float:
        """Return the CPU seconds of one pass, with every subset of the parts or with all parts alone."""
        meters = make_meters(self.model)
        chosen = meters if every else dict([list(meters.items())[-1]])
        with tempfile.TemporaryDirectory() as folder:
            start = time.process_time()
            predict(self.model, self.read(), self.keys, Path(folder), chosen)
            return time.process_time() - start


def open_project(project: Path) -> Subject:
    """Return the model and the test split of a project that was built."""
    model, _ = load_model(project / "data" / MODEL_FOLDER)
    data = ShardDataset(project / "data" / SHARDS_FOLDER, "test")
    return Subject("the demo", model, data.keys, lambda: read_batches("shardwright", data, ReadOrder(BATCH)))


def make_synthetic(folder: Path, samples: int) -> Subject:
    """Return a model that is not trained, and synthetic samples."""
    toy = Toy(classes=CLASSES, train=1, val=0, test=BATCH, samples_per_shard=BATCH)
    data = ShardDataset(make_shards(folder / "shards", toy), "test")
    params = TrainParams(modalities=tuple(name for name in MODALITIES if name != "video"))
    model = plan_lesson(params, ClassificationOptions(), data, list_inputs(params, data)).build_model().eval()
    (batch,) = read_batches("shardwright", data, ReadOrder(BATCH))
    keys = make_keys(folder, samples)
    return Subject("synthetic", model, keys, lambda: make_batches(batch, keys))


def measure(subject: Subject, rounds: int) -> str:
    """Return a row of the table."""
    times: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(rounds):
        for every, taken in times.items():
            taken.append(subject.time_pass(every))
    plain, all_subsets = min(times[False]), min(times[True])
    shapes = ", ".join(f"{source.part} {' × '.join(map(str, source.shape))}" for source in subject.model.inputs)
    figures = f"{plain:.3f} | {all_subsets:.3f} | {all_subsets / plain:.2f}"
    return f"| {subject.name} | {len(subject.keys):,} | {shapes} | {figures} |"


def report(rows: Iterable[str]) -> Iterator[str]:
    """Yield the lines of the results page."""
    yield "# Every subset of the parts\n"
    yield "CPU seconds of one thread with all parts alone, and with all seven subsets of three parts in the same pass,"
    yield f"in turn, the least of several rounds; at most {LIMIT} × is wanted.\n"
    yield "| samples | | parts | all parts | seven subsets | × |"
    yield "| --- | --- | --- | --- | --- | --- |"
    yield from rows
    yield ""
    yield "The encoders run once a batch, and the fusion once with all subsets. The encoders of the tiny synthetic"
    yield "samples cost so little that fusing 64 samples with six subsets more is a third of them. A subset more keeps"
    yield "three counts a class, 24 bytes, whatever the number of samples."


def main() -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--project", type=Path, help="a checkout that was built")
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        subjects = [open_project(options.project)] if options.project else []
        subjects.append(make_synthetic(Path(folder), options.samples))
        rows = [measure(subject, options.rounds) for subject in subjects]
    text = "\n".join(report(rows)) + "\n"
    RESULT.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
