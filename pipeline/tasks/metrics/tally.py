"""Count predictions by class, average scores over classes, and resample counts for confidence intervals.

The arrays of a `Tally` may have axes in front of the classes: a tally each.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

CHUNK = 1 << 16
"""Samples that are counted at once, of columns that may be on disk."""

RESAMPLES = 1000
SEED = 0
LEVEL = 0.95
RESAMPLED_CELLS = 1 << 20
"""Numbers that are drawn at once, at most, if one resample has no more."""


@dataclass(frozen=True)
class Tally:
    """Counts by class, int64 (…, classes): correct predictions of the class, its samples, and its predictions."""

    hits: Counts
    actual: Counts
    predicted: Counts

    @classmethod
    def from_confusion(cls, confusion: Counts) -> "Tally":
        """Count from a confusion matrix (classes, classes), whose rows are the truth."""
        return cls(confusion.diagonal(), confusion.sum(1), confusion.sum(0))

    @classmethod
    def from_counts(cls, counts: Counts) -> "Tally":
        """Take the tally apart that `stack` made."""
        return cls(*counts)

    def stack(self) -> Counts:
        """Return hits, actual and predicted as one array, int64 (3, …, classes)."""
        return np.stack([self.hits, self.actual, self.predicted])

    def pool(self) -> "Tally":
        """Return the sums over the classes, int64 (…, 1)."""
        return Tally(*(counts.sum(-1, keepdims=True) for counts in (self.hits, self.actual, self.predicted)))


def count_classes(truth: NDArray[Any], predicted: NDArray[Any], classes: int) -> Tally:
    """Return the tally of class numbers (samples,) of any integer type, without a matrix of all pairs of classes."""
    by_class = (np.bincount(numbers, minlength=classes) for numbers in (truth[truth == predicted], truth, predicted))
    return Tally(*(counts.astype(np.int64, copy=False) for counts in by_class))


def count_confusion(truth: NDArray[Any], predicted: NDArray[Any], classes: int) -> Counts:
    """Return the confusion matrix, int64 (classes, classes): rows are the truth, columns the prediction.

    Both are class numbers (samples,) of any integer type.
    """
    cells = np.zeros(classes * classes, np.int64)
    for start in range(0, len(truth), CHUNK):
        rows = slice(start, start + CHUNK)
        cells += np.bincount(truth[rows].astype(np.int64) * classes + predicted[rows], minlength=len(cells))
    return cells.reshape(classes, classes)


def divide(numerator: NDArray[Any], denominator: NDArray[Any]) -> Floats:
    """Return the quotient, NaN where the denominator is 0: undefined is not the same as 0."""
    result = np.full(np.shape(denominator), np.nan)
    np.divide(numerator, denominator, out=result, where=np.asarray(denominator) != 0)
    return result


def average_macro(compute: Callable[[Tally], Floats], tally: Tally) -> Floats:
    """Return the mean over the classes that have samples, (…); NaN without samples.

    Where the metric is undefined for one of these classes it counts as 0: what is never predicted was never found.
    """
    has_samples = tally.actual > 0
    return divide(np.where(has_samples, np.nan_to_num(compute(tally)), 0.0).sum(-1), has_samples.sum(-1))


def average_weighted(compute: Callable[[Tally], Floats], tally: Tally) -> Floats:
    """Return the mean over the classes, each weighted by its number of samples, (…); NaN without samples."""
    return divide((np.nan_to_num(compute(tally)) * tally.actual).sum(-1), tally.actual.sum(-1))


def average_micro(compute: Callable[[Tally], Floats], tally: Tally) -> Floats:
    """Return the metric of the counts summed over the classes, (…).

    Where each sample has one class and one prediction, precision, recall and F1 are then the accuracy.
    """
    return compute(tally.pool())[..., 0]


def resample_tallies(confusion: Counts, most_cells: int = RESAMPLED_CELLS) -> Iterator[Tally]:
    """Draw `RESAMPLES` times as many samples as `confusion` (classes, classes) has, with replacement.

    Yields tallies whose counts are int64 (resamples, classes), `RESAMPLES` in all; `most_cells` decides how many at
    once, and changes no number. To draw samples with replacement and count them is to draw the cells of the matrix from
    a multinomial, at a cost that does not grow with the number of samples.
    """
    actual, predicted = np.nonzero(confusion)
    cells = confusion[actual, predicted]
    shares = cells / cells.sum()
    correct = actual == predicted
    classes = len(confusion)
    rng = np.random.default_rng(SEED)
    step = max(1, most_cells // len(cells))
    for start in range(0, RESAMPLES, step):
        counts = rng.multinomial(cells.sum(), shares, size=min(step, RESAMPLES - start))
        yield Tally(
            hits=_sum_by_class(counts[:, correct], actual[correct], classes),
            actual=_sum_by_class(counts, actual, classes),
            predicted=_sum_by_class(counts, predicted, classes),
        )


def _sum_by_class(counts: Counts, class_of_cell: Counts, classes: int) -> Counts:
    """Sum `counts` (resamples, cells) to (resamples, classes)."""
    order = np.argsort(class_of_cell, kind="stable")
    present, starts = np.unique(class_of_cell[order], return_index=True)
    sums = np.zeros((len(counts), classes), np.int64)
    sums[:, present] = np.add.reduceat(counts[:, order], starts, axis=1)
    return sums


def find_interval(scores: Floats) -> tuple[float, float]:
    """Return the percentile interval at `LEVEL` of resampled scores (Efron and Tibshirani 1993, chapter 13)."""
    low, high = np.quantile(scores, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
