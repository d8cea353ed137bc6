"""Calibration and curves are those of the references, whatever ties and absent classes there are."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from pipeline.evaluate.calibration import BINS, compute_calibration_error, count_bins, measure_calibration
from pipeline.evaluate.draw_figure import draw_figure
from pipeline.evaluate.threshold_curves import measure_curves, trace_curves
from pipeline.tasks.classification import MOST_KEPT, SCORES_COLUMN, ClassPlan, average_columns, list_columns
from pipeline.tasks.probabilities import Probabilities

sklearn = pytest.importorskip("sklearn.metrics")


def make_probabilities(samples: int, classes: int, seed: int = 0, levels: int = 1000) -> Probabilities:
    """Probabilities of classes, of which the last has no sample; few levels have ties."""
    rng = np.random.default_rng(seed)
    scores = np.round(rng.dirichlet(np.full(classes, 0.5), samples) * levels).astype(np.float32) / np.float32(levels)
    truth = rng.integers(0, max(1, classes - 1), samples)
    prediction = scores.argmax(1)
    names = [f"class {number}" for number in range(classes)]
    return Probabilities(scores.max(1), prediction == truth, names, truth, scores)


@given(st.integers(1, 200), st.integers(2, 5), st.integers(0, 9), st.sampled_from([3, 1000]))
@settings(max_examples=30, deadline=None)
def test_areas_are_those_of_scikit_learn(samples: int, classes: int, seed: int, levels: int) -> None:
    probabilities = make_probabilities(samples, classes, seed, levels)
    found = measure_curves(probabilities)
    assert probabilities.scores is not None
    for number, areas in enumerate(found.metrics["curves"].values()):
        truth, scores = probabilities.truth == number, probabilities.scores[:, number]
        if not truth.any():
            assert areas == {"roc_auc": None, "average_precision": None}
            continue
        assert areas["average_precision"] == pytest.approx(sklearn.average_precision_score(truth, scores), abs=1e-12)
        expected = None if truth.all() else pytest.approx(sklearn.roc_auc_score(truth, scores), abs=1e-12)
        assert areas["roc_auc"] == expected


def test_curves_go_through_the_points_of_scikit_learn() -> None:
    probabilities = make_probabilities(90, 3, levels=20)
    assert probabilities.scores is not None
    truth, scores = probabilities.truth == 0, probabilities.scores[:, 0]
    (false, true), (recall, precision) = trace_curves(truth, scores)
    expected_false, expected_true, _ = sklearn.roc_curve(truth, scores, drop_intermediate=False)
    np.testing.assert_allclose((false, true), (expected_false, expected_true), atol=1e-12)
    expected_precision, expected_recall, _ = sklearn.precision_recall_curve(truth, scores)
    np.testing.assert_allclose((recall, precision), (expected_recall[-2::-1], expected_precision[-2::-1]), atol=1e-12)


@given(st.integers(1, 300), st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_the_calibration_error_is_that_by_hand(samples: int, seed: int) -> None:
    probabilities = make_probabilities(samples, 3, seed)
    by_hand = 0.0
    for number in range(BINS):
        low, high = number / BINS, (number + 1) / BINS
        rows = (probabilities.confidence > low) & (probabilities.confidence <= high)
        if rows.any():
            gap = abs(probabilities.right[rows].mean() - probabilities.confidence[rows].astype(float).mean())
            by_hand += gap * rows.mean()
    error = compute_calibration_error(count_bins(probabilities.confidence, probabilities.right))
    assert error == pytest.approx(by_hand, abs=1e-9)


def test_a_model_that_is_as_sure_as_it_is_right_has_little_error() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.random(100_000)
    bins = count_bins(confidence, rng.random(100_000) < confidence)
    assert compute_calibration_error(bins) < 0.01
    assert bins[0].sum() == 100_000


def test_edges_belong_to_the_bin_below() -> None:
    bins = count_bins(np.array([0.0, 1 / BINS, 1.0]), np.array([True, True, True]))
    assert (bins[0, 0], bins[0, -1]) == (2, 1)


def test_without_samples_there_is_a_reason_and_no_figure() -> None:
    empty = make_probabilities(0, 3)
    for found in (measure_calibration(empty), measure_curves(empty)):
        assert not found.figures
        assert {name for name, value in found.metrics.items() if value is None} == set(found.undefined)


def test_many_classes_are_measured_without_curves() -> None:
    plan = ClassPlan(("image",), tuple(map(str, range(MOST_KEPT + 1))), (1,) * (MOST_KEPT + 1))
    assert SCORES_COLUMN not in list_columns(plan)
    some = make_probabilities(20, 3)
    without = Probabilities(some.confidence, some.right, plan.classes, some.truth, None)
    assert not measure_curves(without).metrics
    assert measure_calibration(without).metrics["calibration_error"] > 0


def test_few_of_many_classes_are_drawn() -> None:
    found = measure_curves(make_probabilities(300, 20))
    figure = found.figures["roc"]
    assert len(figure.lines) == 6  # type: ignore[union-attr]
    assert draw_figure(figure)[:4] == b"\x89PNG"
    assert math.isfinite(found.metrics["roc_auc"])


def test_an_ensemble_predicts_the_mean_of_the_probabilities() -> None:
    plan = ClassPlan(("image",), ("a", "b"), (1, 1))
    sure, unsure = (
        {"truth": np.array([0]), "prediction": np.array([p.argmax()]), SCORES_COLUMN: p[None]}
        for p in (np.array([0.1, 0.9], np.float32), np.array([0.6, 0.4], np.float32))
    )
    together = average_columns([unsure, sure], plan)
    assert together["prediction"].tolist() == [1]
    np.testing.assert_allclose(together[SCORES_COLUMN], [[0.35, 0.65]], rtol=1e-6)
