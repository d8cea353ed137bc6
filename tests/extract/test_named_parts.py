"""Parts of any name and number of items: the names of their fields, arrays of several items, what is dropped."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from pipeline.errors import ParamsError
from pipeline.extract import compute_features
from pipeline.extract.assemble_shard import encode_absent, stack_items
from pipeline.extract.params import ExtractParams
from pipeline.extract.plan_fields import FieldPlan, PartKind, name_field, plan_fields
from pipeline.tables.contracts import EXTRACT_FOLDER, MODALITIES, SHARDS_FOLDER
from shardwright import read_manifest
from shardwright.format.field import Field
from tests.support.factory_extract import Kinds, Thing, make_params, make_things, read_all, run_extract, write_corpus
from tests.support.running import hash_files
from tests.support.stage_folders import read_drops

Samples = dict[str, dict[str, Any]]
KINDS: Kinds = {"view": PartKind("image", 3), "caption": PartKind("text", 4), "narration": PartKind("audio")}


def plan(
    parts: dict[str, str],
    params: ExtractParams | None = None,
    lacking: Sequence[str] = (),
    most: dict[str, int] | None = None,
) -> FieldPlan:
    kinds = {part: PartKind(modality, (most or {}).get(part)) for part, modality in parts.items()}
    return plan_fields(kinds, lacking, params or make_params(), None)


def test_a_part_called_after_its_modality_keeps_the_names_of_its_fields() -> None:
    planned = plan({name: name for name in MODALITIES}, lacking=["audio"])
    assert list(planned.fields) == [
        "image", "mfcc", "mfcc_length", "tokens", "tokens_length", "video", "video_mfcc", "video_mfcc_length",
        "audio_present",
    ]  # fmt: skip


def test_the_fields_of_other_parts_begin_with_their_names() -> None:
    params = make_params(audio__features=["mfcc", "rms"], text__annotate=["lemma", "pos"], text__model="./model")
    parts = {"caption": "text", "photo": "image", "narration": "audio", "clip": "video", "image": "image"}
    planned = plan(parts, params, lacking=["photo"])
    assert planned.names == {
        "caption": ("caption", "caption_length", "caption_lemmas", "caption_pos"),
        "photo": ("photo",),
        "narration": ("narration_mfcc", "narration_mfcc_length", "narration_rms", "narration_rms_length"),
        "clip": ("clip", "clip_mfcc", "clip_mfcc_length"),
        "image": ("image",),
    }
    assert list(planned.fields) == [*(name for names in planned.names.values() for name in names), "photo_present"]
    assert planned.params.keys() == {"text", "image", "audio", "video"}


def test_several_items_are_one_array_with_their_count() -> None:
    planned = plan({"view": "image", "caption": "text"}, most={"caption": 5})
    assert planned.most == {"caption": 5}
    assert list(planned.fields) == ["view", "caption", "caption_length", "caption_count"]
    assert planned.fields["caption"] == Field("int32", (5, 5), axes="NT", unit="id", padding=0)
    assert planned.fields["caption_length"] == Field("int32", (5,), axes="N", unit="tokens")
    assert planned.fields["caption_count"].shape == ()


@pytest.mark.parametrize(
    ("parts", "most", "message"),
    [
        (
            {"text": "text", "tokens": "image"},
            {},
            "align.parts.text and align.parts.tokens both have the field `tokens`",
        ),
        ({"a": "audio", "a_mfcc": "image"}, {}, "align.parts.a and align.parts.a_mfcc both have the field `a_mfcc`"),
        ({"p" * 22: "audio"}, {}, "`pppppppppppppppppppppp_mfcc_length`, whose name must match"),
        ({"view": "image"}, {"view": 10**8}, "align.parts.view.most is 100000000; it must be smaller: an array"),
    ],
)
def test_fields_that_cannot_be_are_errors(parts: dict[str, str], most: dict[str, int], message: str) -> None:
    with pytest.raises(ParamsError, match=re.escape(message)):
        plan(parts, most=most)


def test_several_jpeg_files_are_an_error() -> None:
    with pytest.raises(ParamsError, match=r'extract\.image\.store is "jpeg"; it must be tensor, as align\.parts\.view'):
        plan({"view": "image"}, make_params(image__store="jpeg"), most={"view": 2})
    assert plan({"view": "image"}, make_params(image__store="jpeg")).fields["view"].varies


@pytest.mark.parametrize("modality", MODALITIES)
def test_names_are_distinct_for_every_modality(modality: str) -> None:
    own = list(plan({modality: modality}).fields)
    assert [name_field(modality, modality, name) for name in own] == own
    names = [name_field("thing", modality, name) for name in own]
    assert len(set(names)) == len(own)
    assert all(name == "thing" or name.startswith("thing_") for name in names)


@given(data=st.data(), most=st.integers(1, 4), padding=st.sampled_from([None, 3]))
def test_stacked_items_are_what_numpy_stacks(data: st.DataObject, most: int, padding: int | None) -> None:
    shape = data.draw(array_shapes(min_dims=0, max_dims=3, max_side=4))
    one = Field("int32", shape, padding=padding)
    values = data.draw(st.lists(arrays(np.int32, shape), max_size=most))
    stacked = Field("int32", (most, *shape), padding=padding)
    (content,) = stack_items(
        [[one.encode(value)] for value in values], encode_absent({"a": stacked}), {"a": one}, {"a": stacked}
    )
    expected = np.full((most, *shape), padding or 0, np.int32)
    expected[: len(values)] = np.reshape(values, (len(values), *shape))
    assert content == stacked.encode(expected)


def make_named(count: int, **changes: Any) -> list[Thing]:
    """Samples with one or two images, up to four captions, and audio for some."""
    return [
        Thing(
            thing.key, thing.split, thing.label,
            (*["view"] * (1 + n % 2), *["caption"] * (n % 5), *(["narration"] if n % 3 else [])), **changes,
        )
        for n, thing in enumerate(make_things(count))
    ]  # fmt: skip


def run_named(folder: Path, things: Sequence[Thing], params: ExtractParams) -> Samples:
    """Extract the samples in place of those that were there, and return them by key."""
    shutil.rmtree(folder / "data", ignore_errors=True)
    write_corpus(folder / "data", things, KINDS)
    run_extract(folder, params)
    root = folder / "data" / SHARDS_FOLDER
    return {key: sample for split in read_manifest(root).splits for key, sample in read_all(root, split).items()}


def test_items_fill_arrays_in_order(tmp_path: Path) -> None:
    things = make_named(20)
    samples = run_named(tmp_path, things, make_params())
    assert len(samples) == 20
    for thing in things:
        sample = samples[thing.key]
        for part in ("view", "caption"):
            count = thing.modalities.count(part)
            assert sample[f"{part}_count"] == count
            assert sample[part][:count].any(tuple(range(1, sample[part].ndim))).all()
            assert not sample[part][count:].any()
        assert sample["caption_present"] == ("caption" in thing.modalities)
        assert sample["narration_present"] == ("narration" in thing.modalities)
        assert (sample["caption_length"] > 0).tolist() == [n < sample["caption_count"] for n in range(4)]


def test_statistics_are_those_of_all_items(tmp_path: Path) -> None:
    things = make_named(20)
    run_named(tmp_path, things, make_params())
    root = tmp_path / "data" / SHARDS_FOLDER
    statistics = (read_manifest(root).statistics or {})["view"]
    items = np.concatenate([sample["view"][: sample["view_count"]] for sample in read_all(root).values()]).astype(float)
    np.testing.assert_allclose(statistics.mean, items.mean((0, 1, 2)))
    np.testing.assert_allclose(statistics.std, items.std((0, 1, 2)))
    assert statistics.count == items.size // 3


def test_a_bad_item_of_several_drops_the_sample(tmp_path: Path) -> None:
    things = make_named(20, contents={})
    bad = next(thing for thing in things if thing.modalities.count("view") == 2)
    things[things.index(bad)] = Thing(bad.key, bad.split, bad.label, bad.modalities, {"view1": b"no image"})
    samples = run_named(tmp_path, things, make_params())
    assert samples.keys() == {thing.key for thing in things} - {bad.key}
    (drop,) = read_drops(tmp_path / "data" / EXTRACT_FOLDER)
    assert (drop.key, drop.detail[:6]) == (bad.key, "view: ")


@pytest.mark.slow
def test_a_cache_changes_no_byte(tmp_path: Path) -> None:
    params = make_params(shards=4)
    run_named(tmp_path / "a", make_named(20), params)
    expected = hash_files(tmp_path / "a/data" / SHARDS_FOLDER)
    run_named(tmp_path / "b", make_named(15), params)
    run_named(tmp_path / "b", make_named(20), params)
    assert hash_files(tmp_path / "b/data" / SHARDS_FOLDER) == expected


@pytest.mark.slow
def test_many_shards_store_the_items_of_several_beside_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = run_named(tmp_path / "a", make_named(20), make_params(shards=4))
    monkeypatch.setattr(compute_features, "MIN_SHARDS", 1)  # so that features are inline
    for _ in range(2):
        samples = run_named(tmp_path / "b", make_named(20), make_params(shards=4))
        for key, sample in expected.items():
            assert all(np.array_equal(value, samples[key][name]) for name, value in sample.items())
