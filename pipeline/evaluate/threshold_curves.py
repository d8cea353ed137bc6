"""Measure classes over all thresholds: ROC and precision-recall curves, their areas, of each class and in the mean."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluate.supplement import Supplement
from pipeline.tasks.metrics.thresholds import compute_average_precision, compute_roc_auc, count_by_threshold
from pipeline.tasks.probabilities import Probabilities
from pipeline.tasks.report import Cell, Curves, ReportTable, Section

MOST_DRAWN = 6
"""Classes whose curves are drawn, those with the most samples: more lines are not told apart."""

POINTS = 200
"""Points of a drawn curve; areas are exact."""

TEXT = (
    "Each class against all others, over all thresholds of its probability. The area under the ROC curve is 0.5 for "
    "random probabilities, average precision the share of the class. Means are over the classes with samples.{drawn}"
)


def measure_curves(probabilities: Probabilities) -> Supplement:
    """Return `roc_auc`, `average_precision` and the block `curves`, the areas of each class; null where a class has no
    samples, or all. Nothing where probabilities are not kept."""
    if probabilities.scores is None:
        return Supplement()
    block: dict[str, dict[str, Any]] = {}
    lines: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
    counts = {name: int(probabilities.select(number)[0].sum()) for number, name in enumerate(probabilities.names)}
    drawn = sorted((name for name in counts if counts[name]), key=lambda name: (-counts[name], name))[:MOST_DRAWN]
    precision_lines = {}
    for number, name in enumerate(probabilities.names):
        truth, scores = probabilities.select(number)
        areas = {
            "roc_auc": compute_roc_auc(truth, scores),
            "average_precision": compute_average_precision(truth, scores),
        }
        block[name] = {key: None if math.isnan(value) else value for key, value in areas.items()}
        if name in drawn and counts[name] < len(truth):
            lines[name], precision_lines[name] = trace_curves(truth, scores)
    means = {key: _average(block, key) for key in ("roc_auc", "average_precision")}
    reason = "no class has samples in the split beside those of other classes"
    rows: list[list[Cell]] = [[name, counts[name], *values.values()] for name, values in block.items()]
    text = f" Drawn are the {MOST_DRAWN} with the most samples." if len(probabilities.names) > MOST_DRAWN else ""
    sections = [
        Section("ROC curves", TEXT.format(drawn=text), "roc", "ROC curves", "curves"),
        Section("Precision and recall", figure="precision_recall", alt="Precision over recall"),
    ]
    figures = {
        "roc": Curves("ROC curves", "false positive rate", "true positive rate", lines, guide=True),
        "precision_recall": Curves("Precision over recall", "recall", "precision", precision_lines),
    }
    titles = {"class": "class", "samples": "samples", "roc_auc": "ROC AUC", "average_precision": "average precision"}
    return Supplement(
        {**means, "curves": block},
        {name: reason for name, value in means.items() if value is None},
        sections if lines else [],
        figures if lines else {},
        {"curves": ReportTable(titles, rows)},
    )


def trace_curves(
    truth: NDArray[np.bool_], scores: NDArray[np.floating]
) -> tuple[tuple[NDArray[np.float64], NDArray[np.float64]], tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return points of the ROC curve (false and true positive rates) and of precision over recall, of samples (n,) of
    which some are positive and some not."""
    hits, predicted = count_by_threshold(truth, scores)
    chosen = np.unique(np.linspace(0, len(hits) - 1, min(POINTS, len(hits))).astype(np.int64))
    found, given = hits[chosen], predicted[chosen]
    recall = found / hits[-1]
    false = (given - found) / (predicted[-1] - hits[-1])
    roc = np.concatenate([[0], false]), np.concatenate([[0], recall])
    return roc, (recall, found / given)


def _average(block: Mapping[str, Mapping[str, float | None]], key: str) -> float | None:
    values = [each[key] for each in block.values() if each[key] is not None]
    return float(np.mean(values)) if values else None  # type: ignore[arg-type]  # none is None
