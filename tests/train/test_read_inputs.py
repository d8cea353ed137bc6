"""Inputs of models are read from the manifest of a dataset, and damaged ones are refused."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.models.inputs import read_inputs
from shardwright import read_manifest
from tests.support.factory_shards import WORDS, Toy, make_shards


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("shards"), Toy(train=23, missing=("audio",)))


def test_inputs_are_read_from_the_manifest(shards: Path) -> None:
    image, audio, text = read_inputs(shards, read_manifest(shards), ("image", "audio", "text"))
    assert (image.shape, image.mean, image.present) == ((16, 16, 3), (60.0,) * 3, None)
    assert (audio.field, audio.length, audio.present) == ("mfcc", "mfcc_length", "audio_present")
    assert (text.words, text.mean) == (len(WORDS), ())
    bare = replace(read_manifest(shards), vocabulary=None)
    with pytest.raises(InputError, match="no vocabulary"):
        read_inputs(shards, bare, ("text",))


def test_inputs_of_named_parts_know_their_modality(shards: Path) -> None:
    manifest = read_manifest(shards)
    tokens, length = manifest.fields["tokens"], manifest.fields["tokens_length"]
    several = {
        "caption": replace(tokens, shape=(3, *tokens.shape), axes="NT"), "caption_length": replace(length, shape=(3,)),
        "caption_count": length, "answer": tokens, "answer_length": length, "answer_present": length,
    }  # fmt: skip
    modalities = {"caption": ["caption", "caption_length", "caption_count"], "answer": ["answer", "answer_length"]}
    extract = {"modalities": {"image": ["image"], **modalities}, "parts": {"caption": "text", "answer": "text"}}
    named = replace(manifest, fields={**manifest.fields, **several}, extract=extract, splits={})
    caption, answer, image = read_inputs(shards, named, ("text", "image"))
    assert (caption.part, caption.modality, caption.shape, caption.count) == ("caption", "text", (6,), "caption_count")
    assert (caption.length, caption.words) == ("caption_length", len(WORDS))
    assert (answer.part, answer.present, answer.count, image.part) == ("answer", "answer_present", None, "image")


def test_an_edited_vocabulary_is_refused(shards: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(shards, tmp_path / "shards"))
    path = root / "vocabulary.json"
    path.write_bytes(path.read_bytes().replace(b"word3", b"word2"))
    with pytest.raises(InputError, match=r"vocabulary\.json is damaged"):
        read_inputs(root, read_manifest(root), ["text"])
    path.unlink()
    with pytest.raises(InputError, match=r"vocabulary\.json is missing"):
        read_inputs(root, read_manifest(root), ["text"])
