"""How the memory of evaluate grows with the number of samples: predicting, measuring and writing the tables.

    python -m benchmarks.bench_evaluate [--samples 20000,100000]

Synthetic samples of three modalities and 100 classes; the model is not trained, so nearly all its predictions are
wrong: the most that a report can be about. Each size runs in a process of its own, and memory is what that has for
itself (`RssAnon`), looked at every 10 ms; maps of files are not in it. Figures and page are left out: drawing the
matrix takes some 130 MB whatever the number of samples, in which growth would not be seen. Writes
`benchmarks/results/evaluate.md`.
"""

import argparse
import itertools
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.bench_scale import read_own_bytes
from benchmarks.support.apart import CHECKOUT, run_apart, write_outcome
from pipeline.evaluate.predict import predict
from pipeline.evaluate.report import write_tables
from pipeline.models.batches import Batch, ReadOrder, SplitKeys, find_shared_keys, hash_keys, read_batches
from pipeline.runtime.run_stage import use_own_maps_for_arrays
from pipeline.tables.contracts import MODALITIES
from pipeline.tasks.labels import LABEL
from pipeline.tasks.options import ClassificationOptions
from pipeline.train.lesson import list_inputs, plan_lesson
from pipeline.train.params import TrainParams
from shardwright import ShardDataset
from tests.support.factory_shards import Toy, make_shards

RESULT = CHECKOUT / "benchmarks/results/evaluate.md"
CLASSES = tuple(f"class {number:03d}" for number in range(100))
BATCH = 64
LOOK = 0.01
LIMIT = 0.2
"""kB a sample that may be kept."""


def make_batches(batch: Batch, keys: NDArray[np.bytes_]) -> Iterator[Batch]:
    """Yield the same `batch` again and again, with other keys and labels."""
    rng = np.random.default_rng(0)
    for start in range(0, len(keys), BATCH):
        part = [key.decode() for key in keys[start : start + BATCH].tolist()]
        shown = {name: values[: len(part)] for name, values in batch.items()}
        yield shown | {"key": part, LABEL: torch.from_numpy(rng.integers(0, len(CLASSES), len(part)))}


def make_keys(folder: Path, samples: int) -> NDArray[np.bytes_]:
    """Return the keys of as many samples, on disk as those of a dataset are."""
    keys = np.lib.format.open_memmap(folder / "keys.npy", "w+", np.dtype("S64"), (samples,))
    for number in range(samples):
        keys[number] = f"sample-{number:08d}".encode()
    return np.asarray(keys)


def evaluate_samples(folder: Path, samples: int) -> None:
    """Do what the stage does with so many samples, without figures."""
    torch.set_num_threads(1)
    root = make_shards(folder / "shards", Toy(classes=CLASSES, train=1, val=0, test=BATCH, samples_per_shard=BATCH))
    data = ShardDataset(root, "test")
    modalities = tuple(name for name in MODALITIES if name != "video")
    params = TrainParams(modalities=modalities)
    model = plan_lesson(params, ClassificationOptions(), data, list_inputs(params, data)).build_model().eval()
    (batch,) = read_batches("shardwright", data, ReadOrder(BATCH))
    keys = make_keys(folder, samples)
    seen = SplitKeys(keys, np.sort(hash_keys(keys)))
    assert len(find_shared_keys(seen, SplitKeys(data.keys, np.sort(hash_keys(data.keys))))) == 0
    predictions = predict(model, make_batches(batch, keys), keys, folder)
    metrics = model.task.measure(predictions, model.plan, "test")
    write_tables(folder, model.task.build_report(predictions, model.plan, metrics, 12))


def measure(samples: int) -> dict[str, Any]:
    """Return wall time in seconds and the most bytes that this process had for itself."""
    use_own_maps_for_arrays()
    peaks, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(LOOK):
            peaks.append(max(peaks.pop(), read_own_bytes(os.getpid())))

    watcher = threading.Thread(target=watch)
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="shardwright-bench-") as scratch:
        watcher.start()
        evaluate_samples(Path(scratch), samples)
        ended.set()
        watcher.join()
    return {"seconds": time.monotonic() - start, "peak": peaks[0]}


def report(measured: Mapping[int, Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines of the results page."""
    yield "# Memory of evaluate\n"
    yield "Three modalities, so seven subsets of them, and 100 classes; own memory of a process that predicts, measures"
    yield "and writes the tables, start-up included. `python -m benchmarks.bench_evaluate` made this.\n"
    yield "| samples | s | peak, MB |"
    yield "| --- | --- | --- |"
    for samples, run in sorted(measured.items()):
        yield f"| {samples:,} | {run['seconds']:.1f} | {run['peak'] / 1e6:.1f} |"
    yield ""
    yield from describe_growth(measured, sorted(measured))


def describe_growth(measured: Mapping[int, Mapping[str, Any]], sizes: Sequence[int]) -> Iterator[str]:
    """Yield a line for each two sizes: what the process grows by."""
    for small, large in itertools.pairwise(sizes):
        growth = (measured[large]["peak"] - measured[small]["peak"]) / (large - small) / 1e3
        kept = "within" if growth <= LIMIT else "over"
        yield f"From {small:,} to {large:,} it grows by {growth:.3f} kB a sample, {kept} {LIMIT:.1f} kB."


def main() -> None:
    """Run the benchmark and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", default="20000,100000")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        write_outcome(measure(options.measure))
        return
    sizes = map(int, options.samples.split(","))
    measured = {size: run_apart("benchmarks.bench_evaluate", "--measure", size) for size in sizes}
    text = "\n".join(report(measured)) + "\n"
    options.out.write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
