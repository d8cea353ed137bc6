"""Retrieval ranks as comparing all pairs does, counts ties against the model, and learns without labels."""

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import jsonschema
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.models.checkpoint import load_model
from pipeline.models.model import Model
from pipeline.tables.contracts import MODEL_FOLDER, REPORT_FOLDER, SHARDS_FOLDER
from pipeline.tables.table_files import read_table
from pipeline.tasks.metrics.ranks import TIE, count_same_class, rank_candidates, score_chance, score_ranks
from pipeline.tasks.retrieval import RETRIEVAL, RetrievalPlan, compare_by_sigmoid, compare_by_softmax
from pipeline.tasks.retrieval_report import measure
from pipeline.tasks.task import ForwardPass, Predictions
from pipeline.train.augment import prepare_batch
from tests.evaluate.test_evaluate import run_evaluate
from tests.support.factory_shards import Toy, make_shards
from tests.support.model_inputs import MODALITIES, make_batch
from tests.support.small_models import make_architecture
from tests.train.test_train import ROOT, make_params, run_train

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("deterministic")]


def make_vectors(count: int, width: int, seed: int) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).normal(size=(count, width))
    unit: NDArray[np.float32] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


@given(st.integers(1, 40), st.integers(1, 3), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_ranks_are_those_of_comparing_all_pairs(count: int, width: int, seed: int) -> None:
    queries, candidates = make_vectors(count, width, seed), make_vectors(count, width, seed + 1)
    candidates[count // 2 :] = candidates[: count - count // 2]  # repeated ones tie
    similar = queries.astype(np.float64) @ candidates.astype(np.float64).T
    by_hand = [1 + sum(row[j] >= row[i] - TIE for j in range(count) if j != i) for i, row in enumerate(similar)]
    for cells in (1, 3 * count, 1 << 20):
        ranking = rank_candidates(queries, candidates, cells)
        assert ranking.ranks.tolist() == by_hand
        others = np.where(np.eye(count, dtype=bool), -np.inf, similar)
        found = others[np.arange(count), ranking.nearest] if count > 1 else np.array([])
        np.testing.assert_allclose(found, others.max(1)[: len(found)], atol=1e-6)


def test_a_model_that_gives_all_the_same_vector_finds_nothing() -> None:
    same = np.repeat(make_vectors(1, 4, 0), 12, axis=0)
    ranking = rank_candidates(same, same)
    assert score_ranks(ranking.ranks)["recall_at_10"] == 0
    assert set(ranking.ranks) == {12}


@pytest.mark.parametrize("count", [1, 4, 7, 30])
def test_chance_is_what_random_orders_give(count: int) -> None:
    rng = np.random.default_rng(0)
    drawn = [score_ranks(rng.permutation(count) + 1) for _ in range(30)]  # each query once at each rank
    for name, value in score_chance(count).items():
        assert np.mean([each[name] for each in drawn]) == pytest.approx(value)


def test_the_class_of_what_comes_first_counts() -> None:
    queries = np.eye(3, dtype=np.float32)
    candidates = np.array([[1, 0, 0], [0.9, 0.1, 0.42], [0, 0, 1]], np.float32)
    ranking = rank_candidates(queries, candidates)
    assert ranking.ranks.tolist() == [1, 1, 1]
    assert count_same_class(ranking, np.array([0, 1, 2])) == 3
    ranking = rank_candidates(queries[[0, 0, 2]], candidates)
    assert ranking.ranks.tolist() == [1, 2, 1]
    assert count_same_class(ranking, np.array([0, 1, 2])) == 2
    assert count_same_class(ranking, np.array([1, 1, 2])) == 3


def test_memory_does_not_grow_with_the_pairs() -> None:
    queries = make_vectors(2000, 8, 0)
    rank_candidates(queries[:10], queries[:10])
    tracemalloc.start()
    rank_candidates(queries, queries, cells=1 << 17)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6 < 4 * len(queries) ** 2 / 3


def test_the_losses_are_those_of_their_formulas() -> None:
    logits = torch.randn(5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows, columns = logits.log_softmax(1).diagonal(), logits.log_softmax(0).diagonal()
    torch.testing.assert_close(compare_by_softmax(logits), -(rows.mean() + columns.mean()) / 2)
    by_hand = sum(np.log1p(np.exp(-float(logits[i, j]) * (1 if i == j else -1))) for i in range(5) for j in range(5))
    assert float(compare_by_sigmoid(logits)) == pytest.approx(by_hand / 5)


@pytest.mark.parametrize("loss", ["infonce", "siglip"])
def test_every_parameter_gets_a_gradient_and_absent_parts_get_none(loss: str) -> None:
    torch.manual_seed(0)
    plan = RetrievalPlan(MODALITIES, loss, 0.07, -3.5, 8)
    model = Model(replace(make_architecture(), fusion=None), RETRIEVAL, plan)
    batch = make_batch(16)
    present = model.find_present(batch)
    outputs = model(batch, present)
    assert torch.equal(outputs.any(2), present)
    torch.testing.assert_close(outputs.norm(dim=2), present.float())
    RETRIEVAL.compute_loss(ForwardPass(model, outputs, batch, present), True).backward()  # type: ignore[no-untyped-call]
    assert not [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    alone = torch.zeros_like(present)
    alone[:, 0] = True
    nothing = RETRIEVAL.compute_loss(ForwardPass(model, model(batch, alone), batch, alone), True)
    assert nothing.item() == 0
    assert nothing.requires_grad


def test_no_part_is_hidden_in_training() -> None:
    plan = RetrievalPlan(MODALITIES, "infonce", 0.07, -3.5, 8)
    model = Model(replace(make_architecture(), fusion=None), RETRIEVAL, plan)
    batch = make_batch(16)
    keyed = {**batch, "key": [f"sample-{number}" for number in range(16)]}
    _, present = prepare_batch(keyed, model, make_params(modality_dropout=0.9), epoch=1)
    assert torch.equal(present, model.find_present(batch))


@pytest.fixture(scope="module", params=[False, True], ids=["unlabelled", "labelled"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("retrieval")
    make_shards(folder / SHARDS_FOLDER, Toy(train=96, val=0, test=40, labels=request.param, missing=("audio",)))
    task = {"name": "retrieval", "width": 12} if request.param else "auto"
    outcome = run_train(folder, "", epochs=12, learning_rate=0.01, width=16, augment=False, task=task)
    said = "no labels, so train.task: auto is retrieval: a retrieval between image, audio, text by vectors of 64"
    assert outcome.notes[0].startswith(said) is not request.param
    evaluated = run_evaluate(folder)
    assert evaluated.notes[0].startswith("test: recall@1 0.")
    assert "means over 6 directions" in evaluated.notes[0]
    return folder


def read_metrics(folder: Path) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads((folder / REPORT_FOLDER / "metrics.json").read_bytes())
    return metrics


def test_it_learns_more_than_chance(trained: Path) -> None:
    metrics = read_metrics(trained)
    assert metrics["mrr"] > 1.5 * metrics["chance_mrr"]
    assert metrics["median_rank"] < metrics["chance_median_rank"]
    assert metrics["recall_at_1_low"] <= metrics["recall_at_1"] <= metrics["recall_at_1_high"]
    assert list(metrics["directions"]) == [
        "image to audio", "image to text", "audio to image", "audio to text", "text to image", "text to audio"
    ]  # fmt: skip
    assert metrics["directions"]["image to text"]["samples"] == 40
    assert metrics["directions"]["image to audio"]["samples"] == 26
    if load_model(trained / MODEL_FOLDER)[1].classes:
        assert metrics["class_recall_at_1"] > 1.5 * metrics["chance_class_recall_at_1"]
        assert metrics["chance_class_recall_at_1"] == pytest.approx(0.25, abs=0.02)


def test_the_files_agree(trained: Path) -> None:
    report, metrics = trained / REPORT_FOLDER, read_metrics(trained)
    schema = json.loads((ROOT / "schemas/metrics_retrieval.schema.json").read_bytes())
    jsonschema.validate(metrics, schema)
    columns: Any = {f"rank_{name.replace(' ', '_')}": "int64?" for name in metrics["directions"]}
    rows = read_table(report / "predictions", {"key": "string", **columns})
    ranks = [row["rank_image_to_audio"] for row in rows if row["rank_image_to_audio"] is not None]
    found = metrics["directions"]["image to audio"]
    assert len(ranks) == found["samples"]
    assert np.mean(np.array(ranks) == 1) == found["recall_at_1"]
    vectors = np.load(report / "vectors.npy")
    width = 12 if load_model(trained / MODEL_FOLDER)[1].classes else 64
    assert vectors.shape == (40, 3, width)
    assert rank_candidates(vectors[:, 0], vectors[:, 2]).ranks.tolist() == [row["rank_image_to_text"] for row in rows]
    page = (report / "index.html").read_text()
    assert "first came" in page
    assert "fusion:" not in page


def test_a_split_without_samples_has_null_scores(tmp_path: Path) -> None:
    make_shards(tmp_path / SHARDS_FOLDER, Toy(train=12, val=4, test=0, labels=False))
    run_train(tmp_path, "", epochs=1)
    notes = ["the split test has nothing to find: no sample of the split has two of the parts"]
    assert run_evaluate(tmp_path).notes == notes
    metrics = read_metrics(tmp_path)
    assert metrics["recall_at_1"] is None
    assert metrics["undefined"]["chance_mrr"]


@pytest.mark.parametrize(
    ("toy", "task", "message"),
    [
        (Toy(modalities=("text",)), {}, "compares parts of a sample, and there is only text: add a part"),
        (
            Toy(),
            {"parts": ["image", "sound"]},
            r"train\.task\.parts has `sound`; it must name some of image, audio",
        ),
        (Toy(), {"parts": ["image"]}, "there is only image"),
    ],
)
def test_what_cannot_be_compared_is_refused(toy: Toy, task: dict[str, Any], message: str, tmp_path: Path) -> None:
    make_shards(tmp_path / SHARDS_FOLDER, toy)
    with pytest.raises(InputError, match=message):
        run_train(tmp_path, modalities=None, task={"name": "retrieval", **task})


def test_only_the_parts_that_are_named_are_compared(tmp_path: Path) -> None:
    make_shards(tmp_path / SHARDS_FOLDER, Toy(train=12))
    run_train(tmp_path, "", epochs=1, task={"name": "retrieval", "parts": ["text", "image"]})
    run_evaluate(tmp_path)
    assert list(read_metrics(tmp_path)["directions"]) == ["image to text", "text to image"]


def test_one_sample_is_found_by_itself() -> None:
    vectors = np.ones((1, 2, 1), np.float32)
    columns: dict[str, NDArray[Any]] = {"vectors": vectors, "label": np.zeros(1, np.uint8)}
    plan = RetrievalPlan(("a", "b"), "infonce", 1, 0, 1, ("x",))
    metrics = measure(Predictions(np.array([b"a"]), {}, columns), plan, "val")
    assert metrics["recall_at_1"] == metrics["chance_recall_at_1"] == metrics["class_recall_at_1"] == 1
