"""Compute how many samples of each step come from each source of a mix whose weights change by step.

The shares of a step, real numbers whose sum is its samples, are placed one after another on a line. A source gets the
integers that its part of the line holds after it was moved by an offset in [0, 1): systematic sampling (Madow, "On the
theory of systematic sampling, II", 1949). So a step has exactly its samples, each source within one of its share; and
over a cycle of steps with evenly spaced offsets a source has its share to half a sample, however small its weight is.
The offsets are in the order of van der Corput (1935), which leaves no source behind for long within a cycle. All of
this depends on the number of the step alone.
"""

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardwright.datasets.mix_shares import check_weights
from shardwright.datasets.permutation import permute_groups

BITS = 10
CYCLE = 1 << BITS
"""Steps after which the offsets repeat. Of a mix of two, 64 samples a step, weights are then exact to 1 in 131,072."""


class StepShares:
    """The samples from each source, by step.

    Args:
        samples: of an epoch, a multiple of `per_step`.
        per_step: samples of a step.
        weights: for each source, by step: on straight lines from each given step to the next; before the first and
            after the last they stay. A weight may be 0 at some steps.
        lengths: samples of each source.

    Raises:
        ValueError: see `Mix`.
    """

    def __init__(
        self, samples: int, per_step: int, weights: Mapping[int, Sequence[float]], lengths: Sequence[int]
    ) -> None:
        if operator.index(per_step) < 1:
            raise ValueError(f"global_batch is {per_step}; it must be at least 1")
        if samples < 1 or samples % per_step:
            raise ValueError(f"samples is {samples}; it must be a multiple of global_batch ({per_step})")
        steps = sorted(weights)
        if not steps or operator.index(steps[0]) < 0:
            raise ValueError(f"weights is {weights!r}; by step it must name at least one, and none below 0")
        for step in steps:
            check_weights(weights[step], lengths, allow_zero=True)
        self.samples = samples
        self._per_step = per_step
        self._steps = np.array(steps, np.int64)
        self._weights = np.array([weights[step] for step in steps], np.float64)  # (given steps, sources)
        _check_each_is_read((self._weights / self._weights.sum(1, keepdims=True)).max(0) * per_step * CYCLE, weights)
        self._weights /= self._weights[0].sum()  # so that the same weights times a number have the same hash
        self._last = -(-steps[-1] // CYCLE)  # the first cycle in which the weights stay
        sums = [self._list_shares(_steps_of(cycle)).sum(0) for cycle in range(-1, self._last + 1)]
        self._sum_at_first, self._sum_at_last = sums[0], sums[-1]
        self._before = np.cumsum([np.zeros(len(lengths), np.int64), *sums[1:-1]], 0)  # of cycle 0 to the last

    @property
    def identity(self) -> Any:
        """What decides the order, for a hash."""
        return {"steps": self._steps.tolist(), "weights": self._weights.tolist(), "global_batch": self._per_step}

    def list_first(self) -> NDArray[np.int64]:
        """Return the samples from each source in the first step."""
        first: NDArray[np.int64] = self._list_shares(np.zeros(1, np.int64))[0]
        return first

    def locate(
        self, positions: NDArray[np.int64], seed: int, epoch: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """See `MixShares.locate`: the order within each step is a keyed permutation."""
        steps, within = np.divmod(positions + epoch * self.samples, self._per_step)
        counts = np.full(len(positions), self._per_step, np.int64)
        permuted = permute_groups(within, counts, steps, seed, 0)
        found, at = np.unique(steps, return_inverse=True)
        before, shares = self._count(found)
        ends = shares.cumsum(1)
        sources = (permuted[:, np.newaxis] >= ends[at]).sum(1)
        return sources, before[at, sources] + permuted - (ends - shares)[at, sources]

    def _count(self, steps: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the samples from each source before each of these steps, and in it: each int64 (steps, sources)."""
        before = np.empty((len(steps), self._weights.shape[1]), np.int64)
        shares = np.empty_like(before)
        for cycle in np.unique(steps // CYCLE).tolist():
            here = np.flatnonzero(steps // CYCLE == cycle)
            of_cycle = self._list_shares(_steps_of(cycle))
            nth = steps[here] % CYCLE
            shares[here] = of_cycle[nth]
            before[here] = self._count_before(cycle) + (of_cycle.cumsum(0) - of_cycle)[nth]
        return before, shares

    def _count_before(self, cycle: int) -> NDArray[np.int64]:
        """Return the samples from each source before a cycle: int64 (sources,)."""
        known: NDArray[np.int64] = self._before[max(0, min(cycle, self._last))].copy()
        known += min(0, cycle) * self._sum_at_first + max(0, cycle - self._last) * self._sum_at_last
        return known

    def _list_shares(self, steps: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the samples from each source in each of these steps: int64 (steps, sources)."""
        weights = np.stack([np.interp(steps, self._steps, column) for column in self._weights.T], 1)
        ends = np.zeros((len(steps), weights.shape[1] + 1))
        np.cumsum(weights, 1, out=ends[:, 1:])
        ends *= self._per_step / ends[:, -1:]
        ends[:, -1] = self._per_step
        passed = np.floor(ends + _list_offsets(steps)[:, np.newaxis]).astype(np.int64)
        return passed[:, 1:] - passed[:, :-1]


def _steps_of(cycle: int) -> NDArray[np.int64]:
    return np.arange(cycle * CYCLE, (cycle + 1) * CYCLE, dtype=np.int64)


def _list_offsets(steps: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the offset of each step: the middle of the part of [0, 1) that its number, its bits reversed, names."""
    reversed_bits = np.zeros_like(steps)
    for bit in range(BITS):
        reversed_bits |= ((steps >> bit) & 1) << (BITS - 1 - bit)
    return (reversed_bits + 0.5) / CYCLE


def _check_each_is_read(most: NDArray[np.float64], weights: Any) -> None:
    """Raise if a source has less than half a sample in a cycle, where it has most.

    Raises:
        ValueError: it would never be read.
    """
    if (most < 0.5).any():
        raise ValueError(
            f"weights is {weights!r:.200}, by which source {int(most.argmin())} would never be read: it has less than "
            f"half a sample in {CYCLE} steps; raise its weight, or leave it out"
        )
