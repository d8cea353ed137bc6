"""Score probabilities over all thresholds: average precision and the area under the ROC curve."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def compute_average_precision(truth: NDArray[Any], scores: NDArray[Any]) -> float:
    """Return the precision at each threshold, weighted by the recall that it adds, of (samples,); equal scores have one
    threshold. NaN without a positive. Its value of chance is the share of positives."""
    hits, predicted = count_by_threshold(truth, scores)
    if not len(hits) or hits[-1] == 0:
        return math.nan
    return float((np.diff(hits, prepend=0) * hits / predicted).sum() / hits[-1])


def compute_roc_auc(truth: NDArray[Any], scores: NDArray[Any]) -> float:
    """Return the share of pairs in which a positive has a higher score than a negative, equal scores half, of
    (samples,); NaN unless there are both. Its value of chance is 0.5."""
    hits, predicted = count_by_threshold(truth, scores)
    wrong = predicted - hits
    if not len(hits) or hits[-1] == 0 or wrong[-1] == 0:
        return math.nan
    below = (np.concatenate([[0], hits[:-1]]) + hits) / 2
    return float((np.diff(wrong, prepend=0) * below).sum() / (hits[-1] * wrong[-1]))


def count_by_threshold(truth: NDArray[Any], scores: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positives and all samples with at least each score, the highest score first."""
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.diff(scores[order], append=math.nan) != 0)
    hits = np.cumsum(truth[order].astype(np.int64))
    return hits[last], last + 1
