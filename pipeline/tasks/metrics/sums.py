"""Hold scores as functions of sums over samples, summed by group: what intervals, slices and comparisons resample."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.tasks.metrics.tally import CHUNK, Floats, Tally, divide

MOST_GROUPS = 10_000
"""Groups that are resampled; more are dealt into so many bins, each resampled as a whole, which changes the width of an
interval by some 1 %."""

MOST_CELLS = 1 << 22
"""Numbers in a table of sums, of which there are `width` a group: 32 MB."""

SCORE_BOUNDS = (0.0, 1.0)


@dataclass(frozen=True)
class GroupSums:
    """Sums over the samples of each group, and the scores that are functions of the sums over all groups.

    Attributes:
        table: a row a group, (groups, width).
        compute: from sums (…, width), float64, the scores by name, each (…); NaN where one is not defined.
        prior: rows of what the sums of a further group may be, (rows, width); each counts with a weight from a gamma
            distribution of the shape in `shapes` (rows,). Without them a class of one sample would not vary.
        bounds: the least and the highest value of each score, where these are not 0 and 1.
        errors: the scores of which a lower one is better.
    """

    table: Floats
    compute: Callable[[Floats], Mapping[str, Floats]]
    prior: Floats
    shapes: Floats
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    errors: frozenset[str] = frozenset()

    @property
    def totals(self) -> Floats:
        """The sums over all groups, (width,)."""
        totals: Floats = self.table.sum(0, dtype=np.float64)
        return totals

    @property
    def smoothed(self) -> Floats:
        """The sums over all groups and the mean of the prior's, (width,)."""
        smoothed: Floats = self.totals + self.shapes @ self.prior
        return smoothed

    def score(self) -> dict[str, float]:
        """Return the scores of the samples by name."""
        return {name: float(value) for name, value in self.compute(self.totals).items()}


def deal_groups(groups: NDArray[Any], width: int) -> NDArray[np.int64]:
    """Return the number of the row of each sample, (samples,), from 0 and without gaps: that of its group, or of the
    bin that the group is dealt into where there are more than fit a table of `width` numbers a row."""
    most = max(2, min(MOST_GROUPS, MOST_CELLS // max(1, width)))
    bins = groups % most
    used = np.bincount(bins) > 0
    rows: NDArray[np.int64] = (np.cumsum(used) - 1)[bins]
    return rows


def sum_by_row(rows: NDArray[np.int64], columns: Sequence[NDArray[Any]]) -> Floats:
    """Return the sums of columns (samples,) by row, (rows, columns)."""
    count = int(rows.max(initial=-1)) + 1
    sums = [np.bincount(rows, np.asarray(column, np.float64), count) for column in columns]
    return np.stack(sums, axis=1)


def count_by_row(rows: NDArray[np.int64], truth: NDArray[Any], predicted: NDArray[Any], classes: int) -> Floats:
    """Return the tally of each row, (rows, 3, classes): hits, actual and predicted, of class numbers (samples,)."""
    counts = np.zeros((int(rows.max(initial=-1)) + 1, 3, classes))
    for start in range(0, len(rows), CHUNK):
        at, actual, given = (column[start : start + CHUNK] for column in (rows, truth, predicted))
        hits = np.flatnonzero(actual == given)
        for number, (of, numbers) in enumerate(((at[hits], actual[hits]), (at, actual), (at, given))):
            np.add.at(counts[:, number], (of, numbers), 1)
    return counts


def count_shares(rows: NDArray[np.int64], right: NDArray[Any], counted: NDArray[Any] | None = None) -> Floats:
    """Return a tally of one class for each row, (rows, 3, 1), whose accuracy is the mean of `right` (samples,), 0 to 1
    each, over all samples, or over those that are `counted` (samples,)."""
    hits, samples = sum_by_row(rows, [right, np.ones(len(rows)) if counted is None else counted]).T
    return np.stack([hits, samples, samples], axis=1)[:, :, None]


def join_tallies(tallies: Sequence[Floats], compute: Callable[[Sequence[Tally]], Mapping[str, Floats]]) -> GroupSums:
    """Return sums of which scores are computed from one or several tallies by row, each (rows, 3, classes).

    A class without samples stays out. The prior of each class of a tally is one group of the size that the groups with
    this class have in the mean, right or wrong by the rate of the whole tally (an empirical Bayes prior); of a tally of
    one class by one half, which is Jeffreys' prior (Brown, Cai and DasGupta 2001: Interval estimation for a binomial
    proportion), of the size of `size_prior_group`.
    """
    kept = [tally[:, :, tally[:, 1].sum(0) > 0] for tally in tallies]
    priors = [_build_prior(tally) for tally in kept]
    shapes = np.concatenate([shapes for _, shapes in priors])
    prior = np.zeros((len(shapes), sum(rows.shape[1] for rows, _ in priors)))
    row = column = 0
    for rows, _ in priors:
        prior[row : row + len(rows), column : column + rows.shape[1]] = rows
        row, column = row + len(rows), column + rows.shape[1]
    table = np.concatenate([tally.reshape(len(tally), 3 * tally.shape[2]) for tally in kept], axis=1)
    cuts = np.cumsum([rows.shape[1] for rows, _ in priors])[:-1]

    def split(sums: Floats) -> Mapping[str, Floats]:
        blocks = np.split(sums, cuts, axis=-1)
        return compute([Tally(*np.split(block, 3, axis=-1)) for block in blocks])

    return GroupSums(table, split, prior, shapes)


def _build_prior(tally: Floats) -> tuple[Floats, Floats]:
    """Return the rows (2 × classes, 3 × classes) and the shapes of the prior of a tally by row."""
    hits, actual, predicted = tally.sum(0, dtype=np.float64)
    classes = len(actual)
    sizes = divide(actual, (tally[:, 1] > 0).sum(0))
    rate = 0.5
    if classes == 1:
        sizes = size_prior_group(tally[:, 0, 0], tally[:, 1, 0])
    elif classes > 1:
        size = sizes.mean()
        rate = (hits.sum() + size / 2) / ((actual.sum() + predicted.sum()) / 2 + size)
    one_each = np.diag(sizes)
    nothing = np.zeros_like(one_each)
    right = np.concatenate([one_each, one_each, one_each], axis=1)
    wrong = np.concatenate([nothing, one_each, one_each], axis=1)
    return np.concatenate([right, wrong]), np.repeat([rate, 1 - rate], classes)


def size_prior_group(hits: Floats, samples: Floats) -> Floats:
    """Return how many samples a group has, (1,), that is right or wrong as a whole and varies as much as the groups
    that there are, of their hits and samples, (groups,).

    A group of n samples, of which the share p is right, has the variance n d p (1 - p), where d is the design effect
    (Kish 1965: Survey Sampling, 8.2), estimated here: 1 where samples are independent, n where those of a group agree.
    So does one of sqrt(n d) samples as a whole. Where all samples are right, or none, d is 1.
    """
    groups, total, right = np.count_nonzero(samples), samples.sum(), hits.sum()
    effect, size = 1.0, total / groups
    if groups > 1 and 0 < right < total:
        rate = right / total
        variance = ((hits - rate * samples) ** 2).sum() * groups / (groups - 1)
        effect = np.clip(variance / (total * rate * (1 - rate)), 1, size)
    return np.array([np.sqrt(size * effect)])
