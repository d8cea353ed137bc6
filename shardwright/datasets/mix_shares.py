"""Compute how many samples of an epoch come from each source of a mix."""

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardwright.datasets.permutation import permute

Weights = Sequence[float] | Mapping[int, Sequence[float]]


@dataclass(frozen=True, eq=False)
class MixShares:
    """The samples from each source, by epoch.

    Attributes:
        table: int64 (epochs, sources), at least one epoch; the first one stands for all earlier ones, the
            last one for all later ones.
    """

    table: NDArray[np.int64]

    @property
    def samples(self) -> int:
        """Samples of an epoch."""
        return int(self.table[0].sum())

    @property
    def identity(self) -> list[Any]:
        """What decides the order, for a hash."""
        table: list[Any] = self.table.tolist()
        return table[0] if len(table) == 1 else table

    def list_first(self) -> NDArray[np.int64]:
        """Return the samples of the first epoch from each source: int64 (sources,)."""
        first: NDArray[np.int64] = self.table[0]
        return first

    def locate(
        self, positions: NDArray[np.int64], seed: int, epoch: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the source at each position of an epoch, and how many samples of it are read before that one.

        A permutation of the epoch maps a position to a source, and to the reads from it before this one, in this epoch
        and hence over all epochs.

        Args:
            positions: int64 (any,).
            seed, epoch: any ints.

        Returns:
            two arrays of that shape, int64.
        """
        permuted = permute(positions, self.samples, seed, epoch)
        shares, before = self.find_shares(epoch), self.count_before(epoch)
        ends = np.cumsum(shares)
        sources = np.searchsorted(ends, permuted, side="right")
        return sources, before[sources] + permuted - (ends - shares)[sources]

    def find_shares(self, epoch: int) -> NDArray[np.int64]:
        """Return the samples of an epoch from each source: int64 (sources,)."""
        shares: NDArray[np.int64] = self.table[max(0, min(epoch, len(self.table) - 1))]
        return shares

    def count_before(self, epoch: int) -> NDArray[np.int64]:
        """Return the samples of all epochs before this one from each source: int64 (sources,)."""
        changing = len(self.table) - 1
        before: NDArray[np.int64] = self.table[: max(0, min(epoch, changing))].sum(0)
        before += min(0, epoch) * self.table[0] + max(0, epoch - changing) * self.table[-1]
        return before


def plan_shares(samples: int, weights: Weights, lengths: Sequence[int]) -> MixShares:
    """Return the shares of fixed weights; or of weights by epoch, on straight lines from each given epoch to the next.

    Raises:
        ValueError: see `Mix`.
    """
    if not isinstance(weights, Mapping):
        return MixShares(np.array([compute_shares(samples, weights, lengths)], np.int64))
    epochs = sorted(weights)
    if not epochs or operator.index(epochs[0]) < 0:
        raise ValueError(f"weights is {weights!r}; by epoch it must name at least one, and none below 0")
    for epoch in epochs:
        compute_shares(samples, weights[epoch], lengths)  # checks them, and their number
    given = np.array([weights[epoch] for epoch in epochs], np.float64)
    line = np.arange(epochs[-1] + 1)
    by_source = [np.interp(line, epochs, column).tolist() for column in given.T]
    table = [compute_shares(samples, at_epoch, lengths) for at_epoch in zip(*by_source, strict=True)]
    return MixShares(np.array(table, np.int64))


def compute_shares(samples: int, weights: Sequence[float], lengths: Sequence[int]) -> list[int]:
    """Return the samples of an epoch from each source: by largest remainder, ties to the earlier source.

    Raises:
        ValueError: see `Mix`.
    """
    if operator.index(samples) < 1:
        raise ValueError(f"samples is {samples!r}; it must be at least 1")
    check_weights(weights, lengths)
    exact = [Fraction(float(weight)) for weight in weights]
    ideal = [samples * weight / sum(exact) for weight in exact]
    shares = [int(share) for share in ideal]
    by_remainder = sorted(range(len(shares)), key=lambda number: shares[number] - ideal[number])
    for number in by_remainder[: samples - sum(shares)]:
        shares[number] += 1
    if not all(shares):
        raise ValueError(
            f"weights[{shares.index(0)}] is {weights[shares.index(0)]!r}, which is less than one of the {samples} "
            f"samples of an epoch, so source {shares.index(0)} would never be read; raise samples or the weight"
        )
    return shares


def check_weights(weights: Sequence[float], lengths: Sequence[int], allow_zero: bool = False) -> None:
    """Check the weights of all sources at one time; with `allow_zero` some may be 0.

    Raises:
        ValueError: see `Mix`.
    """
    if len(weights) != len(lengths):
        raise ValueError(f"weights has {len(weights)} numbers for {len(lengths)} sources; it must have one for each")
    for number, (weight, length) in enumerate(zip(weights, lengths, strict=True)):
        wrong = isinstance(weight, bool | str) or not math.isfinite(weight) or weight < 0
        if wrong or (not weight and not allow_zero):
            kind = "finite number of at least 0" if allow_zero else "positive finite number"
            raise ValueError(f"weights[{number}] is {weight!r}; it must be a {kind}")
        if not length:
            raise ValueError(f"source {number} has weight {weight!r} and no samples; leave it out of the mix")
    if not any(weights):
        raise ValueError(f"weights is {weights!r}; at least one of them must be above 0")
