"""`metrics.json`: every score, exact from the confusion matrix; what is not defined is null, and says why."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.evaluate.predict import Predictions
from pipeline.evaluate.subsets import name_subset
from pipeline.models import scores
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


NO_SAMPLES = "the split has no samples"
NO_TRUTH = "the split has no sample of the class"
NEVER_PREDICTED = "no sample was taken for the class"
NEITHER = "the class is neither in the split nor predicted"


def build_metrics(predictions: Predictions, classes: Sequence[str], split: str) -> dict[str, Any]:
    """All scores as JSON without NaN.

    Macro scores are means over the classes that are in the truth; the others are listed under `absent`. Micro scores
    of a classifier that gives each sample one class are its accuracy. The interval (`_low`, `_high`) is the 95 %
    percentile bootstrap over samples. What is not defined is null, and `undefined` says why.
    """
    confusion = scores.count_confusion(predictions.truth, predictions.predicted, len(classes))
    tally = Tally.from_confusion(confusion)
    overall = score_overall(tally) | score_intervals(confusion)
    by_class = score_classes(tally, classes)
    subsets = {
        name_subset(subset): score_subset(predictions.truth, predicted, len(classes))
        for subset, predicted in predictions.by_subset.items()
    }
    undefined = dict.fromkeys((name for name, value in overall.items() if value is None), NO_SAMPLES)
    undefined |= {
        f"per_class.{name}.{score}": explain_undefined(score, by_class[name]["support"])
        for name in classes
        for score in ("precision", "recall", "f1")
        if by_class[name][score] is None
    }
    return {
        "split": split,
        "samples": len(predictions.keys),
        **overall,
        "subsets": subsets,
        "per_class": by_class,
        "absent": [name for name in classes if by_class[name]["support"] == 0],
        "undefined": undefined,
    }


def score_overall(tally: Tally) -> dict[str, float | None]:
    """Accuracy, and precision, recall and F1 by each way to average."""
    by_class = {
        "precision": scores.find_precision(tally),
        "recall": scores.find_recall(tally),
        "f1": scores.find_f1(tally),
    }
    accuracy = float(scores.find_accuracy(tally))
    overall = {"accuracy": accuracy}
    overall |= {f"macro_{name}": float(scores.find_macro(values, tally)) for name, values in by_class.items()}
    overall |= {f"weighted_{name}": float(scores.find_weighted(values, tally)) for name, values in by_class.items()}
    overall |= dict.fromkeys((f"micro_{name}" for name in by_class), accuracy)
    return {name: replace_nan(value) for name, value in overall.items()}


def score_intervals(confusion: Counts) -> dict[str, float | None]:
    """The ends of the intervals of accuracy and macro F1; None where there is no sample."""
    names = ("accuracy_low", "accuracy_high", "macro_f1_low", "macro_f1_high")
    if confusion.sum() == 0:
        return dict.fromkeys(names)
    resampled = resample_tally(confusion)
    accuracy = find_interval(scores.find_accuracy(resampled))
    macro_f1 = find_interval(scores.find_macro(scores.find_f1(resampled), resampled))
    return dict(zip(names, (*accuracy, *macro_f1), strict=True))


def score_classes(tally: Tally, classes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """For each class: precision, recall, F1, the number of its samples, and how many samples were taken for it."""
    columns = zip(
        scores.find_precision(tally).tolist(),
        scores.find_recall(tally).tolist(),
        scores.find_f1(tally).tolist(),
        tally.actual.tolist(),
        tally.predicted.tolist(),
        strict=True,
    )
    return {
        name: {
            "precision": replace_nan(precision),
            "recall": replace_nan(recall),
            "f1": replace_nan(f1),
            "support": support,
            "predicted": predicted,
        }
        for name, (precision, recall, f1, support, predicted) in zip(classes, columns, strict=True)
    }


def score_subset(truth: Counts, predicted: Counts, classes: int) -> dict[str, float | None]:
    """Accuracy and macro F1 of the predictions with one subset of the modalities."""
    tally = Tally.from_confusion(scores.count_confusion(truth, predicted, classes))
    macro_f1 = scores.find_macro(scores.find_f1(tally), tally)
    return {"accuracy": replace_nan(float(scores.find_accuracy(tally))), "macro_f1": replace_nan(float(macro_f1))}


def explain_undefined(score: str, support: int) -> str:
    """Why a class has no such score."""
    if score == "precision":
        return NEVER_PREDICTED
    return NO_TRUTH if score == "recall" or support else NEITHER


def replace_nan(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else value


def describe_metrics(metrics: Mapping[str, Any]) -> list[str]:
    """Lines for the summary: the scores, and the classes that they say nothing about."""
    if metrics["samples"] == 0:
        return [f"the split {metrics['split']} has no samples: there is nothing to measure"]
    interval = f"({metrics['macro_f1_low']:.3f} to {metrics['macro_f1_high']:.3f})"
    lines = [f"{metrics['split']}: macro F1 {metrics['macro_f1']:.3f} {interval}, accuracy {metrics['accuracy']:.3f}"]
    if metrics["absent"]:
        lines.append(f"not in the split, and so not in the means: {', '.join(metrics['absent'])}")
    return lines


def find_extremes(by_class: Mapping[str, Mapping[str, Any]]) -> tuple[str, str] | None:
    """The classes with the highest and the lowest F1 among those in the truth, or None where there are not two."""
    there = [name for name, values in by_class.items() if values["support"] > 0]
    if len(there) < 2:
        return None
    return max(there, key=lambda name: by_class[name]["f1"]), min(there, key=lambda name: by_class[name]["f1"])
