"""Count predictions by class, and average scores over classes.

The arrays of a `Tally` may have axes in front of the classes: a tally each.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

CHUNK = 1 << 16
"""Samples that are counted at once, of columns that may be on disk."""


@dataclass(frozen=True)
class Tally:
    """Counts by class, (…, classes): correct predictions of the class, its samples, and its predictions. They are
    int64, or float64 where samples have weights."""

    hits: NDArray[Any]
    actual: NDArray[Any]
    predicted: NDArray[Any]

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
