"""Masked words: the same for a text wherever it is, learned from the words around them, by an encoder that others start
from."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import jsonschema
import numpy as np
import pytest
import torch

from pipeline.errors import InputError
from pipeline.models.history import HISTORY_NAME
from pipeline.models.model import Model
from pipeline.models.record import Architecture
from pipeline.tables.contracts import MODEL_FOLDER, REPORT_FOLDER, SHARDS_FOLDER
from pipeline.tasks.masked_words import MASKED_WORDS, UNMASKED, MaskedWordsHead, MaskedWordsPlan, find_masked
from tests.evaluate.test_evaluate import run_evaluate
from tests.support.factory_shards import Arrays, Toy, make_shards
from tests.support.model_inputs import INPUTS, SMALL
from tests.support.running import ROOT
from tests.train.test_train import run_train

pytestmark = pytest.mark.usefixtures("one_thread")

LONG = replace(INPUTS["text"], shape=(400,), present=None, words=50)
PLAN = MaskedWordsPlan(("text",), LONG, 0.15, 1, (0, 1), 300.0, 2, 0.1)
TASK = {"name": "masked_words", "share": 0.3}


def make_texts(size: int = 50) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, 50, (size, 400), dtype=torch.int32, generator=rng)
    return {"tokens": tokens, "tokens_length": torch.full((size,), 300, dtype=torch.int32)}


def test_the_share_of_known_words_is_masked_and_depends_on_the_text_alone() -> None:
    batch = make_texts()
    targets = find_masked(PLAN, batch)
    masked = targets != UNMASKED
    learned = (batch["tokens"] > 1) & (torch.arange(400) < 300)
    assert not (masked & ~learned).any()
    assert masked.sum() / learned.sum() == pytest.approx(0.15, abs=0.01)
    assert masked.float().mean(0)[:300].max() < 0.5, "no step is masked in all texts"
    assert torch.equal(targets[masked], batch["tokens"][masked].long())
    alone = find_masked(PLAN, {name: values[7:8] for name, values in batch.items()})
    assert torch.equal(alone[0], targets[7])
    padding = batch["tokens"].clone()
    padding[:, 300:] = 9
    assert torch.equal(find_masked(PLAN, {**batch, "tokens": padding}), targets)
    other = batch["tokens"].clone()
    other[:, 0] = 3
    assert not torch.equal(find_masked(PLAN, {**batch, "tokens": other})[:, 1:], targets[:, 1:])


@pytest.mark.parametrize("name", ["gru", "lstm", "transformer", "mean", "cnn"])
def test_the_encoder_does_not_see_what_it_predicts(name: str) -> None:
    torch.manual_seed(0)
    architecture = Architecture((LONG,), {"text": name}, 8, None, 0.0, {"text": SMALL.get(name, {})})
    model = Model(architecture, MASKED_WORDS, PLAN).eval()
    batch = make_texts(4)
    masked = find_masked(PLAN, batch) != UNMASKED
    head = cast("MaskedWordsHead", model.head)
    seen = head.hide(batch)["tokens"]
    assert (seen[masked] == 1).all()
    assert torch.equal(seen[~masked], batch["tokens"][~masked])
    outputs = model(batch)
    assert outputs.shape == (4, 400, 50)
    encoded = model.encoders[0](seen, batch["tokens_length"])
    torch.testing.assert_close(outputs, head.words(encoded.tokens))


def spell(key: str, arrays: Arrays) -> Arrays:
    """Make each text an ascending run of words, any of which follows from the others."""
    first = int(key.split("-")[1]) % 5
    return {**arrays, "tokens": np.arange(2 + first, 8 + first, dtype=np.int32), "tokens_length": 6}


@pytest.mark.slow
def test_words_are_learned_and_the_encoder_is_a_start_for_others(tmp_path: Path) -> None:
    make_shards(tmp_path / SHARDS_FOLDER, Toy(train=48, val=16, test=16, modalities=("text",)), spoil=spell)
    train: dict[str, Any] = {"modalities": ["text"], "augment": False, "dropout": 0, "patience": 99}
    run_train(tmp_path, "", epochs=25, task=TASK, **train)
    rows = (tmp_path / MODEL_FOLDER / HISTORY_NAME).read_text().splitlines()
    losses = [float(row.split("\t")[1]) for row in rows[1:]]
    assert losses[-1] < losses[0] / 4
    run_evaluate(tmp_path)
    metrics = json.loads((tmp_path / REPORT_FOLDER / "metrics.json").read_bytes())
    jsonschema.validate(metrics, json.loads((ROOT / "schemas/metrics_masked_words.schema.json").read_bytes()))
    assert metrics["accuracy"] > metrics["floor_accuracy"] + 0.3
    assert metrics["probability"] > 2 * metrics["floor_probability"]
    assert metrics["accuracy_low"] <= metrics["accuracy"] <= metrics["accuracy_high"]
    folder = Path(shutil.copytree(tmp_path / MODEL_FOLDER, tmp_path / "weights"))
    encoder = {"init_from": str(folder / "best.safetensors"), "freeze": True}
    run_train(tmp_path, "later", epochs=1, task="classification", encoders={"text": encoder}, **train)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"task": {**TASK, "part": "caption"}},
            r"train\.task\.part is caption; it must name one of the text parts: text",
        ),
        ({"task": TASK, "modalities": ["image"]}, r"train\.task\.part is null; it must name|part is None"),
        ({"task": TASK, "encoders": {"text": "flat"}}, "gives no vector for each token: take gru"),
    ],
)
def test_what_has_no_words_to_mask_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    make_shards(tmp_path / SHARDS_FOLDER, Toy(train=8))
    with pytest.raises(InputError, match=message):
        run_train(tmp_path, epochs=1, **changes)
