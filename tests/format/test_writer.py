"""Write shards and manifests: refused input, replaced splits, failures, durability."""

import hashlib
import json
import os
import pickle
import tempfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardwright import (
    DamageError,
    ExistsError,
    Field,
    FileRecord,
    FormatError,
    Manifest,
    Sample,
    ShardDataset,
    ShardwrightError,
    ShardWriter,
    Source,
    Statistics,
    encode_shard,
    read_manifest,
    write_manifest,
    write_shard,
    write_split,
)
from shardwright.format.atomic_write import sync_behind
from shardwright.format.canonical_json import encode_canonical
from shardwright.format.encode import KEY, encode_headers
from shardwright.format.field import DTYPES, NAME, RESERVED
from shardwright.format.tar import END, MAX_MEMBER_BYTES, encode_header, encode_member
from tests.support.shard_samples import (
    SMALL_FIELDS,
    Written,
    make_samples,
    read_tree,
    splits,
    write_samples,
    write_small,
)

REFUSED: dict[str, tuple[str, dict[str, Any], Any]] = {
    "a dot in the key": ("a.b", {}, None),
    "a slash in the key": ("a/b", {}, None),
    "no key": ("", {}, None),
    "a long key": ("a" * 65, {}, None),
    "a newline in the key": ("a\n", {}, None),
    "a key beyond ASCII": ("é", {}, None),
    "another dtype": ("k", {"mfcc": np.zeros((4, 6))}, None),
    "another shape": ("k", {"mfcc": np.zeros((6, 4), np.float32)}, None),
    "NaN": ("k", {"mfcc": np.full((4, 6), np.nan, np.float32)}, None),
    "an infinity": ("k", {"mfcc": np.full((4, 6), -np.inf, np.float32)}, None),
    "a list": ("k", {"mfcc": [[0.0] * 6] * 4}, None),
    "a fraction for an integer": ("k", {"label": 1.5}, None),
    "a bool for an integer": ("k", {"label": True}, None),
    "a large integer": ("k", {"label": 2**63}, None),
    "an unknown field": ("k", {"extra": 1}, None),
    "meta that is no object": ("k", {}, [1]),
    "meta with NaN": ("k", {}, {"a": float("nan")}),
    "meta with bytes": ("k", {}, {"a": b""}),
    "meta with a lone surrogate": ("k", {}, {"a": "\ud800"}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_sample_is_named_and_not_written(tmp_path: Path, case: str) -> None:
    key, arrays, meta = REFUSED[case]
    good = make_samples(2)
    with ShardWriter(tmp_path, "train", SMALL_FIELDS) as writer:
        writer.write("good-1", good[0].arrays)
        with pytest.raises(FormatError) as caught:
            writer.write(key, {**good[1].arrays, **arrays}, meta)
        writer.write("good-2", good[1].arrays)
    assert repr(key) in str(caught.value)
    assert all(repr(name) in str(caught.value) for name in arrays)
    assert ShardDataset(tmp_path, "train").keys.tolist() == [b"good-1", b"good-2"]


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    arrays = dict(make_samples(1)[0].arrays)
    del arrays["label"]
    with pytest.raises(FormatError, match=r"'k': missing fields \['label'\]"):
        encode_shard(SMALL_FIELDS, [Sample("k", arrays)])


def test_a_key_occurs_once_in_a_split(tmp_path: Path) -> None:
    sample = make_samples(1)[0]
    with pytest.raises(FormatError, match=r"'sample-000' (occurs twice|was already written)"):
        encode_shard(SMALL_FIELDS, [sample, sample])
    with ShardWriter(tmp_path, "train", SMALL_FIELDS, samples_per_shard=1) as writer:
        writer.write(sample.key, sample.arrays)
        with pytest.raises(FormatError, match=r"'sample-000' (occurs twice|was already written)"):
            writer.write(sample.key, sample.arrays)
    shards = [write_shard(tmp_path / f"{n}.tar", SMALL_FIELDS, [sample]) for n in range(2)]
    with pytest.raises(FormatError, match=r"'sample-000' (occurs twice|was already written)"):
        write_split(tmp_path, SMALL_FIELDS, shards)


NAMES = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=25), min_size=1)


@settings(max_examples=40)
@given(names=NAMES, data=st.data())
def test_headers_of_many_files_are_those_of_each(names: list[str], data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(0, MAX_MEMBER_BYTES), min_size=len(names), max_size=len(names)))
    assert encode_headers(names, sizes) == b"".join(map(encode_header, names, sizes))
    for wrong in ("", "a\0", "é" * 51):
        with pytest.raises(ValueError, match="member name"):
            encode_headers([*names, wrong], [*sizes, 1])
    for size in (-1, MAX_MEMBER_BYTES + 1):
        with pytest.raises(ValueError, match=f"has {size} bytes"):
            encode_headers([*names, "a"], [*sizes, size])


@settings(max_examples=50)
@given(data=st.data(), count=st.integers(0, 12), chunk=st.integers(1, 40_000))
def test_a_shard_is_its_members_one_after_another(data: st.DataObject, count: int, chunk: int) -> None:
    """However many samples are laid out at a time: each member with its header, its content and zeros."""
    names = data.draw(st.lists(st.from_regex(NAME, fullmatch=True), min_size=1, max_size=4, unique=True))
    names = [name for name in names if name not in RESERVED] or ["a"]
    shapes = st.lists(st.integers(1, 9), max_size=3).map(tuple)
    fields = {name: Field(data.draw(st.sampled_from(DTYPES)), data.draw(shapes)) for name in names}
    keys = data.draw(st.lists(st.from_regex(KEY, fullmatch=True), min_size=count, max_size=count, unique=True))
    noise = np.random.default_rng(data.draw(st.integers(0, 99)))
    samples = []
    for key in keys:
        arrays = {name: (noise.random(field.shape) * 100).astype(field.dtype) for name, field in fields.items()}
        samples.append(Sample(key, arrays, {"text": "x" * int(noise.integers(600))}))
    longest = max((len(encode_canonical(sample.meta)) for sample in samples), default=0)
    members: list[tuple[str, bytes]] = []
    for sample in samples:
        members += (
            (f"{sample.key}.{name}.npy", field.header + np.asarray(sample.arrays[name]).tobytes())
            for name, field in fields.items()
        )
        members.append((f"{sample.key}.meta.json", encode_canonical(sample.meta).ljust(longest)))
    with mock.patch("shardwright.format.encode.CHUNK_BYTES", chunk):
        shard = encode_shard(fields, samples)
    content = b"".join(shard.chunks())
    assert content == b"".join(encode_member(*member) for member in members) + END
    assert (shard.size, shard.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert shard.index["key"].tolist() == [key.encode() for key in keys]
    assert shard.index["crc32"].ravel().tolist() == [zlib.crc32(content) for _, content in members]


def test_shards_are_synced_before_the_manifest_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards are written without a sync, so that each must be synced before the manifest."""
    synced: list[int] = []

    def note(handle: int) -> None:
        synced.append(os.fstat(handle).st_ino)

    monkeypatch.setattr(os, "fsync", note)
    with ShardWriter(tmp_path, "train", SMALL_FIELDS, samples_per_shard=2) as writer:
        for sample in make_samples(5):
            writer.write(sample.key, sample.arrays)
    manifest = synced.index((tmp_path / "dataset.json").stat().st_ino)
    files = list((tmp_path / "train").iterdir())
    assert len(files) == 6, "three shards, each with an index"
    assert {path.stat().st_ino for path in files} <= set(synced[:manifest])


def test_a_failed_sync_in_the_background_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        path.touch()
    with sync_behind() as sync:
        sync(paths[0])
    monkeypatch.setattr(os, "fsync", partial(fail_at, paths[1].stat().st_ino))
    with pytest.raises(OSError, match="no room"):
        sync_all(paths)


def sync_all(paths: Sequence[Path]) -> None:
    with sync_behind() as sync:
        for path in paths:
            sync(path)


def fail_at(inode: int, handle: int) -> None:
    if os.fstat(handle).st_ino == inode:
        raise OSError("no room")


def test_python_numbers_are_scalars() -> None:
    fields = {"i": Field("int8", ()), "f": Field("float32", ()), "b": Field("bool", ())}
    numbers = encode_shard(fields, [Sample("k", {"i": -3, "f": 2, "b": True})])
    arrays = encode_shard(fields, [Sample("k", {"i": np.int8(-3), "f": np.array(2, ">f4"), "b": np.True_})])
    assert numbers.sha256 == arrays.sha256


@pytest.mark.parametrize(
    "make",
    [
        lambda: Field("object", ()),
        lambda: Field("<f4", ()),
        lambda: Field("uint8", (0,)),
        lambda: Field("uint8", (2.0,)),  # type: ignore[arg-type]  # is refused
        lambda: Field("uint8", 3),  # type: ignore[arg-type]  # is refused
        lambda: Field("uint8", (2, 2), axes="T"),
        lambda: Field("uint8", (2,), padding=256),
        lambda: Field("float32", (2,), padding=1e39),
        lambda: Field("uint8", (1 << 33,)),
        lambda: encode_shard({}, []),
        lambda: encode_shard({"meta": Field("uint8", ())}, []),
        lambda: encode_shard({"key": Field("uint8", ())}, []),
        lambda: encode_shard({"Image": Field("uint8", ())}, []),
        lambda: encode_shard({"image.png": Field("uint8", ())}, []),
        lambda: encode_shard({"a" * 32: Field("uint8", ())}, []),
    ],
)
def test_invalid_fields_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(FormatError):
        make()


def test_the_longest_names_fit_a_tar_header() -> None:
    shard = encode_shard({"a" * 31: Field("uint8", ())}, [Sample("k" * 64, {"a" * 31: 1})])
    assert shard.count == 1


def test_a_writer_adds_a_split_and_refuses_to_replace_one(tmp_path: Path) -> None:
    write_small(tmp_path, 5)
    write_small(tmp_path, 3, split="val")
    before = read_tree(tmp_path)
    with pytest.raises(ExistsError, match="overwrite=True"):
        write_small(tmp_path, 4)
    assert read_tree(tmp_path) == before
    with ShardWriter(tmp_path, "train", SMALL_FIELDS, overwrite=True) as writer:
        writer.write("new", make_samples(1)[0].arrays)
    assert ShardDataset(tmp_path, "train").keys.tolist() == [b"new"]
    assert len(ShardDataset(tmp_path, "val")) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset.json", "train", "val"]


def test_splits_share_fields_and_classes(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "train", SMALL_FIELDS, classes=["a", "b"]):
        pass
    assert ShardDataset(tmp_path, "train").classes == ("a", "b")
    with pytest.raises(FormatError, match="other fields"):
        ShardWriter(tmp_path, "val", {"x": Field("uint8", ())})
    with pytest.raises(FormatError, match="other classes"):
        ShardWriter(tmp_path, "val", SMALL_FIELDS, classes=["b"])
    with ShardWriter(tmp_path, "val", SMALL_FIELDS):
        pass
    assert read_manifest(tmp_path).classes == ("a", "b")


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    write_small(tmp_path, 3)
    before = read_tree(tmp_path)

    def write_and_fail() -> None:
        with ShardWriter(tmp_path, "val", SMALL_FIELDS, samples_per_shard=1) as writer:
            writer.write("a", make_samples(1)[0].arrays)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_and_fail()
    assert read_tree(tmp_path) == before


def test_a_split_has_one_writer_and_a_dead_one_blocks_nobody(tmp_path: Path) -> None:
    first = ShardWriter(tmp_path, "train", SMALL_FIELDS, samples_per_shard=1)
    first.write("a", make_samples(1)[0].arrays)
    with pytest.raises(ExistsError, match="another writer"):
        ShardWriter(tmp_path, "train", SMALL_FIELDS)
    first.abort()
    with pytest.raises(ShardwrightError, match="closed"):
        first.write("b", make_samples(1)[0].arrays)
    leftovers = tmp_path / ".train.partial"
    leftovers.mkdir()
    (leftovers / "train-000000.tar").write_bytes(b"cut")
    write_small(tmp_path, 3)
    assert len(ShardDataset(tmp_path, "train")) == 3


def test_arrays_may_change_after_they_were_written(tmp_path: Path) -> None:
    arrays = dict(make_samples(1)[0].arrays)
    image = arrays["image"] = np.zeros((5, 7, 3), np.uint8)
    with ShardWriter(tmp_path, "train", SMALL_FIELDS) as writer:
        writer.write("a", arrays)
        image += 1
    assert not ShardDataset(tmp_path, "train")[0]["image"].any()


def test_shards_written_separately_equal_those_of_a_writer(tmp_path: Path) -> None:
    samples = write_small(tmp_path / "writer", 10)
    folder = tmp_path / "parts" / "train"
    folder.mkdir(parents=True)
    batches = [samples[:6], samples[6:]]
    shards = [write_shard(folder / f"train-{n:06d}.tar", SMALL_FIELDS, batch) for n, batch in enumerate(batches)]
    shards = pickle.loads(pickle.dumps(shards))  # as they come from a worker process
    write_manifest(tmp_path / "parts", Manifest(SMALL_FIELDS, {"train": write_split(folder, SMALL_FIELDS, shards)}))
    assert read_tree(tmp_path / "parts") == read_tree(tmp_path / "writer")


@given(splits(max_samples=2), st.data())
@settings(max_examples=40)
def test_an_edited_manifest_is_refused(written: Written, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as root:
        write_samples(Path(root), written, 1)
        path = Path(root) / "dataset.json"
        content = bytearray(path.read_bytes())
        content[data.draw(st.integers(0, len(content) - 2))] ^= 1 << data.draw(st.integers(0, 6))
        path.write_bytes(content)
        with pytest.raises((FormatError, DamageError)):
            read_manifest(root)


def test_a_manifest_error_names_the_fault(tmp_path: Path) -> None:
    write_small(tmp_path, 3)
    document = read_manifest(tmp_path).to_json()
    edits: dict[str, dict[str, Any]] = {
        "version is 4; this release reads versions up to 3": {"version": 4},
        "version is 2; with these splits and fields it must be 3": {"version": 2},
        "not a manifest of the format": {"format": "other"},
        r"unknown keys \['extra'\]": {"extra": 1},
        "must match": {"splits": {"../x": document["splits"]["train"]}},
        r"classes\[0\] is 1": {"classes": [1]},
        r"splits.train.samples is 4": {"splits": {"train": document["splits"]["train"] | {"samples": 4}}},
        "a name that no other field has": {"fields": document["fields"] + document["fields"][:1]},
    }
    for message, edit in edits.items():
        (tmp_path / "dataset.json").write_bytes(encode_canonical(document | edit))
        with pytest.raises(FormatError, match=message):
            read_manifest(tmp_path)
    (tmp_path / "dataset.json").write_bytes(b"[" * 100_000)
    with pytest.raises(FormatError, match="not readable as JSON"):
        read_manifest(tmp_path)


def test_the_hash_covers_the_content_without_its_sources(tmp_path: Path) -> None:
    write_small(tmp_path, 3)
    manifest = read_manifest(tmp_path)
    source = {"source": "s", "licence": "l", "attribution": "a", "samples": 3}
    with_sources = Manifest.from_json(manifest.to_json() | {"sources": [source]})
    with_classes = Manifest.from_json(manifest.to_json() | {"classes": ["a"]})
    assert with_sources.hash == manifest.hash != with_classes.hash


def test_every_part_of_a_manifest_is_stored(tmp_path: Path) -> None:
    write_small(tmp_path, 3)
    whole = replace(
        read_manifest(tmp_path),
        classes=("ä", "b"),
        vocabulary=FileRecord("vocabulary.json", "0" * 64),
        statistics={"image": Statistics((0.5, 1.0, 1e-9), (1.0, 2.0, 3.0), 7)},
        extract={"image": {"size": 224, "background": [0, 0, 0]}},
        sources=(Source("demo", "CC0-1.0", "nobody", 3),),
    )
    write_manifest(tmp_path, whole)
    assert read_manifest(tmp_path) == whole
    assert Manifest.from_json(whole.to_json()) == whole
    text = (tmp_path / "dataset.json").read_text(encoding="utf-8")
    assert text.endswith("\n}\n")
    assert '"ä"' in text


def test_the_format_page_describes_the_hash(tmp_path: Path) -> None:
    write_small(tmp_path, 3)
    document = json.loads((tmp_path / "dataset.json").read_bytes())
    stored = document.pop("hash")
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(text.encode()).hexdigest() == stored
