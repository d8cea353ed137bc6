"""Divide samples into batches of similar lengths, whose padded lengths stay within a budget.

The samples are sorted by length and cut into buckets: runs of lengths that differ by at most `RATIO`, or, where there
are few samples, of `LEAST_BATCHES` full batches. A bucket has as many samples a batch as fit the budget at its longest
one. In each epoch the samples of a bucket are permuted, and the batches of all buckets.

So the number of batches is the same in each epoch, and any batch is computed from (seed, epoch, its position) without
those before it. Samples that are far from each other in length are never in one batch.
"""

import hashlib
import operator
from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardwright.datasets.base import SampleSource
from shardwright.datasets.lengths import check_each_row_once, find_lengths
from shardwright.datasets.permutation import permute
from shardwright.errors import FormatError
from shardwright.loading.batch_plan import BatchPlan, RankShares

RATIO = 1.05
"""Longest to shortest sample of a bucket: half of the difference is padding, so 2.4 % at most on average."""
LEAST_BATCHES = 4
"""Batches of a bucket that may be wider than `RATIO`: fewer would leave samples with the same neighbours each epoch."""


class LengthBuckets:
    """The batches of an epoch: a pure function of lengths, budget, seed and epoch.

    Args:
        lengths: of the rows, int64 (rows,); 0 counts as 1.
        budget: the most that samples × longest may be in a batch.

    Raises:
        FormatError: a sample alone is over the budget; the message names it.
    """

    def __init__(self, lengths: NDArray[np.int64], budget: int) -> None:
        if budget < 1:
            raise ValueError(f"budget is {budget}; it must be at least 1")
        if len(lengths) and lengths.max() > budget:
            raise FormatError(
                f"row {lengths.argmax()} has length {lengths.max()}, over the budget of {budget}; raise the budget, or "
                "leave such samples out by take"
            )
        self._lengths = np.maximum(lengths, 1)
        self._budget = budget
        self._order = np.argsort(lengths, kind="stable")
        bounds = _cut_buckets(self._lengths[self._order], budget)
        self._firsts, self._sizes = bounds[:-1], np.diff(bounds)
        longest = self._lengths[self._order[bounds[1:] - 1]] if len(lengths) else np.ones(0, np.int64)
        self._batches = -(-self._sizes // (budget // longest))
        self._batch_ends = np.cumsum(self._batches)

    def __len__(self) -> int:
        """Batches in an epoch, over all ranks."""
        return int(self._batches.sum())

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What a saved state and a loader must have in common."""
        digest = hashlib.sha256(self._lengths.astype("<i8", copy=False).tobytes()).hexdigest()
        return {"budget": self._budget, "lengths": digest}

    def plan(self, shares: RankShares, step: int, seed: int, epoch: int, shuffle: bool) -> Iterator[BatchPlan]:
        """Yield the batches of a rank from `step` on.

        Args:
            shares: divides the batches, one a step, among ranks; a batch that it repeats has no valid sample.
            step: the first batch.
            seed, epoch: any ints.
            shuffle: False gives the batches from short to long, their samples by length.
        """

        def find_batches(positions: NDArray[np.int64]) -> NDArray[np.int64]:
            return permute(positions, len(self), _derive_key(seed, "batches"), epoch) if shuffle else positions

        for one in shares.plan(find_batches, step):
            slots = self._find_slots(int(one.rows[0]))
            rows = self._order[self._shuffle(slots, seed, epoch) if shuffle else slots]
            yield BatchPlan(slots, rows, np.full(len(rows), one.valid[0]))

    def measure_padding(self, seed: int = 0, epoch: int = 0) -> float:
        """Return the share of the padded lengths of an epoch's batches that no sample fills."""
        plans = self.plan(RankShares(len(self), 1), 0, seed, epoch, shuffle=True)
        padded = sum(len(plan.rows) * int(self._lengths[plan.rows].max()) for plan in plans)
        return 1 - int(self._lengths.sum()) / max(1, padded)

    def _find_slots(self, batch: int) -> NDArray[np.int64]:
        """Return the places of a batch in the sorted order; those of a bucket are divided evenly among its batches."""
        bucket = int(np.searchsorted(self._batch_ends, batch, side="right"))
        nth = batch - int(self._batch_ends[bucket] - self._batches[bucket])
        size, batches, first = int(self._sizes[bucket]), int(self._batches[bucket]), int(self._firsts[bucket])
        return first + np.arange(nth * size // batches, (nth + 1) * size // batches, dtype=np.int64)

    def _shuffle(self, slots: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.int64]:
        """Return the places that the samples at these ones change with; all are in one bucket."""
        bucket = int(np.searchsorted(self._firsts, slots[0], side="right")) - 1
        first, size = int(self._firsts[bucket]), int(self._sizes[bucket])
        return first + permute(slots - first, size, _derive_key(seed, f"bucket {bucket}"), epoch)


def plan_buckets(  # noqa: PLR0913 (each is an argument of the loader)
    data: SampleSource,
    batch_size: int | None,
    budget: int | None,
    by: "str | NDArray[np.int64] | None",
    order: str,
    omits: bool,
) -> LengthBuckets | None:
    """Return the batches of a loader with a budget, or None where it has a batch size.

    Args:
        data, batch_size, budget, by: see `Loader`.
        order: "global", "block" or "none".
        omits: whether `drop_last`, or `uneven="error"`, was requested.

    Raises:
        ValueError, FormatError, KeyError: see `Loader`.
    """
    if (batch_size is None) == (budget is None) or (budget is None) != (by is None):
        raise ValueError(
            f"batch_size is {batch_size}, budget {budget} and by {type(by).__name__}; give batch_size, or budget and by"
        )
    if budget is None or by is None:
        return None
    if order == "block" or omits:
        raise ValueError(
            "a budget takes samples by their lengths from anywhere, into batches of which each is full; leave "
            'shuffle="block", drop_last and uneven="error" out'
        )
    check_each_row_once(data, "use batch_size for it, or a mix without weights")
    return LengthBuckets(find_lengths(data, by), operator.index(budget))


def _cut_buckets(ascending: NDArray[np.int64], budget: int) -> NDArray[np.int64]:
    """Return where buckets begin, and the end of the last one: int64 (buckets+1,).

    Args:
        ascending: int64 (samples,), each 1 to `budget`.
        budget: see `LengthBuckets`.
    """
    bounds, count = [0], len(ascending)
    while (first := bounds[-1]) < count:
        alike = int(np.searchsorted(ascending, int(ascending[first] * RATIO), side="right"))

        def needs_batches(last: int, first: int = first) -> int:
            """Full batches that the samples up to `last` make: ascending in it."""
            return -(-(last + 1 - first) // (budget // int(ascending[last])))

        filled = bisect_right(range(count), LEAST_BATCHES, lo=first, key=needs_batches)
        bounds.append(max(alike, filled))
    return np.array(bounds, np.int64)


def _derive_key(seed: int, purpose: str) -> int:
    """Return a separate 64-bit seed for one permutation."""
    return int.from_bytes(hashlib.blake2b(f"{seed} lengths {purpose}".encode(), digest_size=8).digest(), "little")
