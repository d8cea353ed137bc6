"""How much of packed rows, and of batches within a budget, is padding, and what planning them takes.

    python -m benchmarks.bench_packing

Lengths are log-normal, as those of texts and recordings. Time is that of the processor, best of three. Writes
`benchmarks/results/packing.md`.
"""

import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.support.copies import CHECKOUT
from shardwright.datasets.packing import Packing
from shardwright.loading.batch_plan import RankShares
from shardwright.loading.length_buckets import LengthBuckets

RESULT = CHECKOUT / "benchmarks/results/packing.md"
COUNTS = (1000, 10_000, 100_000, 1_000_000)
SIZES = (2048, 8192)
BUDGET = 60_000
Result = TypeVar("Result")


def draw_lengths(count: int, median: float, sigma: float, most: int) -> NDArray[np.int64]:
    """Return log-normal lengths, 1 to `most`."""
    return np.clip(np.random.default_rng(0).lognormal(np.log(median), sigma, count), 1, most).astype(np.int64)


def measure(call: Callable[[], Result], samples: int) -> tuple[Result, float]:
    """Return the result, and microseconds of processor time a sample."""
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        result = call()
        best = min(best, time.process_time() - began)
    return result, best / samples * 1e6


def describe_packing(count: int, size: int) -> str:
    """Return a row of the table of packing."""
    packing, planning = measure(lambda: Packing(draw_lengths(count, 400, 1.0, 100_000), size), count)
    steps = np.split(np.arange(len(packing)), range(64, len(packing), 64))
    _, finding = measure(lambda: [packing.find_pieces(rows, (0, 1)) for rows in steps], count)
    columns = f"{count:,} | {size:,} | {len(packing):,} | {packing.measure_padding():.3%}"
    return f"| {columns} | {planning:.2f} | {finding:.2f} |"


def describe_buckets(count: int) -> str:
    """Return a row of the table of buckets."""
    lengths = draw_lengths(count, 300, 0.8, 3000)
    buckets, planning = measure(lambda: LengthBuckets(lengths, BUDGET), count)
    _, finding = measure(lambda: list(buckets.plan(RankShares(len(buckets), 1), 0, 0, 1, shuffle=True)), count)
    filled = lengths.sum() / len(buckets) / BUDGET
    return (
        f"| {count:,} | {len(buckets):,} | {buckets.measure_padding():.1%} | {filled:.0%} | {planning:.2f} | "
        f"{finding:.2f} |"
    )


def main() -> None:
    """Measure, and write the page."""
    packed = [describe_packing(count, size) for count in COUNTS for size in SIZES]
    buckets = [describe_buckets(count) for count in COUNTS]
    lines = [
        "# Packing and batches of similar lengths",
        "",
        "`python -m benchmarks.bench_packing`; processor time of one core, in microseconds a document or sample.",
        "",
        "`data.pack(name, size)`: lengths log-normal with median 400, σ 1, at most 100,000; batches of 64 rows.",
        "",
        "| documents | row | rows | padding | plan, once | rows of an epoch |",
        "| --- | --- | --- | --- | --- | --- |",
        *packed,
        "",
        f"`Loader(data, budget={BUDGET:,}, …)`: lengths log-normal with median 300, σ 0.8, at most 3,000.",
        "",
        "| samples | batches | padding | of the budget used | plan, once | batches of an epoch |",
        "| --- | --- | --- | --- | --- | --- |",
        *buckets,
    ]
    RESULT.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
