"""Measure a regression and report on it: errors, correlation, and beside them those of a constant."""

import heapq
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.tables.columns import ColumnBatch, Columns
from pipeline.tasks.metrics.sums import GroupSums, deal_groups, sum_by_row
from pipeline.tasks.metrics.tally import divide
from pipeline.tasks.report import (
    Lazy,
    Mistake,
    Scatter,
    Section,
    TaskReport,
)
from pipeline.tasks.report_blocks import (
    FLOOR,
    PARTS_TEXT,
    build_tiles,
    describe_no_samples,
    describe_scores,
    divide_rows,
    list_subset_scores,
    tabulate_scores,
    tabulate_subsets,
    to_json,
)
from pipeline.tasks.task import Predictions

if TYPE_CHECKING:
    from pipeline.tasks.regression import NumberPlan

Floats = NDArray[np.float64]

TITLES = {"mae": "mean absolute error", "rmse": "root mean squared error", "r2": "R²", "spearman": "Spearman's rho"}
COLUMNS: Columns = {"key": "string", "truth": "float64", "prediction": "float64"}
"""`predictions`."""


def compute_mae(truth: Floats, predicted: Floats) -> float:
    """Return the mean absolute error of (samples,); NaN without samples."""
    return float(np.abs(truth - predicted).mean()) if len(truth) else math.nan


def compute_rmse(truth: Floats, predicted: Floats) -> float:
    """Return the root of the mean squared error of (samples,); NaN without samples."""
    return float(np.sqrt(((truth - predicted) ** 2).mean())) if len(truth) else math.nan


def compute_r2(truth: Floats, predicted: Floats) -> float:
    """Return the share of the variance that is explained; negative where the split's mean predicts better, NaN where
    there is no variance."""
    if not len(truth) or not np.ptp(truth) > 0:
        return math.nan
    return float(1 - ((truth - predicted) ** 2).sum() / ((truth - truth.mean()) ** 2).sum())


def compute_spearman(truth: Floats, predicted: Floats) -> float:
    """Return the correlation of the ranks, equal values at their mean rank; NaN where one side is constant."""
    if len(truth) < 2 or not np.ptp(truth) > 0 or not np.ptp(predicted) > 0:
        return math.nan
    return float(np.corrcoef(rank_values(truth), rank_values(predicted))[0, 1])


def rank_values(values: Floats) -> Floats:
    """Return the rank of each value from 1, equal ones at their mean rank, (samples,)."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Floats = (last - (counts - 1) / 2)[inverse]
    return ranks


METRICS = {"mae": compute_mae, "rmse": compute_rmse, "r2": compute_r2, "spearman": compute_spearman}


def measure(predictions: Predictions, plan: "NumberPlan", split: str) -> dict[str, Any]:
    """Return the content of `metrics.json`: JSON without NaN.

    Beside each score stands its floor: that of the median of the training targets for the mean absolute error, of their
    mean for the others; a constant has no correlation, 0.
    """
    truth, predicted = (np.asarray(predictions.columns[name]) for name in ("truth", "prediction"))
    scores = {name: to_json(compute(truth, predicted)) for name, compute in METRICS.items()}
    constants = {name: np.full_like(truth, plan.median if name == "mae" else plan.mean) for name in METRICS}
    floors = {name: to_json(compute(truth, constants[name])) for name, compute in METRICS.items()}
    floors["spearman"] = 0.0
    undefined = dict.fromkeys(
        (name for name, value in scores.items() if value is None),
        "the targets of the split, or the predictions, are all the same" if len(truth) else "the split has no samples",
    )
    return {
        "split": split,
        "samples": len(truth),
        **scores,
        **{FLOOR + name: value for name, value in floors.items()},
        "subsets": list_subset_scores(predictions),
        "undefined": undefined,
    }


def tabulate(predictions: Predictions, plan: "NumberPlan") -> GroupSums:
    """Return the mean absolute error, the root mean squared error and R² as functions of sums by group."""
    truth, predicted = (np.asarray(predictions.columns[name]) for name in ("truth", "prediction"))
    error = truth - predicted
    centred = truth - truth.mean() if len(truth) else truth  # else the variance is lost in the sum of squares
    columns = [np.ones(len(truth)), np.abs(error), error**2, centred, centred**2]
    table = sum_by_row(deal_groups(predictions.groups, len(columns)), columns)
    bounds = {"mae": (0.0, math.inf), "rmse": (0.0, math.inf), "r2": (-math.inf, 1.0)}
    return GroupSums(table, _score_sums, np.empty((0, len(columns))), np.empty(0), bounds, frozenset({"mae", "rmse"}))


def _score_sums(sums: Floats) -> dict[str, Floats]:
    """Return the scores of sums (…, 5) of samples, absolute errors, squared errors, targets and squared targets."""
    count, absolute, squared, target, target_squared = np.moveaxis(sums, -1, 0)
    variance = target_squared - divide(target**2, count)
    return {
        "mae": divide(absolute, count),
        "rmse": np.sqrt(divide(squared, count)),
        "r2": 1 - divide(squared, np.where(variance > 1e-12 * target_squared, variance, 0)),
    }


def describe_metrics(metrics: Mapping[str, Any]) -> list[str]:
    """Return the line for the summary: each score beside its floor."""
    if metrics["samples"] == 0:
        return [describe_no_samples(metrics)]
    return [describe_scores(metrics, TITLES, "constant")]


TEXT = (
    "Beside each score stands that of a constant: the median of the training targets for the mean absolute error, "
    "their mean for the others."
)


def build_report(predictions: Predictions, plan: "NumberPlan", metrics: Mapping[str, Any], worst: int) -> TaskReport:
    """Return the tables, the figure and the sections of the page; without samples there is no figure."""
    truth, predicted = predictions.columns["truth"], predictions.columns["prediction"]
    errors = np.abs(truth - predicted)
    rows = heapq.nsmallest(worst, range(len(errors)), key=lambda row: (-errors[row], predictions.keys[row]))
    return TaskReport(
        tiles=build_tiles(metrics, TITLES, "constant"),
        sections=[
            Section("Scores", TEXT, table="scores"),
            Section("Predictions", figure="predictions", alt="The prediction of each sample over its target"),
            Section("Parts", PARTS_TEXT, table="subsets"),
        ],
        figures={"predictions": Scatter("Prediction over target", truth, predicted)} if len(truth) else {},
        tables={
            "scores": tabulate_scores(metrics, TITLES, "constant"),
            "subsets": tabulate_subsets(metrics, {name: TITLES[name] for name in ("mae", "r2")}),
        },
        columns=COLUMNS,
        predictions=Lazy(lambda: _list_rows(predictions)),
        mistakes=[
            Mistake(row=row, prediction=f"{predicted[row]:.4g}", truth=f"{truth[row]:.4g}")
            for row in rows
            if errors[row] > 0
        ],
        mistakes_text="The largest errors first.",
    )


def _list_rows(predictions: Predictions) -> Iterator[ColumnBatch]:
    """Yield the columns of `COLUMNS`, `GROUP_ROWS` samples at a time."""
    for rows, keys in divide_rows(predictions):
        yield {
            "key": keys,
            "truth": predictions.columns["truth"][rows],
            "prediction": predictions.columns["prediction"][rows],
        }
