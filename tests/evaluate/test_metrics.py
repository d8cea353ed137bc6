"""Scores are those counted by hand, are JSON whatever the predictions, and their intervals those of resampling."""

import json

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

from pipeline.tasks.classification import LABEL, compute_probabilities, find_worst, measure
from pipeline.tasks.metrics.table import AVERAGES, CLASS_METRICS, METRICS, SCORES
from pipeline.tasks.metrics.tally import (
    RESAMPLES,
    Counts,
    Tally,
    count_confusion,
    find_interval,
    resample_tally,
)
from pipeline.tasks.table import TASKS
from pipeline.tasks.task import Predictions


@st.composite
def build_truth_and_prediction(draw: st.DrawFn) -> tuple[Counts, Counts, int]:
    classes, samples = draw(st.integers(1, 6)), draw(st.integers(1, 40))
    numbers = hnp.arrays(np.int64, samples, elements=st.integers(0, classes - 1))
    return draw(numbers), draw(numbers), classes


@given(build_truth_and_prediction())
@settings(max_examples=60)
def test_scores_are_those_counted_by_hand(built: tuple[Counts, Counts, int]) -> None:
    truth, predicted, classes = built
    tally = Tally.from_confusion(count_confusion(truth, predicted, classes))
    accuracy = np.mean(truth == predicted)
    assert SCORES["accuracy"].compute(tally) == pytest.approx(accuracy)
    by_hand = {}
    for number in sorted(set(truth.tolist())):
        hits = sum(t == p == number for t, p in zip(truth, predicted, strict=True))
        precision = hits / max(1, sum(predicted == number))
        recall = hits / sum(truth == number)
        f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
        by_hand[number] = {"precision": precision, "recall": recall, "f1": f1}
    support = [sum(truth == number) for number in by_hand]
    for name in ("precision", "recall", "f1"):
        values = [found[name] for found in by_hand.values()]
        assert SCORES[f"macro_{name}"].compute(tally) == pytest.approx(np.mean(values))
        assert SCORES[f"weighted_{name}"].compute(tally) == pytest.approx(np.average(values, weights=support))
        assert SCORES[f"micro_{name}"].compute(tally) == accuracy


def test_scores_without_samples_are_not_defined() -> None:
    tally = Tally.from_confusion(np.zeros((3, 3), np.int64))
    assert np.isnan([score.compute(tally) for score in SCORES.values()]).all()


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_takes_many_tallies_and_has_its_words(name: str) -> None:
    rng = np.random.default_rng(1)
    confusions = rng.integers(0, 5, (7, 3, 3))
    together = Tally(confusions.diagonal(axis1=1, axis2=2), confusions.sum(2), confusions.sum(1))
    values = METRICS[name].load()(together)
    alone = [METRICS[name].load()(Tally.from_confusion(confusion)) for confusion in confusions]
    np.testing.assert_array_equal(values, np.stack(alone))
    assert values.shape == ((7, 3) if name in CLASS_METRICS else (7,))
    assert METRICS[name].title
    assert set(METRICS[name].averages) <= set(AVERAGES)
    assert bool(METRICS[name].averages) == bool(METRICS[name].undefined)


@pytest.mark.parametrize("name", TASKS)
def test_a_task_selects_by_a_score_that_there_is(name: str) -> None:
    assert TASKS[name].scores
    assert set(TASKS[name].scores) <= set(SCORES)


def make_predictions(truth: list[int], predicted: list[int]) -> Predictions:
    outputs = np.eye(4, dtype=np.float32)[np.array(predicted, np.int64)]
    keys = [f"key{number}" for number in range(len(truth))]
    return Predictions(keys, {("image",): outputs}, {LABEL: np.array(truth, np.int64)})


PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=30)


@given(PAIRS)
@settings(max_examples=30)
def test_metrics_are_json_whatever_the_predictions(pairs: list[tuple[int, int]]) -> None:
    predictions = make_predictions([t for t, _ in pairs], [p for _, p in pairs])
    metrics = measure(predictions, ["a", "b", "c", "d"], "test")
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    missing = {name for name, value in metrics.items() if value is None}
    missing |= {
        f"per_class.{name}.{score}"
        for name, values in metrics["per_class"].items()
        for score, value in values.items()
        if value is None
    }
    assert set(metrics["undefined"]) == missing
    assert sum(values["support"] for values in metrics["per_class"].values()) == len(pairs)
    if pairs:
        assert metrics["accuracy_low"] <= metrics["accuracy"] <= metrics["accuracy_high"]
        assert metrics["macro_f1_low"] <= metrics["macro_f1_high"]


def test_the_worst_are_wrong_and_have_the_least_probable_truth() -> None:
    truth, predicted = np.array([0, 1, 2, 3, 1]), np.array([0, 0, 0, 0, 0])
    probability = np.array([0.9, 0.3, 0.2, 0.1, 0.3])
    assert find_worst(["a", "c", "d", "e", "b"], truth, predicted, probability) == [3, 2, 4, 1]


def test_probabilities_are_the_softmax_also_of_large_logits() -> None:
    probabilities = compute_probabilities(np.array([[1e4, 0, 0], [1, 1, 1]], np.float32))
    assert probabilities.tolist() == [[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]]


def test_the_interval_is_that_of_resampling_samples() -> None:
    rng = np.random.default_rng(5)
    truth = rng.integers(0, 3, 200)
    predicted = np.where(rng.random(200) < 0.7, truth, rng.integers(0, 3, 200))
    resampled = resample_tally(count_confusion(truth, predicted, 3))
    assert resampled.actual.shape == (RESAMPLES, 3)
    assert (resampled.actual.sum(1) == 200).all()
    assert (resampled.predicted.sum(1) == 200).all()
    assert (resampled.hits <= np.minimum(resampled.actual, resampled.predicted)).all()
    rows = rng.integers(0, 200, (RESAMPLES, 200))
    by_rows = (truth[rows] == predicted[rows]).mean(1)
    interval = find_interval(SCORES["accuracy"].compute(resampled))
    np.testing.assert_allclose(interval, find_interval(by_rows), atol=0.02)
