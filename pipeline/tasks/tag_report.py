"""Measure a tagging and report on it: scores at one half, scores over all thresholds, those of each tag, and floors."""

import heapq
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.tables.columns import ColumnBatch, Columns
from pipeline.tasks.metrics.sums import GroupSums, count_shares, deal_groups, join_tallies
from pipeline.tasks.metrics.table import CLASS_METRICS, METRICS, SCORES
from pipeline.tasks.metrics.tally import Floats, Tally
from pipeline.tasks.metrics.thresholds import compute_average_precision, compute_roc_auc
from pipeline.tasks.report import (
    Lazy,
    Mistake,
    Section,
    TaskReport,
)
from pipeline.tasks.report_blocks import (
    FLOOR,
    PARTS_SECTION,
    build_tiles,
    describe_no_samples,
    describe_scores,
    divide_rows,
    list_subset_scores,
    plan_subsets,
    tabulate_block,
    tabulate_scores,
    tabulate_subsets,
    to_json,
)
from pipeline.tasks.task import Predictions

if TYPE_CHECKING:
    from pipeline.tasks.tagging import TagPlan

SCORE_TITLES = {"exact_match": "all tags right", "micro_f1": "micro F1", "macro_f1": "macro F1"}
"""The last one selects the epoch."""

THRESHOLD_METRICS = {"average_precision": compute_average_precision, "roc_auc": compute_roc_auc}
TITLES = {**SCORE_TITLES, "average_precision": "mean average precision", "roc_auc": "mean ROC AUC"}
COLUMNS: Columns = {"key": "string", "truth": "string", "prediction": "string", "truth_probability": "float64"}
"""`predictions`: `truth_probability` is that of the tag which is the least so of those that are right."""


def score_tags(tally: Tally, exact: int, samples: int) -> dict[str, float]:
    """Return `SCORE_TITLES` by name, from counts by tag and the samples whose tags are all right."""
    f1 = {name: float(SCORES[name].compute(tally)) for name in ("micro_f1", "macro_f1")}
    return {"exact_match": exact / samples if samples else math.nan, **f1}


def measure(predictions: Predictions, plan: "TagPlan", split: str) -> dict[str, Any]:
    """Return the content of `metrics.json`: JSON without NaN.

    Means are over the tags that have samples; a tag is given from a probability of one half on. Beside each score
    stands its floor: F1 where every tag is given to every sample, no tag for all tags right, for average precision and
    ROC AUC those of random probabilities.
    """
    truth, probability = predictions.columns["truth"], predictions.columns["probability"]
    samples = len(predictions.keys)
    given = probability >= 0.5
    tally = Tally((given & (truth > 0)).sum(0), truth.sum(0, dtype=np.int64), given.sum(0))
    per_class = _measure_tags(truth, probability, tally, plan)
    scores = score_tags(tally, int((given == (truth > 0)).all(1).sum()), samples)
    scores |= {name: _average([each[name] for each in per_class.values()]) for name in THRESHOLD_METRICS}
    everything = Tally(tally.actual, tally.actual, np.full_like(tally.actual, samples))
    floors = score_tags(everything, int((truth == 0).all(1).sum()), samples)
    floors |= {
        "average_precision": _average([count / samples for count in tally.actual.tolist() if count]),
        "roc_auc": 0.5,
    }
    values = {**scores, **{FLOOR + name: value for name, value in floors.items()}}
    reason = "no tag has samples in the split, or all its samples" if samples else "the split has no samples"
    return {
        "split": split,
        "samples": samples,
        **{name: to_json(value) for name, value in values.items()},
        "subsets": list_subset_scores(predictions),
        "per_class": {
            name: {score: to_json(value) if isinstance(value, float) else value for score, value in each.items()}
            for name, each in per_class.items()
        },
        "undefined": {name: reason for name, value in values.items() if math.isnan(value)},
    }


def _measure_tags(
    truth: NDArray[np.uint8], probability: NDArray[np.float32], tally: Tally, plan: "TagPlan"
) -> dict[str, dict[str, float | int]]:
    """Return the scores of each tag, the number of its samples, and how often it was given."""
    columns = {name: METRICS[name].load()(tally).tolist() for name in CLASS_METRICS}
    return {
        name: {
            **{metric: values[number] for metric, values in columns.items()},
            **{metric: f(truth[:, number], probability[:, number]) for metric, f in THRESHOLD_METRICS.items()},
            "support": int(tally.actual[number]),
            "predicted": int(tally.predicted[number]),
        }
        for number, name in enumerate(plan.tags)
    }


def tabulate(predictions: Predictions, plan: "TagPlan") -> GroupSums:
    """Return `SCORE_TITLES` as functions of counts by group."""
    truth, given = predictions.columns["truth"] > 0, predictions.columns["probability"] >= 0.5
    rows = deal_groups(predictions.groups, 3 * len(plan.tags))
    counts = np.zeros((int(rows.max(initial=-1)) + 1, 3, len(plan.tags)))
    for number, of_samples in enumerate((truth & given, truth, given)):
        np.add.at(counts[:, number], rows, of_samples)
    exact = count_shares(rows, (truth == given).all(1))

    def compute(tallies: Sequence[Tally]) -> dict[str, Floats]:
        scores = ("accuracy", "micro_f1", "macro_f1")
        values = [SCORES[name].compute(tally) for name, tally in zip(scores, tallies, strict=True)]
        return dict(zip(SCORE_TITLES, values, strict=True))

    return join_tallies([exact, counts.sum(2, keepdims=True), counts], compute)


def _average(values: list[float]) -> float:
    """Return the mean of those that are defined."""
    defined = [value for value in values if not math.isnan(value)]
    return float(np.mean(defined)) if defined else math.nan


def describe_metrics(metrics: Mapping[str, Any]) -> list[str]:
    """Return the line for the summary: each score beside its floor."""
    if metrics["samples"] == 0:
        return [describe_no_samples(metrics)]
    return [describe_scores(metrics, {name: TITLES[name] for name in ("macro_f1", "average_precision", "exact_match")})]


TEXT = (
    "A tag is given from a probability of one half on; means are over the tags that have samples. Floors: F1 where "
    "every tag is given to every sample, no tag for all tags right, random probabilities for the others."
)


def build_report(predictions: Predictions, plan: "TagPlan", metrics: Mapping[str, Any], worst: int) -> TaskReport:
    """Return the tables, the figure and the sections of the page; without samples there is no figure."""
    tags = {name: METRICS[name].title for name in CLASS_METRICS} | {
        "average_precision": "average precision",
        "roc_auc": "ROC AUC",
    }
    per_class = {"support": "samples", "predicted": "given", **tags}
    figure = plan_subsets(metrics, ("macro_f1", "micro_f1"), SCORE_TITLES)
    return TaskReport(
        tiles=build_tiles(metrics, TITLES, "floor"),
        sections=[
            Section("Scores", TEXT, table="scores"),
            PARTS_SECTION,
            Section("Tags", table="per_class"),
        ],
        figures={"subsets": figure} if metrics["samples"] else {},
        tables={
            "scores": tabulate_scores(metrics, TITLES),
            "subsets": tabulate_subsets(metrics, SCORE_TITLES),
            "per_class": tabulate_block(metrics["per_class"], ("class", "tag"), per_class),
        },
        columns=COLUMNS,
        predictions=Lazy(lambda: _list_rows(predictions, plan)),
        mistakes=_find_worst(predictions, plan, worst),
        mistakes_text="With the probability of the tag that is right and was thought least so, the worst first.",
    )


def _list_rows(predictions: Predictions, plan: "TagPlan") -> Iterator[ColumnBatch]:
    """Yield the columns of `COLUMNS`, `GROUP_ROWS` samples at a time."""
    for rows, keys in divide_rows(predictions):
        truth, probability = predictions.columns["truth"][rows] > 0, predictions.columns["probability"][rows]
        yield {
            "key": keys,
            "truth": [_name_tags(row, plan) for row in truth],
            "prediction": [_name_tags(row, plan) for row in probability >= 0.5],
            "truth_probability": _find_least(truth, probability),
        }


def _name_tags(given: NDArray[np.bool_], plan: "TagPlan") -> str:
    return ", ".join(plan.tags[number] for number in np.flatnonzero(given).tolist())


def _find_least(truth: NDArray[np.bool_], probability: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the probability of the tag, had or not, that is right and thought least so, (samples,)."""
    least: NDArray[np.float64] = np.where(truth, probability, 1 - probability).astype(np.float64).min(1)
    return least


def _find_worst(predictions: Predictions, plan: "TagPlan", count: int) -> list[Mistake]:
    """Return the samples with a wrong tag, the one with the least probable right one first, then by key."""
    truth, probability = predictions.columns["truth"] > 0, np.asarray(predictions.columns["probability"])
    least = _find_least(truth, probability) if len(truth) else np.empty(0)
    wrong = np.flatnonzero(((probability >= 0.5) != truth).any(1)).tolist()
    rows = heapq.nsmallest(count, wrong, key=lambda row: (least[row], predictions.keys[row]))
    return [
        Mistake(
            row=row,
            prediction=_name_tags(probability[row] >= 0.5, plan) or "none",
            truth=_name_tags(truth[row], plan) or "none",
            truth_probability=float(least[row]),
        )
        for row in rows
    ]
