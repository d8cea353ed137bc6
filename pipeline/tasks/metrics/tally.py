"""Count predictions by class, average scores over classes, and resample counts for confidence intervals.

The arrays of a `Tally` may have axes in front of the classes: a tally each.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

RESAMPLES = 1000
SEED = 0
LEVEL = 0.95


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

    def pool(self) -> "Tally":
        """Return the sums over the classes, int64 (…, 1)."""
        return Tally(*(counts.sum(-1, keepdims=True) for counts in (self.hits, self.actual, self.predicted)))


def count_confusion(truth: Counts, predicted: Counts, classes: int) -> Counts:
    """Return the confusion matrix, int64 (classes, classes): rows are the truth, columns the prediction."""
    cells = np.bincount(truth * classes + predicted, minlength=classes * classes)
    return cells.astype(np.int64).reshape(classes, classes)


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


def resample_tally(confusion: Counts) -> Tally:
    """Draw `RESAMPLES` times as many samples as `confusion` (classes, classes) has, with replacement.

    The tally's counts are int64 (resamples, classes). To draw samples with replacement and count them is to draw the
    cells of the matrix from a multinomial, at a cost that does not grow with the number of samples.
    """
    actual, predicted = np.nonzero(confusion)
    cells = confusion[actual, predicted]
    counts = np.random.default_rng(SEED).multinomial(cells.sum(), cells / cells.sum(), size=RESAMPLES)
    correct = actual == predicted
    classes = len(confusion)
    return Tally(
        hits=_sum_by_class(counts[:, correct], actual[correct], classes),
        actual=_sum_by_class(counts, actual, classes),
        predicted=_sum_by_class(counts, predicted, classes),
    )


def _sum_by_class(counts: Counts, class_of_cell: Counts, classes: int) -> Counts:
    """Sum `counts` (resamples, cells) to (resamples, classes)."""
    return np.stack([counts[:, class_of_cell == number].sum(1) for number in range(classes)], axis=1)


def find_interval(scores: Floats) -> tuple[float, float]:
    """Return the percentile interval at `LEVEL` of resampled scores (Efron and Tibshirani 1993, chapter 13)."""
    low, high = np.quantile(scores, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
