"""Texts are generated from what is there of a sample, learned alike in any batches, and scored beside their floors."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from pipeline.errors import InputError, ParamsError
from pipeline.models.batches import ReadOrder, read_batches
from pipeline.models.checkpoint import encode_weights, load_model
from pipeline.models.encoders.encoded_part import EncodedPart
from pipeline.models.fusions.table import FUSIONS
from pipeline.models.model import Model
from pipeline.models.text_decoder import DatasetDecoder
from pipeline.tables.contracts import MODEL_FOLDER, REPORT_FOLDER, SHARDS_FOLDER
from pipeline.tables.table_files import read_table
from pipeline.tasks.generation.decoder import TextHead
from pipeline.tasks.generation.plan import GenerationPlan
from pipeline.tasks.generation.report import COLUMNS, score_texts
from pipeline.tasks.generation.targets import read_texts
from pipeline.tasks.generation.task import GENERATION
from pipeline.tasks.metrics.texts import compute_bleu, score_counts
from pipeline.tasks.task import ForwardPass, Predictions
from pipeline.train.saved_states import SavedStates
from shardwright import ShardDataset, read_manifest, write_manifest
from tests.evaluate.test_evaluate import run_evaluate
from tests.support.factory_shards import Toy, make_shards
from tests.support.model_inputs import INPUTS, make_batch
from tests.support.small_captions import PHRASES, make_captioned
from tests.support.small_models import make_architecture
from tests.train.test_resume import run, run_steps
from tests.train.test_team import SETTINGS, load_weights, run_stage
from tests.train.test_train import ROOT, run_train

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("deterministic")]

PARTS = ("image", "audio", "video")
TASK = {"name": "generation", "width": 16, "layers": 1}


def make_plan(**changes: Any) -> GenerationPlan:
    plan = GenerationPlan(
        parts=PARTS, target=INPUTS["text"], layers=2, heads=2, width=8, smoothing=0.1, beam=3, longest=6,
        length_penalty=0.6, silent=(0, 1), mean_tokens=4.0, constant=(2, 3), class_texts=(), classes=(), texts=1,
    )  # fmt: skip
    return replace(plan, **changes)


def make_model(plan: GenerationPlan, fusion: str = "mean") -> Model:
    torch.manual_seed(0)
    architecture = make_architecture(fusion)
    inputs = tuple(source for source in architecture.inputs if source.part in plan.parts)
    return Model(replace(architecture, inputs=inputs), GENERATION, plan)


def make_texts(size: int) -> dict[str, Tensor]:
    """A batch with up to three texts a sample, which are the target."""
    rng = torch.Generator().manual_seed(7)
    tokens, count = torch.randint(2, 12, (size, 3, 6), generator=rng), torch.arange(size) % 4
    return {
        **make_batch(size),
        "tokens": tokens.to(torch.uint16),
        "tokens_length": torch.randint(1, 7, (size, 3), generator=rng),
        "tokens_count": count,
    }


SEVERAL = replace(INPUTS["text"], count="tokens_count", present=None)


def compute(model: Model, batch: dict[str, Tensor], training: bool) -> Tensor:
    present = model.find_present(batch)
    return GENERATION.compute_loss(ForwardPass(model, model(batch, present), batch, present), training)


def generate(model: Model, encoded: Sequence[EncodedPart], present: Tensor) -> Tensor:
    assert isinstance(model.head, TextHead)
    return model.head.generate(model.fuse(encoded, present))


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_parameter_gets_a_gradient(fusion: str) -> None:
    model = make_model(make_plan(), fusion)
    compute(model, make_batch(32), True).backward()  # type: ignore[no-untyped-call]
    assert not [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("hidden", PARTS)
def test_a_part_that_is_not_there_changes_no_bit(hidden: str) -> None:
    model, batch = make_model(make_plan()).eval(), make_batch(8)
    present = model.find_present(batch)
    present[:, PARTS.index(hidden)] = False
    encoded = model.encode(batch)
    nothing = [
        EncodedPart(each.pooled * float("nan"), each.tokens * float("nan"), each.valid) if part == hidden else each
        for part, each in zip(PARTS, encoded, strict=True)
    ]
    assert torch.equal(model.predict(encoded, present, batch), model.predict(nothing, present, batch))
    assert torch.equal(generate(model, encoded, present), generate(model, nothing, present))
    assert model.predict(encoded, torch.zeros_like(present), batch).isfinite().all()


def test_a_token_depends_on_those_before_it_alone() -> None:
    model, batch = make_model(make_plan(target=SEVERAL, texts=3)).eval(), make_texts(8)
    outputs = model(batch)
    assert outputs.shape == (8, 3, 6, make_plan().tokens)
    changed = batch["tokens"].int()
    changed[:, :, 3:] = 5
    other = model(batch | {"tokens": changed.to(torch.uint16)})
    torch.testing.assert_close(outputs[:, :, :4], other[:, :, :4])
    assert not torch.equal(outputs[:, :, 4:], other[:, :, 4:])
    there = torch.arange(3) < batch["tokens_count"][:, None]
    padding = (torch.arange(6) >= batch["tokens_length"].unsqueeze(2)) | ~there.unsqueeze(2)
    spoiled = batch["tokens"].int().masked_fill(padding, 60_000).to(torch.uint16)
    assert torch.equal(outputs, model(batch | {"tokens": spoiled}))


def test_texts_end_with_one_token_that_counts() -> None:
    plan = make_plan(target=SEVERAL, texts=3)
    batch = make_texts(8)
    tokens, counted = read_texts(plan, batch)
    for row in range(8):
        for text in range(3):
            length = int(batch["tokens_length"][row, text]) if text < batch["tokens_count"][row] else None
            expected = [] if length is None else [*batch["tokens"][row, text, :length].tolist(), plan.end][:6]
            assert tokens[row, text][counted[row, text]].tolist() == expected
            assert (tokens[row, text, len(expected) :] == plan.end).all()


def test_marks_of_a_tokenizer_are_left_out() -> None:
    plan = make_plan(target=replace(INPUTS["text"], marks=(0, 2, 3), present=None))
    batch = {
        "tokens": torch.tensor([[2, 5, 6, 3, 0, 0], [2, 5, 6, 7, 8, 3], [2, 3, 0, 0, 0, 0]]),
        "tokens_length": torch.tensor([4, 6, 2]),
    }
    tokens, counted = read_texts(plan, batch)
    found = [own[there].tolist() for own, there in zip(tokens[:, 0], counted[:, 0], strict=True)]
    assert found == [[5, 6, plan.end], [5, 6, 7, 8, plan.end], []]


def test_the_loss_of_a_batch_is_that_of_its_parts() -> None:
    """So that accumulating, and several processes, learn what one large batch does."""
    model, batch = make_model(make_plan(target=SEVERAL, texts=3)).eval(), make_texts(9)
    parts = [{name: values[rows] for name, values in batch.items()} for rows in (slice(0, 4), slice(4, 9))]
    whole = compute(model, batch, True)
    torch.testing.assert_close(whole, (4 * compute(model, parts[0], True) + 5 * compute(model, parts[1], True)) / 9)
    torch.testing.assert_close(compute(model, batch, False), sum(compute(model, part, False) for part in parts))


def test_silent_tokens_are_neither_learned_nor_generated() -> None:
    plan = make_plan(silent=(0, 1, 2, 3))
    model, batch = make_model(plan).eval(), make_batch(16)
    meter = GENERATION.make_meter(plan)
    present = model.find_present(batch)
    meter.add(ForwardPass(model, model(batch, present), batch, present))
    assert meter.compute()["token_accuracy"] < 1
    found = GENERATION.compute_columns(ForwardPass(model, model(batch, present), batch, present))
    assert found["generated"].shape == (16, 6)
    assert not np.isin(found["generated"], [0, 1, 2, 3, plan.begin, plan.end]).any()
    silent = batch | {"tokens": batch["tokens"] % 4, "tokens_length": torch.full((16,), 6)}
    assert compute(model, silent, True) == 0


def test_it_is_saved_compiled_and_rounded() -> None:
    model, batch = make_model(make_plan()).eval(), make_batch(6)
    outputs = model(batch)
    other = make_model(make_plan(), "mean").eval()
    other.load_state_dict(safetensors.torch.load(encode_weights(model.state_dict())))
    assert torch.equal(other(batch), outputs)
    with torch.no_grad():
        features = model.fuse(model.encode(batch), model.find_present(batch))
    torch._dynamo.reset()
    compiled = torch.compile(model.head, backend="eager", fullgraph=True)
    assert torch.equal(compiled(features, batch), outputs)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(model(batch).float(), outputs, rtol=0.1, atol=0.1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generation")
    make_captioned(folder / SHARDS_FOLDER, Toy(train=48, val=8, test=19, missing=("audio", "text")))
    outcome = run_train(folder, "", epochs=30, learning_rate=0.02, width=16, task=TASK, augment=False)
    assert "token accuracy" in outcome.notes[0]
    assert outcome.notes[1] == "generates text from image, audio, 3.0 tokens a sample"
    notes = run_evaluate(folder).notes
    assert notes[0].startswith("test: BLEU ")
    assert "one text for all" in notes[0]
    assert notes[1].startswith("chrF ")
    return folder


def read_metrics(folder: Path) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads((folder / REPORT_FOLDER / "metrics.json").read_bytes())
    return metrics


def test_it_learns_more_than_one_text_for_all(trained: Path) -> None:
    metrics = read_metrics(trained)
    assert metrics["bleu"] > metrics["constant_bleu"]
    assert metrics["chrf"] > max(metrics["constant_chrf"], metrics["shuffled_chrf"])
    assert metrics["class_bleu"] == pytest.approx(100)
    assert metrics["class_exact_match"] == metrics["class_token_accuracy"] == 1
    assert metrics["bleu_low"] <= metrics["bleu"] <= metrics["bleu_high"]
    assert (metrics["samples"], metrics["measured"]) == (19, 12)
    assert list(metrics["subsets"]) == ["image", "audio", "image + audio"]
    assert metrics["subsets"]["image + audio"]["token_accuracy"] == metrics["token_accuracy"] > 0.6
    assert metrics["perplexity"] == pytest.approx(1 / metrics["token_probability"])
    jsonschema.validate(metrics, json.loads((ROOT / "schemas/metrics_generation.schema.json").read_bytes()))


def test_the_files_agree(trained: Path) -> None:
    rows = read_table(trained / REPORT_FOLDER / "predictions", COLUMNS)
    assert len(rows) == 19
    metrics = read_metrics(trained)
    said = [row for row in rows if row["reference"]]
    assert len(said) == metrics["measured"]
    assert np.mean([row["generated"] == row["reference"] for row in said]) == metrics["exact_match"]
    assert {row["reference"] for row in said} == {" ".join(f"word{t - 2}" for t in phrase) for phrase in PHRASES}
    assert [row["chrf"] is None for row in rows] == [row["reference"] == "" for row in rows]
    page = (trained / REPORT_FOLDER / "index.html").read_text()
    assert "A generator of text from image (cnn), audio (cnn); fusion: weighted" in page
    assert "<h2>Examples</h2>" in page
    assert page.count("class='card'") == 8


def test_a_split_without_texts_has_null_scores(tmp_path: Path) -> None:
    make_captioned(tmp_path / SHARDS_FOLDER, Toy(train=12, val=0, test=1, labels=True, missing=("text",)))
    run_train(tmp_path, "", epochs=1, task=TASK)
    said = "the split test has nothing to generate: no sample of the split has the part"
    assert run_evaluate(tmp_path).notes[0] == said
    metrics = read_metrics(tmp_path)
    assert (metrics["bleu"], metrics["measured"]) == (None, 0)
    assert metrics["undefined"]["constant_chrf"]
    jsonschema.validate(metrics, json.loads((ROOT / "schemas/metrics_generation.schema.json").read_bytes()))


def test_no_sample_gets_its_own_text_as_another_ones() -> None:
    truth = 10 + np.arange(30, dtype=np.int32).reshape(5, 1, 6)
    columns: dict[str, Any] = {"truth": truth, "generated": truth[:, 0]}
    predictions = Predictions(np.array([b"a"] * 5), {}, columns, lambda ids: " ".join(map(str, ids)))
    texts = score_texts(predictions, make_plan())
    assert sorted(texts["shuffled"].texts) == sorted(texts["model"].texts)
    assert not any(map(str.__eq__, texts["shuffled"].texts, texts["model"].texts))
    assert texts["model"].compute_scores() == {
        "bleu": pytest.approx(100), "chrf": pytest.approx(100), "exact_match": 1, "token_accuracy": 1
    }  # fmt: skip


@pytest.mark.parametrize("fusion", ["attention", "cross_attention"])
def test_the_same_bits_after_a_stop(fusion: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SavedStates, "is_due", lambda states: True)
    make_captioned(tmp_path / SHARDS_FOLDER, Toy(train=20, val=4, missing=("audio", "text")))
    changes = {"task": TASK, "epochs": 2, "accumulate": 2, "precision": "bfloat16", "fusion": fusion, "ema": 0.9}
    expected = run(tmp_path, tmp_path / "whole", **changes)
    run_steps(3, tmp_path, tmp_path / "stopped", monkeypatch, **changes)
    assert run(tmp_path, tmp_path / "stopped", **changes) == expected


@pytest.mark.parametrize("way", ["accumulate", pytest.param("processes", marks=pytest.mark.sweep)])
def test_halves_of_a_batch_learn_what_it_does(way: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    make_captioned(data / SHARDS_FOLDER, Toy(train=45, val=0, test=0, missing=("audio", "text")))
    changes = SETTINGS | {"optimizer": "sgd", "learning_rate": 0.01, "task": TASK, "epochs": 2}
    run_train(data, "one", **changes)
    if way == "processes":
        done = run_stage(data, tmp_path / "two", **changes | {"processes": 2})
        assert done.returncode == 0, done.stderr
        halves = load_weights(tmp_path / "two/data")
    else:
        run_train(data, "halves", **changes | {"batch_size": 4, "accumulate": 2})
        halves = load_weights(data / "halves")
    one = load_weights(data / "one")
    assert max(float((one[name] - halves[name]).abs().max()) for name in one) < 2e-6


@pytest.mark.parametrize(
    ("toy", "task", "message"),
    [
        (Toy(modalities=("image", "audio")), {}, r"the model has no text part to generate: add one to align"),
        (Toy(modalities=("text",)), {}, "makes text from the other parts of a sample, and there is none"),
        (Toy(), {"target": "caption"}, r"train\.task\.target is caption; it must be a text part: text"),
        (Toy(), {"longest": 7}, r"train\.task\.longest is 7; it must be at most 6"),
    ],
)
def test_what_cannot_be_generated_is_refused(toy: Toy, task: dict[str, Any], message: str, tmp_path: Path) -> None:
    make_shards(tmp_path / SHARDS_FOLDER, toy)
    with pytest.raises(InputError, match=message):
        run_train(tmp_path, modalities=None, task={"name": "generation", **task})


def test_options_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"heads.* it must divide width \(64\)"):
        run_train(tmp_path, task={"name": "generation", "heads": 5})


def test_a_tokenizer_that_is_not_here_is_named(tmp_path: Path) -> None:
    make_shards(tmp_path, Toy(train=4, val=0, test=0))
    manifest = read_manifest(tmp_path)
    assert DatasetDecoder(tmp_path)([2, 3]) == "word0 word1"
    made = {**(manifest.extract or {}), "params": {"text": {"tokenizer": "plugins/gone.py:Gone"}}}
    write_manifest(tmp_path, replace(manifest, extract=made))
    with pytest.raises(InputError, match=r"extract\.text\.tokenizer of .* is plugins/gone\.py:Gone, which cannot turn"):
        DatasetDecoder(tmp_path).load()
    write_manifest(tmp_path, replace(manifest, vocabulary=None))
    with pytest.raises(InputError, match="has no vocabulary to turn token ids into texts"):
        DatasetDecoder(tmp_path).load()


def test_a_loaded_model_generates_the_same_texts(trained: Path) -> None:
    data = ShardDataset(trained / SHARDS_FOLDER, "test")
    (batch,) = read_batches("shardwright", data, ReadOrder(19))
    texts = []
    for _ in range(2):
        model, _ = load_model(trained / MODEL_FOLDER)
        with torch.inference_mode():
            texts.append(generate(model, model.encode(batch), model.find_present(batch)))
    assert torch.equal(*texts)


def test_many_sums_of_counts_have_the_bleu_of_sacrebleu() -> None:
    rng = np.random.default_rng(0)
    totals = np.sort(rng.integers(0, 9, (200, 4)), axis=1)[:, ::-1]
    hits = np.minimum(totals, rng.integers(0, 9, (200, 4)))
    counts = np.concatenate([hits, totals, totals[:, :1], rng.integers(1, 9, (200, 1))], axis=1)
    np.testing.assert_allclose(score_counts(counts), [compute_bleu(each) for each in counts], rtol=1e-9)
