"""A model sees several fields of a part, and refuses those that do not fit."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.errors import InputError
from pipeline.models.choose_fields import OWN_IDS, choose_fields
from pipeline.models.encoders.build import build_encoder
from pipeline.models.encoders.encoded_part import EncodedPart
from pipeline.models.encoders.table import ENCODERS
from pipeline.models.encoders.words import Words
from pipeline.models.inputs import UNKNOWN, PartInput, read_inputs, read_values
from pipeline.models.model import Model
from pipeline.models.record import Architecture
from pipeline.tables.contracts import MODEL_FOLDER, SHARDS_FOLDER
from pipeline.tasks.classification import CLASSIFICATION, ClassPlan
from pipeline.train.augment import augment_text
from pipeline.train.keyed_random import KeyedRandom
from shardwright import Field, ShardDataset, ShardWriter, Statistics, read_manifest, write_manifest
from tests.evaluate.test_evaluate import run_evaluate
from tests.support.factory_shards import WORDS, Toy, complete_manifest, make_sample
from tests.support.model_inputs import FIRST, SMALL
from tests.train.test_train import run_train

LENGTH = Field("int32", ())
MFCC = Field("float32", (20, 8), axes="TC")
IDS = Field("uint16", (6,), axes="T")
PARTS = {
    "audio": {"mfcc": MFCC, "mfcc_length": LENGTH, "mfcc_delta": MFCC, "mfcc_delta_length": LENGTH},
    "text": {"tokens": IDS, "tokens_length": LENGTH, "lemmas": IDS, "pos": Field("uint8", (6,), axes="T")},
    "video": {
        "video": Field("uint8", (2, 16, 16, 3), axes="THWC"),
        "video_mfcc": replace(MFCC, shape=(12, 8)),
        "video_mfcc_length": LENGTH,
    },
}
SEVERAL = {"audio": ["mfcc", "mfcc_delta"], "text": ["tokens", "lemmas", "pos"], "video": ["video", "video_mfcc"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose samples have deltas, parts of speech, lemmas, and a video, every other one with audio."""
    folder = tmp_path_factory.mktemp("several")
    root, toy, rng = folder / SHARDS_FOLDER, Toy(modalities=("audio", "text")), np.random.default_rng(0)
    fields = {name: field for part in PARTS.values() for name, field in part.items()} | {"label": Field("int64", ())}
    for split, count in (("train", 12), ("val", 4), ("test", 4)):
        with ShardWriter(root, split, fields, samples_per_shard=6, classes=toy.classes) as writer:
            for number in range(count):
                arrays = make_sample(rng, toy, number % 4, number)
                arrays |= {"mfcc_delta": arrays["mfcc"] / 2, "mfcc_delta_length": arrays["mfcc_length"]}
                arrays["tokens"] = arrays["lemmas"] = arrays["tokens"].astype(np.uint16)
                arrays["pos"] = (arrays["tokens"] % 17).astype(np.uint8)
                arrays["video"] = rng.integers(0, 255, (2, 16, 16, 3)).astype(np.uint8)
                arrays["video_mfcc_length"] = frames = 12 * (number % 2)
                arrays["video_mfcc"] = np.zeros((12, 8), np.float32)
                arrays["video_mfcc"][:frames] = arrays["mfcc"][:frames]
                writer.write(f"{split}-{number:03d}", arrays, {"label": toy.classes[number % 4], "caption": "a thing"})
    complete_manifest(root, toy)
    manifest = read_manifest(root)
    statistics = dict.fromkeys(("mfcc", "mfcc_delta"), Statistics((0.5,) * 8, (1.2,) * 8, 100))
    modalities = {part: list(fields) for part, fields in PARTS.items()}
    write_manifest(root, replace(manifest, statistics=statistics, extract={"modalities": modalities}))
    return folder


def choose(folder: Path, part: str, *names: str) -> tuple[PartInput, ...]:
    manifest = read_manifest(folder / SHARDS_FOLDER)
    (source,) = read_inputs(folder / SHARDS_FOLDER, manifest, (part,))
    assert choose_fields(source, (source.field,), manifest) == (source,)
    return choose_fields(source, names, manifest)


@pytest.mark.slow
def test_all_fields_of_all_parts_are_trained_and_evaluated(folder: Path) -> None:
    run_train(folder, "", epochs=1, fields=SEVERAL, modalities=None)
    run_evaluate(folder)
    record = json.loads((folder / MODEL_FOLDER / "model.json").read_bytes())
    audio, text, video, sound = record["architecture"]["inputs"]
    assert (audio["field"], audio["joined"], audio["shape"]) == ("mfcc", ["mfcc_delta"], [20, 16])
    assert (text["shape"], text["joined_words"]) == ([6, 3], [len(WORDS), OWN_IDS])
    assert (video["joined"], sound["part"], sound["modality"], sound["present"]) == (
        [], "video_sound", "audio", "video_mfcc_length",
    )  # fmt: skip
    assert record["plan"]["parts"] == ["audio", "text", "video", "video_sound"]


def test_frames_stand_side_by_side_with_their_statistics(folder: Path) -> None:
    (joined,) = choose(folder, "audio", "mfcc", "mfcc_delta")
    assert len(joined.mean) == len(joined.std) == 16
    values = torch.randn(2, 20, 8)
    batch = {"mfcc": values, "mfcc_delta": values + 1}
    assert torch.equal(read_values(batch, joined), torch.cat([values, values + 1], 2))
    augmented = torch.zeros(2, 20, 16)
    assert read_values({**batch, joined.name: augmented}, joined) is augmented
    (other,) = choose(folder, "audio", "mfcc_delta")
    assert (other.name, other.shape, other.length) == ("mfcc_delta", (20, 8), "mfcc_length")


def test_ids_of_a_token_are_summed_as_embeddings(folder: Path) -> None:
    (joined,) = choose(folder, "text", "tokens", "pos")
    words = Words(joined, 4)
    assert words.state_dict().keys() == {"weight", "others.0.weight"}
    batch = {"tokens": torch.tensor([[2, 3]]).to(torch.uint16), "pos": torch.tensor([[9, 1]], dtype=torch.uint8)}
    ids, valid = read_values(batch, joined), torch.tensor([[True, False]])
    embedded = words(ids, valid)[0]
    tables = list(words.state_dict().values())
    assert torch.equal(embedded, torch.stack([tables[0][2] + tables[1][9], tables[0][0] + tables[1][0]]))
    (alone,) = choose(folder, "text", "pos")
    assert (alone.words, alone.shape) == (OWN_IDS, (6,))


@pytest.mark.parametrize("name", sorted(ENCODERS["text"].keys() - {"transformers"}))
def test_every_encoder_of_text_reads_several_ids(name: str, folder: Path) -> None:
    (source,) = choose(folder, "text", "tokens", "pos")
    torch.manual_seed(0)
    encoder = build_encoder(source, 8, name, SMALL.get(name, {}))
    encoder.eval()
    ids, length = torch.randint(1, 12, (4, 6, 2)), torch.tensor([1, 6, 3, 2])
    spoiled = torch.where((torch.arange(6) < length[:, None]).unsqueeze(2), ids, 7)
    embedding = EncodedPart.read(encoder(ids, length)).pooled
    assert torch.equal(embedding, EncodedPart.read(encoder(spoiled, length)).pooled)
    torch.autograd.backward(embedding.square().sum())
    assert [key for key, value in encoder.named_parameters() if value.grad is None or not value.grad.any()] == []
    compiled = torch.compile(encoder, backend="eager", fullgraph=True) if name not in ("gru", "lstm") else encoder
    torch.testing.assert_close(EncodedPart.read(compiled(ids, length)).pooled, embedding)


def test_unknown_words_keep_their_part_of_speech(folder: Path) -> None:
    (joined,) = choose(folder, "text", "tokens", "lemmas", "pos")
    ids = torch.full((50, 6, 3), 5)
    ids[:, 4:] = 0
    augmented = augment_text(ids, None, joined, KeyedRandom.for_samples(0, 1, [f"key-{row}" for row in range(50)]))
    replaced = augmented[..., 0] == UNKNOWN
    assert 0 < replaced.sum() < 100
    assert torch.equal(replaced, augmented[..., 1] == UNKNOWN)
    assert torch.equal(augmented[..., 2], ids[..., 2])
    assert not augmented[:, 4:].any()


def test_a_video_without_audio_lacks_the_part(folder: Path) -> None:
    _, sound = choose(folder, "video", "video", "video_mfcc")
    with ShardDataset(folder / SHARDS_FOLDER, "train") as data:
        lengths = [int(data[row]["video_mfcc_length"]) for row in range(len(data))]
    assert {0, 12} == set(lengths)
    several = replace(sound, count="video_count")
    batch = {
        "video_mfcc": torch.randn(2, 3, 12, 8),
        "video_mfcc_length": torch.tensor([[0, 0, 0], [0, 7, 0]]),
        "video_count": torch.tensor([1, 2]),
    }
    model = Model(
        Architecture((several,), FIRST, 8, "mean", 0.0, {}), CLASSIFICATION, ClassPlan((), ("a", "b"), (1, 1))
    )
    assert model.find_present(batch).tolist() == [[False], [True]]
    silent = {name: values[:1] for name, values in batch.items()}
    assert torch.equal(model(silent), model(silent | {"video_mfcc": silent["video_mfcc"] * float("nan")}))


@pytest.mark.parametrize(
    ("part", "name", "changed", "message"),
    [
        (
            "audio",
            "mfcc_delta",
            Field("float32", (10, 8), axes="TC"),
            r"`mfcc_delta` \(10, 8\) beside `mfcc` \(20, 8\)",
        ),
        (
            "text",
            "pos",
            Field("uint8", (5,), axes="T"),
            r"`pos` \(5,\) beside `tokens` \(6,\); .* ids of the same tokens",
        ),
        ("text", "pos", Field("float32", (6,), axes="T"), "fields of one part must agree in all axes but the last"),
    ],
)
def test_fields_that_do_not_fit_are_refused(part: str, name: str, changed: Field, message: str, folder: Path) -> None:
    manifest = read_manifest(folder / SHARDS_FOLDER)
    manifest = replace(manifest, fields={**manifest.fields, name: changed}, splits={})
    (source,) = read_inputs(folder / SHARDS_FOLDER, manifest, (part,))
    with pytest.raises(InputError, match=message):
        choose_fields(source, (source.field, name), manifest)


def test_the_name_of_a_videos_audio_is_not_taken(folder: Path) -> None:
    manifest = read_manifest(folder / SHARDS_FOLDER)
    modalities = {"video": list(PARTS["video"]), "video_sound": ["mfcc"]}
    manifest = replace(manifest, extract={"modalities": modalities, "parts": {"video_sound": "audio"}})
    (source,) = read_inputs(folder / SHARDS_FOLDER, manifest, ("video",))
    with pytest.raises(InputError, match=r"dataset has a part of this name: give that another one in align\.parts"):
        choose_fields(source, ("video_mfcc",), manifest)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sound": ["mfcc"]}, "train.fields has the part `sound`; it must name some of audio, text, video"),
        ({"audio": ["mfcc", "video"]}, "train.fields.audio has `video`; it must name some of its fields mfcc, mfcc_d"),
        ({"audio": ["mfcc", "mfcc_length"]}, "train.fields.audio has `mfcc_length`; it must name some of its fields"),
        ({"text": ["mfcc"]}, "train.fields.text has `mfcc`; it must name some of its fields tokens, lemmas, pos$"),
    ],
)
def test_fields_of_other_parts_are_refused(fields: dict[str, Any], message: str, folder: Path) -> None:
    with pytest.raises(InputError, match=message):
        run_train(folder, fields=fields, modalities=None)
