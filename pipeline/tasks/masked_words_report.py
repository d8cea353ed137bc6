"""Measure masked words and report on them: accuracy and probability, beside those without any context."""

import heapq
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.tables.columns import ColumnBatch, Columns
from pipeline.tasks.metrics.sums import GroupSums, deal_groups, sum_by_row
from pipeline.tasks.metrics.tally import Floats, divide
from pipeline.tasks.report import Lazy, Mistake, Section, TaskReport
from pipeline.tasks.report_blocks import FLOOR, build_tiles, describe_scores, divide_rows, tabulate_scores, to_json
from pipeline.tasks.task import Predictions

if TYPE_CHECKING:
    from pipeline.tasks.masked_words import MaskedWordsPlan

SCORE_TITLES = {"probability": "probability of the masked word", "accuracy": "accuracy on masked words"}
COLUMNS: Columns = {"key": "string", "masked": "int64", "hits": "int64", "log_probability": "float64"}
"""`predictions`."""

TEXT = (
    "The accuracy is the share of masked words that are the most probable ones; beside it that of the most frequent "
    "word of the training split. The probability is the geometric mean; beside it that of the words' frequencies there."
)


def compute_scores(sums: Mapping[str, float]) -> dict[str, float]:
    """Return `SCORE_TITLES` by name from sums over samples; NaN without masked words."""
    masked = sums["masked"]
    return {
        "probability": math.exp(sums["log_probability"] / masked) if masked else math.nan,
        "accuracy": sums["hits"] / masked if masked else math.nan,
    }


def measure(predictions: Predictions, plan: "MaskedWordsPlan", split: str) -> dict[str, Any]:
    """Return the content of `metrics.json`: JSON without NaN."""
    sums = {name: float(np.sum(column)) for name, column in predictions.columns.items()}
    scores = {name: to_json(value) for name, value in compute_scores(sums).items()}
    reason = "no word of the split is masked" if len(predictions.keys) else "the split has no samples"
    return {
        "split": split,
        "samples": len(predictions.keys),
        "masked": int(sums["masked"]),
        **scores,
        f"{FLOOR}probability": plan.chance,
        f"{FLOOR}accuracy": sums["frequent"] / sums["masked"] if sums["masked"] else None,
        "undefined": dict.fromkeys((name for name, value in scores.items() if value is None), reason),
    }


def tabulate(predictions: Predictions, plan: "MaskedWordsPlan") -> GroupSums:
    """Return the scores as functions of sums by group."""
    columns = [np.asarray(predictions.columns[name], np.float64) for name in ("masked", "hits", "log_probability")]
    table = sum_by_row(deal_groups(predictions.groups, len(columns)), columns)
    return GroupSums(table, _score_sums, np.empty((0, len(columns))), np.empty(0))


def _score_sums(sums: Floats) -> dict[str, Floats]:
    """Return the scores of sums (…, 3) of masked words, hits, and logarithms of probabilities."""
    masked, hits, logs = np.moveaxis(sums, -1, 0)
    return {"probability": np.exp(divide(logs, masked)), "accuracy": divide(hits, masked)}


def describe_metrics(metrics: Mapping[str, Any]) -> list[str]:
    """Return the line for the summary: each score beside its floor."""
    return [describe_scores(metrics, dict(reversed(SCORE_TITLES.items())))]


def build_report(
    predictions: Predictions, plan: "MaskedWordsPlan", metrics: Mapping[str, Any], worst: int
) -> TaskReport:
    """Return the table and the sections of the page."""
    masked, hits, logs = (predictions.columns[name] for name in ("masked", "hits", "log_probability"))
    missed = [row for row in range(len(masked)) if hits[row] < masked[row]]
    rows = heapq.nsmallest(worst, missed, key=lambda row: (logs[row] / masked[row], predictions.keys[row]))
    return TaskReport(
        tiles=build_tiles(metrics, SCORE_TITLES, "floor"),
        sections=[Section("Scores", TEXT, table="scores")],
        figures={},
        tables={"scores": tabulate_scores(metrics, SCORE_TITLES)},
        columns=COLUMNS,
        predictions=Lazy(lambda: _list_rows(predictions)),
        mistakes=[
            Mistake(row=row, prediction=f"{hits[row]} words right", truth=f"{masked[row]} masked") for row in rows
        ],
        mistakes_text="The texts whose masked words were the least probable first.",
    )


def _list_rows(predictions: Predictions) -> Iterator[ColumnBatch]:
    """Yield the columns of `COLUMNS`, `GROUP_ROWS` samples at a time."""
    for rows, keys in divide_rows(predictions):
        yield {"key": keys, **{name: predictions.columns[name][rows] for name in COLUMNS if name != "key"}}
