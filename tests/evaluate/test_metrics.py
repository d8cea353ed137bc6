"""Scores are those counted by hand, are JSON whatever the predictions, and their intervals those of resampling."""

import json

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis.extra import numpy as hnp

from pipeline.tasks.class_report import build_report, compute_probabilities, find_worst
from pipeline.tasks.classification import CLASSIFICATION, ClassMeter, ClassPlan, measure
from pipeline.tasks.labels import LABEL
from pipeline.tasks.metrics.table import AVERAGES, CLASS_METRICS, METRICS, SCORES
from pipeline.tasks.metrics.tally import (
    Counts,
    Tally,
    count_classes,
    count_confusion,
)
from pipeline.tasks.table import TASKS
from pipeline.tasks.task import MOST_COMBINED, Predictions, list_subsets
from tests.support.factory_forward import make_forward


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
    assert all(TASKS[name].scores.values())


def make_plan(classes: int) -> ClassPlan:
    return ClassPlan(("image",), tuple("abcdefgh"[:classes]), (1,) * classes)


def make_predictions(truth: list[int], predicted: list[int]) -> Predictions:
    """What the task keeps of one batch, with one subset of the modalities."""
    outputs = torch.eye(4)[torch.tensor(predicted, dtype=torch.int64)]
    forward = make_forward(make_plan(4), outputs, {LABEL: torch.tensor(truth, dtype=torch.int64)})
    keys = np.array([f"key{number}" for number in range(len(outputs))], "S64")
    types, meter = CLASSIFICATION.list_columns(make_plan(4)), ClassMeter(make_plan(4))
    meter.add(forward)
    columns = {name: v.astype(types[name].base) for name, v in CLASSIFICATION.compute_columns(forward).items()}
    return Predictions(keys, {("image",): meter.compute()}, columns)


PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=30)


@given(PAIRS)
@settings(max_examples=30)
def test_metrics_are_json_whatever_the_predictions(pairs: list[tuple[int, int]]) -> None:
    predictions = make_predictions([t for t, _ in pairs], [p for _, p in pairs])
    metrics = measure(predictions, make_plan(4), "test")
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


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3)), max_size=20), st.integers(0, 22))
@example([(0, 1), (1, 3), (1, 3), (1, 3)], 2)
def test_the_worst_are_wrong_and_have_the_least_probable_truth(samples: list[tuple[int, int]], count: int) -> None:
    wrong, tenths = np.array(samples, np.int64).reshape(-1, 2).T
    keys = np.array([f"key{number * 7 % 23:02d}" for number in range(len(samples))], "S64")
    columns = {"truth": wrong, "prediction": np.zeros_like(wrong), "truth_probability": tenths / 10}
    by_hand = sorted(np.flatnonzero(wrong).tolist(), key=lambda row: (tenths[row], keys[row]))
    assert find_worst(Predictions(keys, {}, columns), count) == by_hand[:count]


@given(build_truth_and_prediction())
@settings(max_examples=30)
def test_counts_by_class_are_those_of_the_confusion_matrix(built: tuple[Counts, Counts, int]) -> None:
    truth, predicted, classes = built
    counts = count_classes(truth, predicted, classes).stack()
    assert counts.dtype == np.int64
    np.testing.assert_array_equal(counts, Tally.from_confusion(count_confusion(truth, predicted, classes)).stack())
    small = truth.astype(np.uint8), predicted.astype(np.uint8)
    np.testing.assert_array_equal(count_confusion(*small, classes), count_confusion(truth, predicted, classes))


def test_class_numbers_of_one_byte_do_not_overflow() -> None:
    truth, predicted = np.array([255, 0, 255], np.uint8), np.array([255, 255, 3], np.uint8)
    rows, columns = np.nonzero(count_confusion(truth, predicted, 256))
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 255), (255, 3), (255, 255)]


def test_a_classifier_keeps_the_columns_that_it_lists_whatever_the_batches() -> None:
    task, plan = CLASSIFICATION, make_plan(5)
    rng = torch.Generator().manual_seed(3)
    outputs = torch.randn((23, 5), generator=rng)
    batch = {LABEL: torch.randint(0, 5, (23,), generator=rng)}
    whole, types = task.compute_columns(make_forward(plan, outputs, batch)), task.list_columns(plan)
    assert list(whole) == list(types)
    assert all(values.shape == (23, *types[column].shape) for column, values in whole.items())
    cuts = (slice(0, 1), slice(1, 10), slice(10, 23))
    parts = [make_forward(plan, outputs[rows], {LABEL: batch[LABEL][rows]}) for rows in cuts]
    for column in types:
        joined = np.concatenate([task.compute_columns(part)[column] for part in parts])
        np.testing.assert_array_equal(joined, whole[column])
    together, meter = ClassMeter(plan), ClassMeter(plan)
    together.add(make_forward(plan, outputs, batch))
    for part in parts:
        meter.add(part)
    np.testing.assert_array_equal(meter.counts, together.counts)


def test_what_a_row_a_sample_is_made_of_can_be_read_twice() -> None:
    predictions = make_predictions([0, 1, 2], [0, 1, 1])
    report = build_report(predictions, make_plan(4).classes, measure(predictions, make_plan(4), "test"), 3)
    rows = report.tables["confusion"].rows
    assert list(rows) == list(rows) == [("a", "a"), ("b", "b"), ("c", "b")]
    assert [batch["key"] for batch in report.predictions] == [["key0", "key1", "key2"]]


def test_probabilities_are_the_softmax_also_of_large_logits() -> None:
    probabilities = compute_probabilities(np.array([[1e4, 0, 0], [1, 1, 1]], np.float32))
    assert probabilities.tolist() == [[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]]


@pytest.mark.parametrize("count", [1, 2, 4, MOST_COMBINED, MOST_COMBINED + 1, 64])
def test_subsets_are_few_enough_to_read(count: int) -> None:
    parts = [f"part{number}" for number in range(count)]
    subsets = list_subsets(parts)
    assert subsets[-1] == tuple(parts)
    assert {(part,) for part in parts} <= set(subsets)
    assert len(subsets) == len(set(subsets)) == (2**count - 1 if count <= MOST_COMBINED else 2 * count + 1)
