"""The JSON files of the stages match their schemas in `schemas/`, and the schemas are strict."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pipeline.evaluate.params import EvaluateParams
from pipeline.evaluate.step import evaluate
from pipeline.runtime.run_stage import Workspace
from pipeline.tables.contracts import EXTRACT_FOLDER, MODEL_FOLDER, REPORT_FOLDER, SHARDS_FOLDER
from pipeline.train.step import train
from tests.support.factory_extract import ROOT, Thing, extract_things, make_things
from tests.support.factory_extract import make_params as make_extract_params
from tests.train.test_train import RUN, make_params

pytestmark = pytest.mark.slow

FILES = {
    "dataset": f"{SHARDS_FOLDER}/dataset.json",
    "vocabulary": f"{SHARDS_FOLDER}/vocabulary.json",
    "extract_record": f"{EXTRACT_FOLDER}/extract_record.json",
    "model": f"{MODEL_FOLDER}/model.json",
    "metrics": f"{REPORT_FOLDER}/metrics.json",
}


OPTIONAL: dict[str, set[str]] = {
    "dataset": {"classes", "vocabulary", "statistics", "extract", "sources", "sources_hash"},
    "metrics": {"leaks", "calibration", "calibration_error", "curves", "roc_auc", "average_precision"},
}
"""Keys that a file may lack: curves, for one, where there are many classes."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the stages from extract on with a few samples, one of which has no audio."""
    folder = tmp_path_factory.mktemp("made")
    extract_things(folder, [*make_things(12), Thing("silent", modalities=("image", "text"))])
    workspace = Workspace(folder / "data", folder / "data", folder / "cache", RUN)
    train(make_params(epochs=1), workspace)
    evaluate(EvaluateParams(split="test", batch_size=8, worst=2), workspace)
    return folder / "data"


def read(data: Path, name: str) -> Any:
    return json.loads((data / FILES[name]).read_bytes())


def build_validator(name: str) -> jsonschema.Draft202012Validator:
    schema: Mapping[str, Any] = json.loads((ROOT / "schemas" / f"{name}.schema.json").read_text())
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", FILES)
def test_files_match_their_schemas(data: Path, name: str) -> None:
    build_validator(name).validate(read(data, name))


@pytest.mark.parametrize("name", FILES)
def test_an_extra_or_missing_key_is_invalid(data: Path, name: str) -> None:
    validator, document = build_validator(name), read(data, name)
    assert not validator.is_valid(document | {"unknown": 1})
    for key in document.keys() - OPTIONAL.get(name, set()):
        assert not validator.is_valid({k: v for k, v in document.items() if k != key}), key


def test_a_dataset_with_jpeg_members_matches_its_schema(tmp_path: Path) -> None:
    root = extract_things(tmp_path, make_things(4, modalities=("image",)), make_extract_params(image__store="jpeg"))
    document = json.loads((root / "dataset.json").read_bytes())
    assert document["version"] == 3
    assert "jpeg" in {field.get("encoding") for field in document["fields"]}
    build_validator("dataset").validate(document)
    assert not build_validator("dataset").is_valid(document | {"version": 4})


def test_wrong_values_are_invalid(data: Path) -> None:
    manifest, metrics = read(data, "dataset"), read(data, "metrics")
    shard = manifest["splits"]["train"]["shards"][0]
    assert build_validator("dataset").is_valid(manifest)
    for part, value in (("bytes", "many"), ("sha256", None)):
        kept = shard[part]
        shard[part] = value
        assert not build_validator("dataset").is_valid(manifest)
        shard[part] = kept
    assert not build_validator("metrics").is_valid(metrics | {"accuracy": 1.5})
    assert build_validator("metrics").is_valid(metrics | {"accuracy": None})
