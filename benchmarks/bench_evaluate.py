"""How the memory of evaluate grows with the number of samples: its own process, on 20,000 and 100,000.

    python -m benchmarks.bench_evaluate [--samples 20000,100000]

Synthetic samples of three modalities and 100 classes. The model was trained on few of them for one epoch, so nearly all
its predictions are wrong: the most that a report can be about. Memory is what the process has for itself (`RssAnon`),
looked at every 50 ms; the files that it has mapped, among them the shards, are not in it. Writes
`benchmarks/results/evaluate.md`; needs 1 GB of disk.
"""

import argparse
import itertools
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench_scale import run_stage
from benchmarks.support.copies import CHECKOUT, Changes, Copy
from pipeline.tables.contracts import SHARDS_FOLDER
from tests.support.factory_shards import Toy, make_shards

RESULT = CHECKOUT / "benchmarks/results/evaluate.md"
CLASSES = 100
LIMIT = 200
"""Bytes a sample that the stage may grow by."""

CHANGES: Changes = {
    "train": {"modalities": ["image", "audio", "text"], "epochs": 1, "width": 32, "threads": 1, "device": "cpu"},
    "evaluate": {"split": "test", "reader": "shardwright", "batch_size": 64},
    "run": {"progress": False},
}


@dataclass(frozen=True)
class Measured:
    """One run of the stage: wall time in seconds, and the most bytes that its process had for itself."""

    seconds: float
    peak: int


def measure(work: Path, samples: int) -> Measured:
    """Make the dataset, train a model and evaluate it."""
    copy = Copy(work / str(samples))
    copy.make(CHANGES)
    classes = tuple(f"class {number:03d}" for number in range(CLASSES))
    toy = Toy(classes=classes, train=2 * CLASSES, val=CLASSES, test=samples, samples_per_shard=5000)
    make_shards(copy.folder / "data" / SHARDS_FOLDER, toy)
    copy.run_stages("train")
    seconds, peak = run_stage(copy, "evaluate")
    return Measured(seconds, peak.driver)


def report(measured: Mapping[int, Measured]) -> Iterator[str]:
    """Yield the lines of the results page."""
    yield "# Memory of evaluate\n"
    yield f"Three modalities, so seven subsets of them, and {CLASSES} classes; own memory of the stage's process,"
    yield "start-up included. `python -m benchmarks.bench_evaluate` made this.\n"
    yield "| samples | s | peak, MB | kB a sample, all of it |"
    yield "| --- | --- | --- | --- |"
    for samples, run in sorted(measured.items()):
        yield f"| {samples:,} | {run.seconds:.1f} | {run.peak / 1e6:.0f} | {run.peak / samples / 1e3:.2f} |"
    yield ""
    yield from describe_growth(measured, sorted(measured))


def describe_growth(measured: Mapping[int, Measured], sizes: Sequence[int]) -> Iterator[str]:
    """Yield a line for each two sizes: what the process grows by."""
    for small, large in itertools.pairwise(sizes):
        growth = (measured[large].peak - measured[small].peak) / (large - small)
        kept = "within" if growth <= LIMIT else "over"
        yield f"From {small:,} to {large:,} it grows by {growth / 1e3:.3f} kB a sample, {kept} {LIMIT / 1e3:.1f} kB."


def main() -> None:
    """Run the benchmark and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", default="20000,100000")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    measured = {}
    for size in map(int, options.samples.split(",")):
        with tempfile.TemporaryDirectory(prefix="shardwright-bench-") as scratch:
            measured[size] = measure(Path(scratch), size)
    text = "\n".join(report(measured)) + "\n"
    options.out.write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
