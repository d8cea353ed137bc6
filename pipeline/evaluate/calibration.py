"""Measure whether probabilities are as often right as they say: calibration error and reliability diagram."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluate.supplement import Supplement
from pipeline.tasks.metrics.tally import CHUNK
from pipeline.tasks.probabilities import Probabilities
from pipeline.tasks.report import Cell, Curves, ReportTable, Section

BINS = 15
"""Bins of equal width, as in Guo et al. 2017: On calibration of modern neural networks."""

TEXT = (
    "How often predictions of each probability are right: on the diagonal they are as often as they say, below it the "
    "model is too sure. The expected calibration error is the mean distance from the diagonal over {bins} bins of "
    "equal width, each counted by its predictions: {error:.3f}."
)


def measure_calibration(probabilities: Probabilities) -> Supplement:
    """Return `calibration_error` and the block `calibration`, a row a bin that has predictions."""
    bins = count_bins(probabilities.confidence, probabilities.right)
    total = int(bins[0].sum())
    if total == 0:
        reason = "the split has no samples"
        return Supplement({"calibration_error": None, "calibration": []}, {"calibration_error": reason})
    error = compute_calibration_error(bins)
    rows: list[dict[str, Any]] = [
        {
            "low": number / BINS,
            "high": (number + 1) / BINS,
            "samples": int(count),
            "confidence": float(confidence / count),
            "accuracy": float(right / count),
        }
        for number, (count, confidence, right) in enumerate(bins.T)
        if count
    ]
    line = (np.array([row["confidence"] for row in rows]), np.array([row["accuracy"] for row in rows]))
    titles = {
        "low": "from",
        "high": "to",
        "samples": "predictions",
        "confidence": "mean probability",
        "accuracy": "right",
    }
    cells: list[list[Cell]] = [list(row.values()) for row in rows]
    return Supplement(
        {"calibration_error": error, "calibration": rows},
        sections=[
            Section(
                "Calibration", TEXT.format(bins=BINS, error=error), "calibration", "Reliability diagram", "calibration"
            )
        ],
        figures={
            "calibration": Curves("Reliability", "probability", "share that is right", {"model": line}, guide=True)
        },
        tables={"calibration": ReportTable(titles, cells)},
    )


def count_bins(confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return predictions, sum of confidences and right predictions of each bin, (3, bins); bins are open below."""
    bins = np.zeros((3, BINS))
    for start in range(0, len(confidence), CHUNK):
        values = np.asarray(confidence[start : start + CHUNK], np.float64)
        numbers = np.clip(np.ceil(values * BINS).astype(np.int64) - 1, 0, BINS - 1)
        for row, weights in enumerate((None, values, right[start : start + CHUNK])):
            bins[row] += np.bincount(numbers, weights, BINS)
    return bins


def compute_calibration_error(bins: NDArray[np.float64]) -> float:
    """Return the expected calibration error of `count_bins` (Naeini, Cooper and Hauskrecht 2015: Obtaining well
    calibrated probabilities using Bayesian binning): the mean over predictions of |share right - mean confidence|."""
    count, confidence, right = bins
    return float(np.abs(confidence - right).sum() / count.sum())
