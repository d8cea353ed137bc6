"""Measure a classifier and report on it: scores, intervals, the confusion matrix, the scores of each class."""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.tables.columns import ColumnBatch, Columns
from pipeline.tasks.metrics.table import CLASS_METRICS, METRICS, SCORES
from pipeline.tasks.metrics.tally import Counts, Floats, Tally, count_confusion
from pipeline.tasks.report import (
    Bars,
    Cell,
    Lazy,
    Matrix,
    Mistake,
    ReportTable,
    Section,
    TaskReport,
    Tile,
    format_interval,
)
from pipeline.tasks.report_blocks import (
    PARTS_SECTION,
    build_tiles,
    describe_no_samples,
    divide_rows,
    list_subset_scores,
    plan_subsets,
    tabulate_block,
    tabulate_subsets,
    to_json,
)
from pipeline.tasks.task import Predictions

HEADLINES = ("accuracy", "macro_f1")
"""The scores in validation, for each subset of the parts, and with intervals. The last one selects the epoch: the
mean over classes does not let a frequent class hide a rare one."""

SCORE_TITLES = {name: SCORES[name].title for name in HEADLINES}

NO_SAMPLES = "the split has no samples"

PREDICTIONS: Columns = {
    "key": "string",
    "truth": "string",
    "prediction": "string",
    "probability": "float64",  # of the prediction
    "truth_probability": "float64",
}
"""`predictions`."""


def score_tally(tally: Tally) -> dict[str, float]:
    """Return `HEADLINES` by name."""
    return {name: float(SCORES[name].compute(tally)) for name in HEADLINES}


def measure_classes(predictions: Predictions, classes: Sequence[str], split: str) -> dict[str, Any]:
    """Return the content of `metrics.json`: JSON without NaN, exact from the confusion matrix.

    Macro scores are means over the classes that have samples in the split; the others are listed under `absent`. What
    is not defined is null, and `undefined` says why.
    """
    confusion = count_confusion(predictions.columns["truth"], predictions.columns["prediction"], len(classes))
    tally = Tally.from_confusion(confusion)
    scores = {name: to_json(float(score.compute(tally))) for name, score in SCORES.items()}
    per_class = _measure_each(tally, classes)
    undefined = dict.fromkeys((name for name, value in scores.items() if value is None), NO_SAMPLES)
    undefined |= {
        f"per_class.{name}.{metric}": METRICS[metric].undefined
        for name in classes
        for metric in CLASS_METRICS
        if per_class[name][metric] is None
    }
    return {
        "split": split,
        "samples": len(predictions.keys),
        **scores,
        "subsets": list_subset_scores(predictions),
        "per_class": per_class,
        "absent": [name for name in classes if per_class[name]["support"] == 0],
        "undefined": undefined,
    }


def _measure_each(tally: Tally, classes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return for each class its scores, the number of its samples, and how often it was predicted."""
    columns = {name: METRICS[name].load()(tally).tolist() for name in CLASS_METRICS}
    return {
        name: {
            **{metric: to_json(values[number]) for metric, values in columns.items()},
            "support": int(tally.actual[number]),
            "predicted": int(tally.predicted[number]),
        }
        for number, name in enumerate(classes)
    }


def describe_metrics(metrics: Mapping[str, Any]) -> list[str]:
    """Return lines for the summary: the scores, and the classes that the split has no sample of."""
    if metrics["samples"] == 0:
        return [describe_no_samples(metrics)]
    macro_f1 = f"{metrics['macro_f1']:.3f}{format_interval(metrics, 'macro_f1')}"
    lines = [f"{metrics['split']}: macro F1 {macro_f1}, accuracy {metrics['accuracy']:.3f}"]
    if metrics["absent"]:
        lines.append(f"no samples in the split, so not in macro F1: {', '.join(metrics['absent'])}")
    return lines


def build_report(
    predictions: Predictions, classes: Sequence[str], metrics: Mapping[str, Any], worst: int
) -> TaskReport:
    """Return the tables, the figures and the sections of the page; without samples there are no figures."""
    truth, predicted = predictions.columns["truth"], predictions.columns["prediction"]
    figures = (
        _plan_figures(count_confusion(truth, predicted, len(classes)), metrics, classes) if metrics["samples"] else {}
    )
    return TaskReport(
        tiles=_build_tiles(metrics),
        sections=_build_sections(metrics),
        figures=figures,
        tables=_build_tables(metrics, classes, predictions),
        columns=PREDICTIONS,
        predictions=Lazy(lambda: _name_predictions(predictions, classes)),
        mistakes=[
            Mistake(
                row=row,
                prediction=classes[predicted[row]],
                truth=classes[truth[row]],
                probability=float(predictions.columns["probability"][row]),
                truth_probability=float(predictions.columns["truth_probability"][row]),
            )
            for row in find_worst(predictions, worst)
        ],
    )


def _name_predictions(predictions: Predictions, classes: Sequence[str]) -> Iterator[ColumnBatch]:
    """Yield the columns of `PREDICTIONS`, `GROUP_ROWS` samples at a time."""
    names = np.array(classes, object)
    columns = predictions.columns
    for rows, keys in divide_rows(predictions):
        yield {
            "key": keys,
            "truth": names[columns["truth"][rows]],
            "prediction": names[columns["prediction"][rows]],
            "probability": columns["probability"][rows],
            "truth_probability": columns["truth_probability"][rows],
        }


def _name_pairs(predictions: Predictions, classes: Sequence[str]) -> Iterator[Sequence[Cell]]:
    """Yield the true and the predicted class of each sample."""
    for batch in _name_predictions(predictions, classes):
        yield from zip(batch["truth"], batch["prediction"], strict=True)


def compute_probabilities(logits: NDArray[np.float32]) -> Floats:
    """Return the softmax over the last axis, float64."""
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    probabilities: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities


def find_worst(predictions: Predictions, count: int) -> list[int]:
    """Return the rows of `count` samples predicted wrong, the one with the least probable truth first, then by key."""
    columns = predictions.columns
    wrong = np.flatnonzero(columns["prediction"] != columns["truth"])
    probabilities = columns["truth_probability"][wrong]
    if count < len(wrong):
        wrong = wrong[probabilities <= np.partition(probabilities, count)[count]]
    return heapq.nsmallest(
        count, map(int, wrong), key=lambda row: (columns["truth_probability"][row], predictions.keys[row])
    )


def _plan_figures(confusion: Counts, metrics: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Matrix | Bars]:
    return {
        "confusion": Matrix("Confusion matrix", confusion, classes),
        "subsets": plan_subsets(metrics, HEADLINES[::-1], SCORE_TITLES),
    }


def _build_tables(
    metrics: Mapping[str, Any], classes: Sequence[str], predictions: Predictions
) -> dict[str, ReportTable]:
    """Return `confusion` (a row a sample, which `dvc plots` counts), `per_class` and `subsets`."""
    titles = {"support": "samples", "predicted": "predicted"}
    titles |= {name: METRICS[name].title for name in CLASS_METRICS}
    pairs = Lazy(lambda: _name_pairs(predictions, classes))
    return {
        "confusion": ReportTable({"actual": "actual", "predicted": "predicted"}, pairs),
        "per_class": tabulate_block(metrics["per_class"], ("class", "class"), titles),
        "subsets": tabulate_subsets(metrics, SCORE_TITLES),
    }


def _build_tiles(metrics: Mapping[str, Any]) -> list[Tile]:
    present = sum(values["support"] > 0 for values in metrics["per_class"].values())
    return [
        *build_tiles(metrics, dict(reversed(SCORE_TITLES.items()))),
        Tile(str(present), f"of {len(metrics['per_class'])} classes have samples in it"),
    ]


SCORES_TEXT = (
    "Macro F1 is the mean of the F1 of all classes that have samples: a rare class counts as much as a frequent one. "
    "Accuracy is the share of samples predicted correctly."
)


def _build_sections(metrics: Mapping[str, Any]) -> list[Section]:
    return [
        Section("Scores", SCORES_TEXT),
        PARTS_SECTION,
        Section("Classes", _describe_classes(metrics), table="per_class"),
        Section(
            "Confusion",
            "Rows are the actual class, columns the predicted one: correct predictions are on the diagonal. The colour "
            "is the share of the row.",
            figure="confusion",
            alt="Confusion matrix, rows the actual class, columns the predicted one",
        ),
    ]


def _describe_classes(metrics: Mapping[str, Any]) -> str:
    """Explain the columns; name the classes with the highest and the lowest F1, and those without samples."""
    per_class = metrics["per_class"]
    sentences = [
        "Precision: the share of the predictions of a class that are correct. Recall: the share of the samples of a "
        "class that are found. F1: their harmonic mean."
    ]
    present = [name for name, values in per_class.items() if values["support"] > 0]
    if len(present) > 1:
        best, worst = (choose(present, key=lambda name: per_class[name]["f1"]) for choose in (max, min))
        sentences.append(f"Highest F1: {best}. Lowest F1: {worst}.")
    if metrics["absent"]:
        sentences.append(f"No samples in the split, so not in macro F1: {', '.join(metrics['absent'])}.")
    return " ".join(sentences)
