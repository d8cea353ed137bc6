"""Samples copied whole from cached shards: only matching ones, the same bytes, never a damaged one."""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.extract.make_shard import ShardAssembly
from pipeline.extract.params import ExtractParams
from pipeline.extract.reuse_samples import ShardFile
from pipeline.incremental.object_store import ROWS, ObjectStore
from pipeline.incremental.pack_index import DamagedError, encode_rows
from pipeline.tables.contracts import SHARDS_FOLDER
from pipeline.tables.drops import Outcome
from shardwright.format.encode import PlacedSample, Sample, ShardBuilder, encode_sample
from shardwright.format.field import Field
from shardwright.format.jpeg import encode_jpeg
from tests.support.factory_extract import Thing, make_params, make_things, run_extract, write_corpus
from tests.support.running import hash_files

pytestmark = pytest.mark.slow

LONG = "a caption that makes the meta of every sample in its shard longer " * 8


class Made:
    """The keys of the samples that were put together of their features since `clear`."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def clear(self) -> None:
        self.keys.clear()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    found, make = Made(), ShardAssembly._build_sample

    def count(self: ShardAssembly, at: int, sample: Any, meta: bytes) -> Any:
        found.keys.append(sample.key)
        return make(self, at, sample, meta)

    monkeypatch.setattr(ShardAssembly, "_build_sample", count)
    return found


def give_corpus(folder: Path, things: Sequence[Thing], params: ExtractParams) -> Outcome:
    """Extract a corpus in place of the one that was there."""
    shutil.rmtree(folder / "data", ignore_errors=True)
    write_corpus(folder / "data", things)
    return run_extract(folder, params)


def check_as_from_nothing(folder: Path, things: Sequence[Thing], params: ExtractParams) -> None:
    """The shards are those of a build without a cache."""
    other = folder / "nothing"
    shutil.rmtree(other, ignore_errors=True)
    give_corpus(other, things, params)
    assert hash_files(folder / "data" / SHARDS_FOLDER) == hash_files(other / "data" / SHARDS_FOLDER)


@pytest.mark.parametrize("store", ["tensor", "jpeg"])
@pytest.mark.parametrize("caption", ["red bird", LONG])
def test_a_new_sample_is_put_together_alone(store: str, caption: str, made: Made, tmp_path: Path) -> None:
    # Words as they are, without a count: what is learned stays as it was.
    params = make_params(shards=2, image__store=store, text__min_count=100)
    things, new = make_things(24), Thing("new", contents={"text": caption.encode()})
    give_corpus(tmp_path, things, params)
    assert len(made.keys) == 24
    made.clear()
    give_corpus(tmp_path, [*things, new], params)
    assert made.keys == ["new"]
    check_as_from_nothing(tmp_path, [*things, new], params)
    made.clear()
    give_corpus(tmp_path, things[3:], params)  # some are gone, and the long one
    assert made.keys == []
    check_as_from_nothing(tmp_path, things[3:], params)


def test_shards_that_are_cut_anew(made: Made, tmp_path: Path) -> None:
    things = make_things(24)
    for shards, count in ((1, 24), (4, 0), (2, 0)):
        made.clear()
        params = make_params(shards=shards)
        give_corpus(tmp_path, things, params)
        assert len(made.keys) == count
        check_as_from_nothing(tmp_path, things, params)


def test_what_another_setting_makes_is_not_taken(made: Made, tmp_path: Path) -> None:
    things = make_things(12)
    give_corpus(tmp_path, things, make_params(shards=1))
    made.clear()
    params = make_params(shards=1, audio__coefficients=9)
    give_corpus(tmp_path, things, params)
    assert len(made.keys) == 12
    check_as_from_nothing(tmp_path, things, params)


@pytest.mark.parametrize("offset", [5, 140, 600, 2100, -3000])
def test_a_damaged_one_is_put_together_again(offset: int, made: Made, tmp_path: Path) -> None:
    params, things = make_params(shards=1, text__min_count=100), make_things(12)
    give_corpus(tmp_path, things, params)
    for path in (tmp_path / "cache/objects").glob("*.tar"):
        content = bytearray(path.read_bytes())
        content[offset] ^= 1
        path.unlink()  # one inode is the published shard too
        path.write_bytes(content)
    made.clear()
    outcome = give_corpus(tmp_path, [*things, Thing("new")], params)
    assert 1 < len(made.keys) <= 4  # a sample of each split's shard at most, and the new one
    assert any("damaged objects" in note for note in outcome.notes)
    check_as_from_nothing(tmp_path, [*things, Thing("new")], params)


def test_shards_that_another_version_kept_are_no_trouble(made: Made, tmp_path: Path) -> None:
    params, things = make_params(shards=1), make_things(12)
    give_corpus(tmp_path, things, params)
    objects = ObjectStore(tmp_path / "cache", tmp_path / "cache/work")
    for name in objects.list_names():
        if name.endswith(".tar"):
            rows = replace(objects.read_rows(name), about={}, extra=b"")
            (objects.folder / f"{name}{ROWS}").write_bytes(encode_rows(rows))
    made.clear()
    outcome = give_corpus(tmp_path, [*things, Thing("new")], params)
    assert len(made.keys) == 13
    assert any(note.startswith("features: 36 reused, 3 computed") for note in outcome.notes)
    check_as_from_nothing(tmp_path, [*things, Thing("new")], params)


TABLE = {"numbers": Field("float32", (3,)), "count": Field("int64", ())}
ALBUM = {**TABLE, "picture": Field("uint8", (8, 8, 3), "HWC", encoding="jpeg")}
FIELDS = st.sampled_from([TABLE, ALBUM])


def build_shard(fields: dict[str, Field], meta_bytes: int) -> tuple[bytes, ShardBuilder]:
    """A shard of three samples whose metas are padded to so many bytes, and what built it."""
    builder, noise = ShardBuilder(fields, meta_bytes), np.random.default_rng(0)
    samples = []
    for key in ("one", "two", "three"):
        arrays: dict[str, object] = {"numbers": np.ones(3, np.float32), "count": len(key)}
        if "picture" in fields:
            arrays["picture"] = encode_jpeg(noise.integers(0, 256, (8, 8, 3), np.uint8), 90)
        samples.append(encode_sample(fields, Sample(key, arrays, {"name": key})))
    return b"".join(builder.build(samples)), builder


def read_shard(content: bytes, fields: dict[str, Field], builder: ShardBuilder) -> list[PlacedSample | None]:
    """The samples of a shard with this content; None for one that is damaged."""

    def read(file: ShardFile, row: int) -> PlacedSample | None:
        try:
            return file.read(row)
        except DamagedError:
            return None

    with tempfile.TemporaryFile() as opened:
        opened.write(content)
        opened.flush()
        file = ShardFile(opened.fileno(), fields, builder.meta_bytes, builder.finish_index(), builder.frames)
        return [read(file, row) for row in range(3)]


@given(fields=FIELDS, where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
def test_no_byte_of_a_sample_changes_unseen(fields: dict[str, Field], where: float, bit: int, cut: bool) -> None:
    content, builder = build_shard(fields, 40)
    whole = read_shard(content, fields, builder)
    ends = np.cumsum([len(sample.data) for sample in whole if sample is not None])
    place = int(where * len(content))
    spoiled = bytearray(content[:place] if cut else content)
    if not cut:
        spoiled[place] ^= 1 << bit
    hit = int(np.searchsorted(ends, place, "right"))
    lost = range(hit, 3) if cut else range(hit, min(hit + 1, 3))  # what follows the samples is not looked at
    expected = [None if row in lost else sample for row, sample in enumerate(whole)]
    assert read_shard(bytes(spoiled), fields, builder) == expected


@given(fields=FIELDS, meta_bytes=st.integers(20, 700))
def test_what_is_read_makes_the_same_shard(fields: dict[str, Field], meta_bytes: int) -> None:
    content, builder = build_shard(fields, 40)
    wanted, other = build_shard(fields, meta_bytes)
    with tempfile.TemporaryFile() as opened:
        opened.write(content)
        opened.flush()
        file = ShardFile(opened.fileno(), fields, 40, builder.finish_index(), builder.frames)
        again, apart = ShardBuilder(fields, 40), ShardBuilder(fields, meta_bytes)
        assert b"".join(again.build(map(file.read, range(3)))) == content
        assert b"".join(apart.build(map(file.read_apart, range(3)))) == wanted
    for made, first in ((again, builder), (apart, other)):
        assert made.frames == first.frames
        assert np.array_equal(made.finish_index(), first.finish_index())
