"""Shards hold the vectors of frozen encoders: the same bytes however they are computed, cached, and learned from."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from tokenizers import models

from pipeline.errors import InputError, ParamsError
from pipeline.extract.params import ExtractParams
from pipeline.modalities.text.tokenizer_document import list_tokens
from pipeline.models.encoders.build import build_encoder
from pipeline.models.encoders.encoded_part import EncodedPart
from pipeline.models.inputs import PartInput
from pipeline.models.pretrained_folder import load_folder, read_config
from pipeline.tables.contracts import MODEL_FOLDER, SHARDS_FOLDER
from shardwright import read_manifest
from shardwright.format.canonical_json import decode_json
from tests.extract.test_incremental import list_outputs, read_counts
from tests.modalities.test_tokenizer_files import WORDS as WORDS_OF_BERT
from tests.modalities.test_tokenizer_files import make_tokenizer
from tests.support.factory_extract import (
    Thing,
    extract_things,
    make_params,
    make_things,
    read_all,
    run_extract,
    write_corpus,
)
from tests.support.model_inputs import SMALL
from tests.train.test_train import run_train

pytestmark = pytest.mark.slow

IMAGE = PartInput("image", "image", "image", (12, 16, 3), mean=(90.0,) * 3, std=(70.0,) * 3)
AUDIO = PartInput("audio", "audio", "mfcc", (32, 8), "mfcc_length", mean=(-3.0,) * 8, std=(9.0,) * 8)
SIZES: dict[str, dict[str, Any]] = {"resnet18": SMALL["resnet18"], "gru": {"hidden": 6}}
WORDS = [*WORDS_OF_BERT, "red", "green", "loud", "quiet", "bird", "machine"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the weights of an encoder of images, of one of audio, and of a random BERT with its tokenizer."""
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    for source, name in ((IMAGE, "resnet18"), (AUDIO, "gru")):
        safetensors.torch.save_file(
            build_encoder(source, 8, name, SIZES[name]).state_dict(), folder / f"{name}.safetensors"
        )
    config = SMALL["transformers"]["config"] | {"vocab_size": len(WORDS)}
    BertModel(BertConfig(**config)).save_pretrained(folder / "bert")
    tokenizer = make_tokenizer()
    tokenizer.model = models.WordPiece({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]")
    tokenizer.save(str(folder / "bert" / "tokenizer.json"))
    return folder


def make_vector_params(weights: Path, **changes: Any) -> ExtractParams:
    path = weights / "bert" / "tokenizer.json"
    text = {"text__tokenizer": "file", "text__length": 8}
    text["text__frozen"] = {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    vectors = {
        "image": {"name": "resnet18", **SIZES["resnet18"], "init_from": str(weights / "resnet18.safetensors")},
        "audio": {"name": "gru", **SIZES["gru"], "init_from": str(weights / "gru.safetensors")},
        "text": {"name": "transformers", "folder": str(weights / "bert")},
    }
    return make_params(**{**text, "vectors": vectors, **changes})


@pytest.fixture(scope="module")
def extracted(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the shards of 12 things, with vectors."""
    folder = tmp_path_factory.mktemp("extracted")
    extract_things(folder, make_things(12), make_vector_params(weights))
    return folder


def test_vectors_are_those_of_the_encoder(weights: Path, extracted: Path) -> None:
    root = extracted / "data" / SHARDS_FOLDER
    manifest = read_manifest(root)
    assert {name: manifest.fields[name].shape for name in ("image_vector", "audio_vector", "text_vector")} == {
        "image_vector": (8,), "audio_vector": (12,), "text_vector": (16,),
    }  # fmt: skip
    assert (manifest.extract or {})["vectors"]["image"]["files"].keys() == {str(weights / "resnet18.safetensors")}
    encoders = {}
    for source, name in ((IMAGE, "resnet18"), (AUDIO, "gru")):
        encoders[source.part] = build_encoder(source, 8, name, SIZES[name])
        encoders[source.part].load_state_dict(safetensors.torch.load_file(weights / f"{name}.safetensors"))
    tokens = list_tokens(decode_json((root / "tokenizer.json").read_bytes()))
    text = PartInput("text", "text", "tokens", (8,), "tokens_length", words=len(tokens))
    encoders["text"] = build_encoder(text, 8, "transformers", {"config": read_config(weights / "bert")})
    load_folder(encoders["text"], weights / "bert", tokens)
    for sample in read_all(root).values():
        for source in (IMAGE, AUDIO, text):
            encoder = encoders[source.part].eval()
            encoder.outlet = torch.nn.Identity()
            names = [source.field, *([source.length] if source.length else [])]
            vector = EncodedPart.read(
                encoder(*(torch.from_numpy(np.array(sample[name]))[None] for name in names))
            ).pooled
            assert torch.equal(vector[0], torch.from_numpy(np.array(sample[f"{source.part}_vector"])))


def test_the_bytes_are_the_same_with_any_number_of_workers(weights: Path, extracted: Path, tmp_path: Path) -> None:
    extract_things(tmp_path, make_things(12)[::-1], make_vector_params(weights), workers=2)
    assert list_outputs(tmp_path) == list_outputs(extracted)


def test_only_what_is_new_is_encoded(weights: Path, extracted: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(extracted, tmp_path / "copy"))
    other = Path(shutil.copytree(weights, tmp_path / "weights"))
    assert read_counts(run_extract(folder, make_vector_params(weights))) == (36, 0)
    shutil.rmtree(folder / "data")
    write_corpus(folder / "data", make_things(13))
    assert read_counts(run_extract(folder, make_vector_params(weights))) == (36, 3)
    path = other / "gru.safetensors"
    changed = {name: value * 2 for name, value in safetensors.torch.load_file(path).items()}
    safetensors.torch.save_file(changed, path)
    audio = {"name": "gru", **SIZES["gru"], "init_from": str(path)}
    params = make_vector_params(weights, vectors__audio=audio)
    assert read_counts(run_extract(folder, params)) == (26, 13)


def test_a_model_learns_from_vectors_alone(extracted: Path) -> None:
    folder = extracted / "data"
    fields = {part: [f"{part}_vector"] for part in ("image", "audio", "text")} | {"text": ["tokens", "text_vector"]}
    run_train(folder, "", epochs=1, fields=fields)
    record = decode_json((folder / MODEL_FOLDER / "model.json").read_bytes())
    inputs = {source["part"]: source for source in record["architecture"]["inputs"]}
    assert list(inputs) == ["image_vector", "audio_vector", "text", "text_vector"]
    assert inputs["image_vector"]["modality"] == "vector"
    assert (inputs["image_vector"]["shape"], inputs["audio_vector"]["length"]) == ([8], None)


def test_missing_and_several_items_have_zeros(weights: Path, tmp_path: Path) -> None:
    things = [*make_things(4), Thing("thing-lone", modalities=("image", "text"))]
    samples = read_all(extract_things(tmp_path, things, make_vector_params(weights)))
    assert not samples["thing-lone"]["audio_vector"].any()
    assert samples["thing-lone"]["image_vector"].any()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"vectors__image": {"name": "resnet18", "init_from": "weights/none.pth"}},
            InputError,
            r"extract\.vectors\.image\.init_from is weights/none\.pth, which cannot be read",
        ),
        (
            {"vectors__text": {"name": "transformers", "folder": "weights/none"}},
            InputError,
            r"extract\.vectors\.text\.folder is weights/none, which has no config\.json",
        ),
        (
            {"image__dtype": "float16"},
            ParamsError,
            r"extract\.vectors\.image is set, so extract\.image\.dtype must be uint8",
        ),
        (
            {"text__tokenizer": "words", "text__frozen": None},
            ParamsError,
            r"extract\.vectors\.text is set, so extract\.text\.frozen must name the vocabulary",
        ),
        ({"vectors__image": {"name": "resnet18"}}, ParamsError, r"extract\.vectors\.image\.init_from"),
    ],
)
def test_what_cannot_be_encoded_is_refused(
    changes: dict[str, Any], error: type[Exception], message: str, weights: Path, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        extract_things(tmp_path, make_things(4), make_vector_params(weights, **changes))


def test_weights_without_statistics_are_refused(weights: Path, tmp_path: Path) -> None:
    state = safetensors.torch.load_file(weights / "resnet18.safetensors")
    path = tmp_path / "bare.safetensors"
    safetensors.torch.save_file({name: value for name, value in state.items() if "scale" not in name}, path)
    image = {"name": "resnet18", **SIZES["resnet18"], "init_from": str(path)}
    with pytest.raises(InputError, match=r"has no statistics to scale the input by: set scale: imagenet"):
        extract_things(tmp_path, make_things(4), make_vector_params(weights, vectors__image=image))
    params = make_vector_params(weights, vectors__image={**image, "scale": "imagenet"})
    assert read_all(extract_things(tmp_path / "scaled", make_things(4), params))
