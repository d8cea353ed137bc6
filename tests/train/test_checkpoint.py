"""Checkpoints are what was saved, or are refused."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from pipeline.errors import InputError
from pipeline.models.checkpoint import BEST, load_model, write_weights
from pipeline.models.fusions.table import FUSIONS
from pipeline.models.record import RECORD_NAME, Architecture, ModelRecord, write_record
from tests.support.factory_shards import WORDS
from tests.support.model_inputs import CHOICES, make_batch
from tests.support.small_models import PLAN, edit_record, make_architecture, make_model

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("fusion", "modality", "name"),
    [*((fusion, *CHOICES[0]) for fusion in FUSIONS), *(("concat", *choice) for choice in CHOICES[1:])],
)
def test_a_saved_model_is_the_same_model(fusion: str, modality: str, name: str, tmp_path: Path) -> None:
    model, batch = make_model(fusion, {modality: name}), make_batch(4)
    architecture = make_architecture(fusion, {modality: name})
    record = make_record(architecture, {BEST: write_weights(tmp_path / BEST, model.state_dict())})
    write_record(tmp_path, record)
    loaded, read = load_model(tmp_path)
    assert read == record
    assert torch.equal(loaded(batch), model(batch))


def make_record(architecture: Architecture, weights: dict[str, str]) -> ModelRecord:
    return ModelRecord(
        task="classification",
        plan=json.loads(json.dumps(asdict(PLAN))),
        architecture=architecture,
        classes=("a", "b"),
        dataset="0" * 64,
        fields={},
        extract={},
        vocabulary=tuple(WORDS),
        params={},
        best={"epoch": 1},
        made_with={},
        weights=weights,
        initial_weights={},
    )


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    model = make_model()
    write_record(tmp_path, make_record(make_architecture(), {BEST: write_weights(tmp_path / BEST, model.state_dict())}))
    content = bytearray((tmp_path / BEST).read_bytes())
    content[-1] ^= 1
    (tmp_path / BEST).write_bytes(bytes(content))
    with pytest.raises(InputError, match=r"best\.safetensors is damaged"):
        load_model(tmp_path)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model, for reading only."""
    folder, model = tmp_path_factory.mktemp("saved"), make_model()
    write_record(folder, make_record(make_architecture(), {BEST: write_weights(folder / BEST, model.state_dict())}))
    return folder


@given(st.data())
@settings(max_examples=60)
def test_one_flipped_bit_in_a_model_is_found(saved: Path, data: st.DataObject) -> None:
    path = saved / data.draw(st.sampled_from((RECORD_NAME, BEST)))
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[data.draw(st.integers(0, len(content) - 2))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        path.write_bytes(flipped)
        with pytest.raises(InputError):
            load_model(saved)
    finally:
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 1}, "not a model of version 3"),
        ({"extra": 1}, "unknown keys"),
        ({"classes": "ab"}, "the model.classes is 'ab'"),
        ({"architecture": {"inputs": []}}, "the model.architecture: missing keys"),
        ({"weights": {}}, "is damaged"),
    ],
)
def test_an_invalid_record_is_refused(saved: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    folder = Path(shutil.copytree(saved, tmp_path / "model"))
    edit_record(folder, **changes)
    with pytest.raises(InputError, match=message):
        load_model(folder)


@pytest.mark.parametrize("change", [{"width": 16}, {"fusion": "nothing"}, {"encoders": {}}, {"fusion": None}])
def test_weights_of_another_model_are_refused(saved: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    folder = Path(shutil.copytree(saved, tmp_path / "model"))
    edit_record(folder, architecture=json.loads((folder / RECORD_NAME).read_bytes())["architecture"] | change)
    with pytest.raises(InputError, match="do not fit"):
        load_model(folder)
