"""Scores of a classifier, all of them exact from counts.

A `Tally` has for each class how many samples were told right, are truly of it, and were taken for it. Its arrays may
have axes in front of the classes, a tally each.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Tally:
    """Counts by class, int64 (…, classes): samples told right, samples of the class, samples taken for it."""

    hits: Counts
    actual: Counts
    predicted: Counts

    @classmethod
    def from_confusion(cls, confusion: Counts) -> "Tally":
        """From a confusion matrix (classes, classes), rows the truth."""
        return cls(confusion.diagonal(), confusion.sum(1), confusion.sum(0))


def count_confusion(truth: Counts, predicted: Counts, classes: int) -> Counts:
    """The confusion matrix, int64 (classes, classes): row the truth, column the prediction."""
    cells = np.bincount(truth * classes + predicted, minlength=classes * classes)
    return cells.astype(np.int64).reshape(classes, classes)


def divide(numerator: NDArray[Any], denominator: NDArray[Any]) -> Floats:
    """The quotient, NaN where the denominator is 0: not defined is not the same as 0."""
    result = np.full(np.shape(denominator), np.nan)
    np.divide(numerator, denominator, out=result, where=np.asarray(denominator) != 0)
    return result


def find_accuracy(tally: Tally) -> Floats:
    """(…): the share of samples told right; NaN where there is none."""
    return divide(tally.hits.sum(-1), tally.actual.sum(-1))


def find_precision(tally: Tally) -> Floats:
    """(…, classes): of what was taken for a class, the share that is; NaN for a class that is never predicted."""
    return divide(tally.hits, tally.predicted)


def find_recall(tally: Tally) -> Floats:
    """(…, classes): of the samples of a class, the share told right; NaN for a class that has none."""
    return divide(tally.hits, tally.actual)


def find_f1(tally: Tally) -> Floats:
    """(…, classes): 2 hits / (actual + predicted), the harmonic mean of precision and recall; NaN for a class that is
    neither there nor predicted."""
    return divide(2 * tally.hits, tally.actual + tally.predicted)


def find_macro(scores: Floats, tally: Tally) -> Floats:
    """(…): the plain mean of a score (…, classes) over the classes that are in the truth. Where it is not defined for
    one of these, it counts as 0: what is never predicted was never found. NaN where there is no sample."""
    there = tally.actual > 0
    return divide(np.where(there, np.nan_to_num(scores), 0.0).sum(-1), there.sum(-1))


def find_weighted(scores: Floats, tally: Tally) -> Floats:
    """(…): as `find_macro`, but each class counts as often as it has samples."""
    return divide((np.nan_to_num(scores) * tally.actual).sum(-1), tally.actual.sum(-1))
