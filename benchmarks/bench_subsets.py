"""What every subset of the parts costs beside a plain evaluation: time, and bytes of the meters.

    python -m benchmarks.bench_subsets [--samples 2000] [--rounds 5]

Synthetic samples of three modalities and 100 classes, the default encoders and fusion, one thread. Plain and all seven
subsets alternate; the best time of each counts. Writes `benchmarks/results/subsets.md`.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.bench_evaluate import BATCH, CLASSES, make_batches, make_keys
from benchmarks.support.apart import CHECKOUT
from pipeline.evaluate.predict import make_meters, predict
from pipeline.models.batches import ReadOrder, read_batches
from pipeline.models.model import Model
from pipeline.tables.contracts import MODALITIES
from pipeline.tasks.options import ClassificationOptions
from pipeline.train.lesson import list_inputs, plan_lesson
from pipeline.train.params import TrainParams
from shardwright import ShardDataset
from tests.support.factory_shards import Toy, make_shards

LIMIT = 1.4
"""Times the time of a pass with all parts alone that every subset may take."""

RESULT = CHECKOUT / "benchmarks/results/subsets.md"


def time_pass(model: Model, data: ShardDataset, samples: int, every: bool) -> float:
    """Return the seconds of one pass, with every subset of the parts or with all parts alone."""
    (batch,) = read_batches("shardwright", data, ReadOrder(BATCH))
    meters = make_meters(model)
    chosen = meters if every else dict([list(meters.items())[-1]])
    with tempfile.TemporaryDirectory() as folder:
        keys = make_keys(Path(folder), samples)
        start = time.perf_counter()
        predict(model, make_batches(batch, keys), keys, Path(folder), chosen)
        return time.perf_counter() - start


def main() -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        toy = Toy(classes=CLASSES, train=1, val=0, test=BATCH, samples_per_shard=BATCH)
        data = ShardDataset(make_shards(Path(folder), toy), "test")
        params = TrainParams(modalities=tuple(name for name in MODALITIES if name != "video"))
        model = plan_lesson(params, ClassificationOptions(), data, list_inputs(params, data)).build_model().eval()
        times = {every: [] for every in (False, True)}  # type: dict[bool, list[float]]
        for _ in range(options.rounds):
            for every, taken in times.items():
                taken.append(time_pass(model, data, options.samples, every))
    plain, all_subsets = min(times[False]), min(times[True])
    subsets = len(make_meters(model))
    text = (
        f"# Every subset of the parts\n\n{options.samples:,} samples of three parts, {len(CLASSES)} classes, "
        f"one thread, best of {options.rounds}.\n\n"
        "| | seconds | samples/s |\n| --- | --- | --- |\n"
        f"| all parts alone | {plain:.2f} | {options.samples / plain:,.0f} |\n"
        f"| {subsets} subsets | {all_subsets:.2f} | {options.samples / all_subsets:,.0f} |\n\n"
        f"{all_subsets / plain:.2f} times the time, {'within' if all_subsets <= LIMIT * plain else 'over'} {LIMIT}: "
        "fusion and head run once a subset, "
        "and the encoders of these small inputs are little more. A subset more keeps "
        f"{3 * 8 * len(CLASSES):,} bytes, three counts a class, whatever the number of samples.\n"
    )
    RESULT.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
