"""Regression has the scores of scikit-learn and SciPy beside floors; class weights and focal loss their formulas."""

import json
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import jsonschema
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from torch.nn import functional

from pipeline.errors import InputError
from pipeline.tables.contracts import REPORT_FOLDER, SHARDS_FOLDER
from pipeline.tasks.classification import CLASSIFICATION, ClassPlan, weigh_classes
from pipeline.tasks.labels import LABEL
from pipeline.tasks.regression_report import METRICS
from tests.evaluate.test_evaluate import run_evaluate
from tests.support.factory_forward import make_forward
from tests.support.factory_shards import Toy, make_shards
from tests.train.test_train import ROOT, run_train

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("deterministic")]


NUMBERS = hnp.arrays(np.float64, 12, elements=st.integers(-20, 20).map(float))


@given(NUMBERS, NUMBERS)
@settings(max_examples=40, deadline=None)
def test_scores_are_those_of_the_references(truth: NDArray[np.float64], predicted: NDArray[np.float64]) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    stats = pytest.importorskip("scipy.stats")
    found = {name: compute(truth, predicted) for name, compute in METRICS.items()}
    assert found["mae"] == pytest.approx(sklearn.mean_absolute_error(truth, predicted), abs=1e-12)
    assert found["rmse"] == pytest.approx(sklearn.root_mean_squared_error(truth, predicted), abs=1e-12)
    if np.ptp(truth) > 0:
        assert found["r2"] == pytest.approx(sklearn.r2_score(truth, predicted), abs=1e-12)
    else:
        assert np.isnan(found["r2"])
    if np.ptp(truth) > 0 and np.ptp(predicted) > 0:
        assert found["spearman"] == pytest.approx(stats.spearmanr(truth, predicted).statistic, abs=1e-12)
    else:
        assert np.isnan(found["spearman"])


def test_numbers_are_learned_from_labels(tmp_path: Path) -> None:
    make_shards(tmp_path / SHARDS_FOLDER, Toy(classes=("0.5", "2", "10", "1e2"), train=64, val=0))
    outcome = run_train(tmp_path, "", epochs=10, learning_rate=0.01, width=16, augment=False, task="regression")
    assert outcome.notes[0] == "no validation samples: the last of 10 epochs is taken"
    notes = run_evaluate(tmp_path).notes
    assert notes[0].startswith("test: mean absolute error ")
    metrics = json.loads((tmp_path / REPORT_FOLDER / "metrics.json").read_bytes())
    assert metrics["rmse"] < 0.7 * metrics["floor_rmse"]
    assert metrics["r2"] > 0.4 > metrics["floor_r2"]
    assert metrics["spearman"] > metrics["floor_spearman"] == 0
    assert metrics["mae_low"] <= metrics["mae"] <= metrics["mae_high"]
    assert metrics["floor_mae"] == pytest.approx(np.abs(np.array([0.5, 2, 10, 100]) - 6).mean())
    assert set(metrics["subsets"]) >= {"image", "image + audio + text"}
    assert (tmp_path / REPORT_FOLDER / "predictions.png").exists()
    jsonschema.validate(metrics, json.loads((ROOT / "schemas/metrics_regression.schema.json").read_bytes()))


def test_numbers_are_learned_from_a_field_and_validated(tmp_path: Path) -> None:
    make_shards(tmp_path / SHARDS_FOLDER, Toy(train=24, val=8))
    task = {"name": "regression", "field": "mfcc_length", "loss": "huber"}
    outcome = run_train(tmp_path, "", epochs=2, modalities=["image"], task=task)
    assert "R²" in outcome.notes[0]
    run_evaluate(tmp_path)
    assert "regression of mfcc_length" in (tmp_path / REPORT_FOLDER / "index.html").read_text()


@pytest.mark.parametrize(
    ("toy", "task", "message"),
    [
        (Toy(), {}, "the label 'bell' in .* is no finite number"),
        (Toy(labels=False), {}, "no labels to learn"),
        (Toy(), {"field": "price"}, r"train\.task\.field is price; it must be a field with one number a sample"),
        (Toy(), {"field": "mfcc_length"}, "that the model does not see: label"),
        (Toy(), {"field": "image"}, r"train\.task\.field is image; it must be"),
    ],
)
def test_what_is_no_number_is_refused(toy: Toy, task: dict[str, Any], message: str, tmp_path: Path) -> None:
    make_shards(tmp_path / SHARDS_FOLDER, toy)
    with pytest.raises(InputError, match=message):
        run_train(tmp_path, task={"name": "regression", **task})


@pytest.mark.parametrize("rule", ["balanced", "root"])
def test_samples_count_one_in_the_mean(rule: str) -> None:
    counts = np.array([40, 10, 0, 2])
    weights = np.array(weigh_classes(counts, rule))
    assert (weights * counts).sum() / counts.sum() == pytest.approx(1)
    assert weights[2] == 0
    power = 1 if rule == "balanced" else 0.5
    assert weights[3] / weights[0] == pytest.approx(20**power)
    assert weigh_classes(counts, "none") == ()


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    utils = pytest.importorskip("sklearn.utils.class_weight")
    labels = np.repeat([0, 1, 2], [7, 2, 3])
    expected = utils.compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(weigh_classes(np.bincount(labels), "balanced"), expected, rtol=1e-12)


def test_weights_and_focus_are_in_the_loss() -> None:
    rng = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(9, 3, generator=rng), torch.randint(0, 3, (9,), generator=rng)

    def compute(training: bool = True, **changes: Any) -> float:
        plan = ClassPlan(("image",), ("a", "b", "c"), (1, 1, 1), **changes)
        return float(CLASSIFICATION.compute_loss(make_forward(plan, logits, {LABEL: labels}), training))

    weights = (0.5, 2.0, 1.0)
    expected = functional.cross_entropy(logits, labels, torch.tensor(weights), label_smoothing=0.1)
    assert compute(weights=weights, smoothing=0.1) == pytest.approx(float(expected), rel=1e-6)
    chosen = logits.softmax(1).gather(1, labels[:, None])[:, 0]
    assert compute(focus=2.0) == pytest.approx(float((-((1 - chosen) ** 2) * chosen.log()).mean()), rel=1e-6)
    assert compute(focus=2.0, weights=weights, training=False) == compute(training=False)


def test_a_model_is_trained_with_weights(tmp_path: Path) -> None:
    make_shards(tmp_path / SHARDS_FOLDER, Toy(train=16, val=4, test=8))
    task = {"name": "classification", "class_weights": "balanced", "focus": 1.0}
    run_train(tmp_path, "", epochs=1, task=task)
    run_evaluate(tmp_path)
    record = json.loads((tmp_path / "6_model/model.json").read_bytes())
    assert record["plan"]["weights"] == [1.0] * 4
    assert record["params"]["task"]["focus"] == 1.0
