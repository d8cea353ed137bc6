"""Tags are the parts of labels; scores are those of scikit-learn, with tags that no sample has, beside floors."""

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
from pipeline.tables.contracts import MODEL_FOLDER, REPORT_FOLDER, SHARDS_FOLDER
from pipeline.tasks.labels import LABEL
from pipeline.tasks.metrics.thresholds import compute_average_precision, compute_roc_auc
from pipeline.tasks.tag_report import measure
from pipeline.tasks.tagging import MULTI_LABEL, TagMeter, TagPlan, build_table
from pipeline.tasks.task import Predictions
from tests.evaluate.test_evaluate import run_evaluate
from tests.support.factory_forward import make_forward
from tests.support.factory_shards import Toy, make_shards
from tests.train.test_train import ROOT, run_train

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("deterministic")]


PLAN = TagPlan(("image",), ("a", "b", "c"), ((), (0,), (1, 2), (0, 2)), (2, 1, 2))
TRUTH = hnp.arrays(np.uint8, (9, 3), elements=st.integers(0, 1))
TENTHS = hnp.arrays(np.float32, (9, 3), elements=st.integers(0, 10).map(lambda n: n / 16))


@given(TRUTH, TENTHS)
@settings(max_examples=40, deadline=None)
def test_scores_are_those_of_scikit_learn(truth: NDArray[np.uint8], probability: NDArray[np.float32]) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    columns: dict[str, NDArray[Any]] = {"truth": truth, "probability": probability}
    metrics = measure(Predictions(np.array([f"k{n}".encode() for n in range(9)]), {}, columns), PLAN, "test")
    given, tags = probability >= 0.5, np.flatnonzero(truth.any(0))
    f1 = {name: sklearn.f1_score(truth, given, average=name, labels=tags, zero_division=0) for name in ("macro",)}
    if len(tags):
        assert metrics["macro_f1"] == pytest.approx(f1["macro"], abs=1e-12)
    assert metrics["exact_match"] == pytest.approx(sklearn.accuracy_score(truth, given), abs=1e-12)
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    for number, name in enumerate(PLAN.tags):
        own, scores = truth[:, number], probability[:, number]
        found = metrics["per_class"][name]
        if own.any():
            assert found["average_precision"] == pytest.approx(sklearn.average_precision_score(own, scores), abs=1e-12)
        else:
            assert found["average_precision"] is None
        if own.any() and not own.all():
            assert found["roc_auc"] == pytest.approx(sklearn.roc_auc_score(own, scores), abs=1e-12)
        else:
            assert found["roc_auc"] is None


def test_random_scores_are_worth_their_chance() -> None:
    truth, scores = np.arange(10000) % 4 == 0, np.random.default_rng(0).random(10000)
    assert compute_average_precision(truth, scores) == pytest.approx(0.25, abs=0.02)
    assert compute_roc_auc(truth, scores) == pytest.approx(0.5, abs=0.02)
    assert compute_roc_auc(truth, np.zeros(10000)) == 0.5


def test_the_loss_and_the_meter_see_the_tags_of_labels() -> None:
    assert build_table(PLAN).tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 1], [1, 0, 1]]
    logits = torch.tensor([[-1.0, 2.0, 0.5], [1.0, -1.0, -3.0], [2.0, -2.0, 1.0]])
    forward = make_forward(PLAN, logits, {LABEL: torch.tensor([2, 1, 0])})
    tags = torch.tensor([[0.0, 1, 1], [1, 0, 0], [0, 0, 0]])
    expected = functional.binary_cross_entropy_with_logits(logits, tags)
    torch.testing.assert_close(MULTI_LABEL.compute_loss(forward, True), expected)
    torch.testing.assert_close(MULTI_LABEL.compute_loss(forward, False), 3 * expected)
    meter = TagMeter(PLAN)
    meter.add(forward)
    assert meter.counts.tolist() == [[1, 1, 1], [1, 1, 1], [2, 1, 2]]
    assert meter.compute()["exact_match"] == pytest.approx(2 / 3)


def test_several_labels_are_learned(tmp_path: Path) -> None:
    toy = Toy(classes=("bell", "bell|drum", "drum|wind", "wind"), train=64, val=0, missing=("audio",))
    make_shards(tmp_path / SHARDS_FOLDER, toy)
    task = {"name": "multi_label", "class_weights": "balanced"}
    run_train(tmp_path, "", epochs=5, augment=False, learning_rate=0.01, width=16, task=task)
    assert run_evaluate(tmp_path).notes[0].startswith("test: macro F1 ")
    metrics = json.loads((tmp_path / REPORT_FOLDER / "metrics.json").read_bytes())
    jsonschema.validate(metrics, json.loads((ROOT / "schemas/metrics_tags.schema.json").read_bytes()))
    assert list(metrics["per_class"]) == ["bell", "drum", "wind"]
    assert metrics["per_class"]["bell"]["support"] == 8
    assert metrics["macro_f1"] > metrics["floor_macro_f1"] == pytest.approx(2 / 3)
    assert metrics["average_precision"] > metrics["floor_average_precision"] == 0.5
    assert len(metrics["subsets"]) == 7
    plan = json.loads((tmp_path / MODEL_FOLDER / "model.json").read_bytes())["plan"]
    assert (plan["counts"], plan["weights"]) == ([32, 32, 32], [1.0, 1.0, 1.0])


def test_two_classes_are_told_apart_by_one_output(tmp_path: Path) -> None:
    make_shards(tmp_path / SHARDS_FOLDER, Toy(classes=("no", "yes"), train=24, test=0))
    outcome = run_train(tmp_path, "", epochs=1, task={"name": "binary", "positive": "no"})
    assert "macro F1" in outcome.notes[0]
    assert run_evaluate(tmp_path).notes == ["the split test has no samples: there is nothing to measure"]
    metrics = json.loads((tmp_path / REPORT_FOLDER / "metrics.json").read_bytes())
    assert list(metrics["per_class"]) == ["no"]
    assert metrics["undefined"]["macro_f1"] == "the split has no samples"
    assert "A detector of no" in (tmp_path / REPORT_FOLDER / "index.html").read_text()


@pytest.mark.parametrize(
    ("toy", "task", "message"),
    [
        (Toy(), {"name": "binary"}, "train.task is binary, and .* has 4 classes: bell, drum, horn, wind; choose two"),
        (
            Toy(classes=("a", "b")),
            {"name": "binary", "positive": "c"},
            r"train\.task\.positive is c; it must be a or b",
        ),
        (Toy(labels=False), {"name": "multi_label"}, "no labels to learn"),
    ],
)
def test_labels_that_do_not_fit_are_refused(toy: Toy, task: dict[str, Any], message: str, tmp_path: Path) -> None:
    make_shards(tmp_path / SHARDS_FOLDER, toy)
    with pytest.raises(InputError, match=message):
        run_train(tmp_path, task=task)
