"""Compute accuracy, precision, recall and F1 from counts."""

from pipeline.tasks.metrics.tally import Floats, Tally, divide


def compute_accuracy(tally: Tally) -> Floats:
    """Return the share of samples predicted correctly, (…); NaN without samples."""
    return divide(tally.hits.sum(-1), tally.actual.sum(-1))


def compute_precision(tally: Tally) -> Floats:
    """Return hits / predicted, (…, classes); NaN for a class that is never predicted."""
    return divide(tally.hits, tally.predicted)


def compute_recall(tally: Tally) -> Floats:
    """Return hits / actual, (…, classes); NaN for a class without samples."""
    return divide(tally.hits, tally.actual)


def compute_f1(tally: Tally) -> Floats:
    """Return 2 hits / (actual + predicted), (…, classes): the harmonic mean of precision and recall.

    NaN for a class that has no sample and is never predicted.
    """
    return divide(2 * tally.hits, tally.actual + tally.predicted)
