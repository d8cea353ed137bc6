"""A model sees several fields of a part side by side, and refuses those that do not fit."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.errors import InputError
from pipeline.models.inputs import join_fields, read_inputs, read_values
from pipeline.tables.contracts import MODEL_FOLDER, SHARDS_FOLDER
from shardwright import read_manifest
from tests.evaluate.test_evaluate import run_evaluate
from tests.support.factory_shards import Toy, make_shards
from tests.train.test_train import run_train

pytestmark = pytest.mark.slow


def test_several_fields_are_one_input(tmp_path: Path) -> None:
    root = make_shards(tmp_path / SHARDS_FOLDER, Toy(train=12))
    run_train(tmp_path, "", epochs=1, fields={"audio": ["mfcc", "mfcc"]})
    run_evaluate(tmp_path)
    record = json.loads((tmp_path / MODEL_FOLDER / "model.json").read_bytes())
    audio = record["architecture"]["inputs"][1]
    assert (audio["field"], audio["joined"], audio["shape"]) == ("mfcc", ["mfcc"], [20, 16])
    assert len(audio["mean"]) == len(audio["std"]) == 16
    manifest = read_manifest(root)
    (source,) = read_inputs(root, manifest, ("audio",))
    joined = join_fields(source, ("mfcc", "mfcc"), manifest)
    values = torch.randn(2, 20, 8)
    assert torch.equal(read_values({"mfcc": values}, joined), torch.cat([values, values], 2))
    augmented = torch.zeros(2, 20, 16)
    assert read_values({"mfcc": values, joined.name: augmented}, joined) is augmented
    assert replace(joined, joined=()).name == "mfcc"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sound": ["mfcc"]}, "train.fields has the part `sound`; it must name some of image, audio, text"),
        ({"audio": ["mfcc", "image"]}, "train.fields.audio has `image`; it must name fields of one number of steps"),
        ({"audio": ["mfcc", "mfcc_length"]}, "train.fields.audio has `mfcc_length`"),
    ],
)
def test_fields_that_do_not_fit_are_refused(fields: dict[str, list[str]], message: str, tmp_path: Path) -> None:
    make_shards(tmp_path / SHARDS_FOLDER, Toy(train=12))
    with pytest.raises(InputError, match=message):
        run_train(tmp_path, fields=fields)
