"""How far a score could be off by the luck of which samples are in the split."""

import numpy as np

from pipeline.models.scores import Counts, Floats, Tally

RESAMPLES = 1000
SEED = 0
LEVEL = 0.95


def resample_tally(confusion: Counts) -> Tally:
    """`RESAMPLES` tallies of as many samples as `confusion` (classes, classes) has, drawn from them with replacement:
    counts int64 (resamples, classes).

    To draw samples with replacement and count them is to draw the cells of the matrix from a multinomial, at a price
    that does not grow with the number of samples.
    """
    actual, predicted = np.nonzero(confusion)
    cells = confusion[actual, predicted]
    draws = np.random.default_rng(SEED).multinomial(cells.sum(), cells / cells.sum(), size=RESAMPLES)
    right = actual == predicted
    classes = len(confusion)
    return Tally(
        hits=_sum_by_class(draws[:, right], actual[right], classes),
        actual=_sum_by_class(draws, actual, classes),
        predicted=_sum_by_class(draws, predicted, classes),
    )


def _sum_by_class(draws: Counts, owners: Counts, classes: int) -> Counts:
    """(resamples, classes) of `draws` (resamples, cells), each cell owned by a class."""
    return np.stack([draws[:, owners == number].sum(1) for number in range(classes)], axis=1)


def find_interval(scores: Floats) -> tuple[float, float]:
    """The percentile interval at `LEVEL` (Efron and Tibshirani 1993, chapter 13) of resampled scores."""
    low, high = np.quantile(scores, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
