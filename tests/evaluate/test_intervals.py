"""Intervals hold their score, know groups, are the same whatever is drawn at once, and cost little."""

import time
import tracemalloc
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given, settings
from numpy.typing import NDArray

from pipeline.evaluate.intervals import measure_intervals
from pipeline.tasks.classification import ClassPlan, tabulate
from pipeline.tasks.metrics import bootstrap
from pipeline.tasks.metrics.bootstrap import FEW, POISSON, RESAMPLES, estimate_intervals, resample_scores
from pipeline.tasks.metrics.sums import MOST_GROUPS, GroupSums, deal_groups, join_tallies
from pipeline.tasks.metrics.table import SCORES
from pipeline.tasks.metrics.tally import Floats
from pipeline.tasks.regression import NumberPlan
from pipeline.tasks.regression_report import measure as measure_numbers
from pipeline.tasks.regression_report import tabulate as tabulate_numbers
from pipeline.tasks.retrieval import RetrievalPlan
from pipeline.tasks.retrieval_report import measure as measure_ranks
from pipeline.tasks.retrieval_report import tabulate as tabulate_ranks
from pipeline.tasks.tag_report import measure as measure_tags
from pipeline.tasks.tag_report import tabulate as tabulate_tags
from pipeline.tasks.tagging import TagPlan
from pipeline.tasks.task import Predictions

Numbers = NDArray[np.int64]


def make_predictions(truth: Numbers, predicted: Numbers, groups: Numbers | None = None) -> Predictions:
    keys = np.array([f"key{number}" for number in range(len(truth))], "S64")
    return Predictions(keys, {}, {"truth": truth, "prediction": predicted}, group_numbers=groups)


def make_plan(classes: int) -> ClassPlan:
    return ClassPlan(("image",), tuple(map(str, range(classes))), (1,) * classes)


def tabulate_classes(truth: Numbers, predicted: Numbers, groups: Numbers | None = None, classes: int = 4) -> GroupSums:
    return tabulate(make_predictions(truth, predicted, groups), make_plan(classes))


SAMPLES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=30)


@given(SAMPLES)
@example([(0, 0, 0), (0, 0, 1)])
@example([(0, 1, 0), (2, 3, 1)])
@settings(max_examples=25, deadline=None)
def test_an_interval_holds_its_score_and_is_of_the_range_of_scores(samples: list[tuple[int, int, int]]) -> None:
    truth, predicted, groups = np.array(samples, np.int64).T
    sums = tabulate_classes(truth, predicted, groups)
    scores = sums.score()
    assert scores["accuracy"] == pytest.approx((truth == predicted).mean())
    for name, interval in estimate_intervals(sums).items():
        if len(set(groups.tolist())) < 2:
            assert interval is None
        else:
            assert interval is not None
            assert 0 <= interval[0] <= scores[name] <= interval[1] <= 1
            assert interval[0] < interval[1], "nothing is certain from a sample"


def test_the_interval_of_many_samples_is_that_of_the_binomial_distribution() -> None:
    right = np.arange(2000) % 5 > 0
    low, high = estimate_intervals(tabulate_classes(np.ones(2000, np.int64), right.astype(np.int64)))["accuracy"] or (
        0,
        0,
    )
    half = 1.96 * np.sqrt(0.8 * 0.2 / 2000)
    np.testing.assert_allclose((low, high), (0.8 - half, 0.8 + half), atol=0.002)


def test_samples_that_are_alike_in_a_group_make_it_wider() -> None:
    truth, right = np.zeros(400, np.int64), np.repeat(np.arange(40) % 4 > 0, 10)
    groups = np.repeat(np.arange(40), 10)
    alone, together = (
        estimate_intervals(tabulate_classes(truth, 1 - right.astype(np.int64), each))["accuracy"] or (0, 0)
        for each in (None, groups)
    )
    assert together[1] - together[0] > 2.5 * (alone[1] - alone[0])


def test_a_class_of_one_sample_stays_in_the_mean() -> None:
    truth = np.array([0] * 50 + [1], np.int64)
    predicted = np.array([0] * 50 + [0], np.int64)
    drawn = resample_scores(tabulate_classes(truth, predicted))["macro_f1"]
    assert drawn.mean() < 0.9, "where the class left the mean, it would be 0.99"


@pytest.mark.parametrize("groups", [5, FEW, FEW + 1, 2000])
def test_resamples_are_the_same_however_many_are_drawn_at_once(groups: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "RESAMPLES", 60)
    rng = np.random.default_rng(1)
    sums = tabulate_classes(rng.integers(0, 4, groups), rng.integers(0, 4, groups))
    first, again = resample_scores(sums), resample_scores(sums)
    for name, values in first.items():
        assert len(values) == 60
        np.testing.assert_array_equal(values, again[name])


def test_a_byte_gives_a_count_with_mean_and_variance_of_one() -> None:
    assert (len(POISSON), POISSON.mean(), POISSON.var()) == (256, 1, 1)


def test_more_groups_than_fit_are_dealt_evenly() -> None:
    rows = deal_groups(np.arange(3 * MOST_GROUPS), 10)
    assert np.bincount(rows).tolist() == [3] * MOST_GROUPS
    few = deal_groups(np.array([7, 900, 7, 12_345]), 10)
    assert sorted(set(few.tolist())) == [0, 1, 2]
    assert few[0] == few[2]


def test_without_samples_there_are_no_intervals() -> None:
    empty = np.empty(0, np.int64)
    found = measure_intervals(tabulate_classes(empty, empty), 0, 0)
    assert found.metrics == {
        "groups": 0,
        **dict.fromkeys(("accuracy_low", "accuracy_high", "macro_f1_low", "macro_f1_high")),
    }
    assert not found.sections


def test_one_group_has_no_interval_and_the_reason() -> None:
    found = measure_intervals(tabulate_classes(np.arange(4), np.arange(4), np.zeros(4, np.int64)), 1, 4)
    assert found.metrics["accuracy_low"] is None
    assert found.undefined["accuracy_low"] == "all samples are one group"


def make_other_predictions() -> dict[str, tuple[GroupSums, dict[str, float]]]:
    """The sums of each other task, and its scores as it measures them."""
    rng = np.random.default_rng(2)
    keys, groups = np.array([f"k{n}" for n in range(60)], "S64"), rng.integers(0, 20, 60)
    numbers = NumberPlan(("image",), "label", (), "squared", 100.0, 1.0, 100.0)
    truth = 100 + rng.normal(size=60)
    regression = Predictions(
        keys, {}, {"truth": truth, "prediction": truth + rng.normal(size=60)}, group_numbers=groups
    )
    tags = TagPlan(("image",), ("a", "b", "c"), (), ())
    tagged: dict[str, NDArray[Any]] = {
        "truth": rng.integers(0, 2, (60, 3)).astype(np.uint8),
        "probability": rng.random((60, 3), np.float32),
    }
    tagging = Predictions(keys, {}, tagged, group_numbers=groups)
    ranks = RetrievalPlan(("image", "text"), "infonce", 0.07, 0, 4)
    vectors = rng.normal(size=(60, 2, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    vectors[:7, 1] = 0
    retrieval = Predictions(keys, {}, {"vectors": vectors}, group_numbers=groups)
    return {
        "regression": (tabulate_numbers(regression, numbers), measure_numbers(regression, numbers, "test")),
        "tagging": (tabulate_tags(tagging, tags), measure_tags(tagging, tags, "test")),
        "retrieval": (tabulate_ranks(retrieval, ranks), measure_ranks(retrieval, ranks, "test")),
    }


@pytest.mark.parametrize("name", ["regression", "tagging", "retrieval"])
def test_sums_give_the_scores_of_the_task_and_their_intervals(name: str) -> None:
    sums, metrics = make_other_predictions()[name]
    intervals = estimate_intervals(sums)
    for score, value in sums.score().items():
        assert value == pytest.approx(metrics[score], rel=1e-9)
        interval = intervals[score]
        assert interval is not None
        assert interval[0] <= value <= interval[1]


def test_ten_thousand_groups_take_little_time_and_memory() -> None:
    """1.5 s and 200 MB are promised on a quiet machine."""
    rng = np.random.default_rng(3)
    tallies: list[Floats] = [rng.integers(0, 3, (MOST_GROUPS, 3, 10)).astype(np.float64)]
    sums = join_tallies(tallies, lambda each: {"macro_f1": SCORES["macro_f1"].compute(each[0])})
    tracemalloc.start()
    start = time.process_time()
    scores = resample_scores(sums)
    seconds, peak = time.process_time() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(scores["macro_f1"]) == RESAMPLES
    assert peak < 50e6
    assert seconds < 6
