"""Samples copied whole from cached shards: only matching ones, the same bytes, never a damaged one."""

import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.extract.assemble_shard import ShardAssembly
from pipeline.extract.cached_shards import SAMPLE, BuiltShard, CachedSamples, describe_shard
from pipeline.extract.params import ExtractParams
from pipeline.extract.plan_fields import FieldPlan
from pipeline.incremental.object_store import ROWS, ObjectStore
from pipeline.incremental.pack_index import encode_rows
from pipeline.tables.contracts import SHARDS_FOLDER
from pipeline.tables.drops import Outcome
from shardwright.format.encode import EncodedSample, PlacedSample, Sample, ShardBuilder, WrittenShard, encode_sample
from shardwright.format.field import Field
from shardwright.format.jpeg import encode_jpeg
from shardwright.format.manifest import ShardRecord
from tests.support.factory_extract import Thing, make_params, make_things, run_extract, write_corpus
from tests.support.running import hash_files

pytestmark = pytest.mark.slow

ONE_SHARD = make_params(shards=1, text__min_count=100)
"""Of each split; words as they are, without a count: what is learned stays as it was."""

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

    def count(self: ShardAssembly, at: int, sample: Any) -> Any:
        found.keys.append(sample.key)
        return make(self, at, sample)

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


@pytest.mark.parametrize(("store", "caption"), [("tensor", LONG), ("jpeg", "red bird")])
def test_a_new_sample_is_put_together_alone(store: str, caption: str, made: Made, tmp_path: Path) -> None:
    # Words as they are, without a count: what is learned stays as it was.
    params = make_params(shards=2, image__store=store, text__min_count=100)
    things, new = make_things(12), Thing("new", contents={"text": caption.encode()})
    give_corpus(tmp_path, things, params)
    assert len(made.keys) == 12
    made.clear()
    give_corpus(tmp_path, [*things, new], params)
    assert made.keys == ["new"]
    check_as_from_nothing(tmp_path, [*things, new], params)
    made.clear()
    give_corpus(tmp_path, things[3:], params)  # some are gone, and the long one
    assert made.keys == []
    check_as_from_nothing(tmp_path, things[3:], params)


def test_shards_that_are_cut_anew(made: Made, tmp_path: Path) -> None:
    things = make_things(12)
    for shards, count in ((1, 12), (4, 0), (2, 0)):
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


@pytest.fixture(scope="module")
def twelve(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which twelve samples were extracted; for reading only."""
    folder = tmp_path_factory.mktemp("twelve")
    give_corpus(folder, make_things(12), ONE_SHARD)
    return folder


@pytest.fixture(scope="module")
def thirteen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The hashes of the shards of those and a new one, built from nothing."""
    folder = tmp_path_factory.mktemp("thirteen")
    give_corpus(folder, [*make_things(12), Thing("new")], ONE_SHARD)
    return hash_files(folder / "data" / SHARDS_FOLDER)


@pytest.mark.parametrize("offset", [5, 140, 600, 2100, -3000])
def test_a_damaged_one_is_put_together_again(
    offset: int, twelve: Path, thirteen: dict[str, str], made: Made, tmp_path: Path
) -> None:
    shutil.copytree(twelve / "cache", tmp_path / "cache")
    for path in (tmp_path / "cache/objects").glob("*.tar"):
        content = bytearray(path.read_bytes())
        content[offset] ^= 1
        path.write_bytes(content)
    outcome = give_corpus(tmp_path, [*make_things(12), Thing("new")], ONE_SHARD)
    assert 1 < len(made.keys) <= 4  # a sample of each split's shard at most, and the new one
    assert any("damaged objects" in note for note in outcome.notes)
    assert hash_files(tmp_path / "data" / SHARDS_FOLDER) == thirteen


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
ALBUM = {**TABLE, "photo": Field("uint8", (8, 8, 3), "HWC", encoding="jpeg")}
FIELDS = st.sampled_from([TABLE, ALBUM])


KEYS = ("one", "two", "three")
ASSEMBLY = bytes(32)


def build_shard(fields: dict[str, Field], meta_bytes: int) -> tuple[bytes, ShardBuilder, list[int]]:
    """A shard of three samples whose metas are padded to so many bytes, what built it, and their own bytes."""
    builder, noise = ShardBuilder(fields, meta_bytes), np.random.default_rng(0)
    samples = []
    for key in KEYS:
        arrays: dict[str, object] = {"numbers": np.ones(3, np.float32), "count": len(key)}
        if "photo" in fields:
            arrays["photo"] = encode_jpeg(noise.integers(0, 256, (8, 8, 3), np.uint8), 90)
        samples.append(encode_sample(fields, Sample(key, arrays, {"name": key})))
    return b"".join(builder.build(samples)), builder, [len(sample.meta) for sample in samples]


@contextmanager
def open_samples(content: bytes, fields: dict[str, Field], meta_bytes: int) -> Iterator[CachedSamples]:
    """The samples of such a shard in a cache, which gets this content once it is open."""
    whole, builder, metas = build_shard(fields, meta_bytes)
    samples = np.zeros(3, SAMPLE)
    samples["key"] = [list(cache_key(key)) for key in KEYS]
    samples["meta"], samples["frame"] = metas, builder.frames
    record = ShardRecord("shard.tar", 3, len(whole), meta_bytes, hashlib.sha256(whole).hexdigest())
    plan = FieldPlan(fields, {}, {}, {}, (), None)
    shard = BuiltShard(WrittenShard(record, builder.finish_index()))
    with tempfile.TemporaryDirectory() as folder:
        objects, path = ObjectStore(Path(folder), Path(folder)), Path(folder) / "shard.tar"
        path.write_bytes(whole)
        objects.adopt(path.name, path, describe_shard(plan, ASSEMBLY, shard, samples, []))
        with CachedSamples(objects, [path.name], plan, b"another assembly".ljust(32)) as others:
            assert [others.measure_meta(cache_key(key)) for key in KEYS] == [None] * 3
        with CachedSamples(objects, [path.name], plan, ASSEMBLY) as cached:
            path.write_bytes(content)
            yield cached


def cache_key(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


@given(fields=FIELDS, where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
def test_no_byte_of_a_sample_changes_unseen(fields: dict[str, Field], where: float, bit: int, cut: bool) -> None:
    content, _, _ = build_shard(fields, 40)
    with open_samples(content, fields, 40) as cached:
        whole = [cached.read(cache_key(key), 40) for key in KEYS]
        assert not cached.damaged
    ends = np.cumsum([len(sample.data) for sample in whole if isinstance(sample, PlacedSample)])
    assert len(ends) == 3
    place = int(where * len(content))
    spoiled = bytearray(content[:place] if cut else content)
    if not cut:
        spoiled[place] ^= 1 << bit
    hit = int(np.searchsorted(ends, place, "right"))
    lost = range(hit, 3) if cut else range(hit, min(hit + 1, 3))  # what follows the samples is not looked at
    with open_samples(bytes(spoiled), fields, 40) as cached:
        found = [cached.read(cache_key(key), 40) for key in KEYS]
    assert cached.damaged == ({"shard.tar"} if len(lost) else set())
    assert found == [None if row in lost else sample for row, sample in enumerate(whole)]


@given(fields=FIELDS, meta_bytes=st.integers(20, 700))
def test_what_is_read_makes_the_same_shard(fields: dict[str, Field], meta_bytes: int) -> None:
    """With metas of the same length, and of another one."""
    content, builder, metas = build_shard(fields, 40)
    wanted, other, _ = build_shard(fields, meta_bytes)
    with open_samples(content, fields, 40) as cached:
        assert [cached.measure_meta(cache_key(key)) for key in KEYS] == metas
        again, apart = ShardBuilder(fields, 40), ShardBuilder(fields, meta_bytes)
        assert b"".join(again.build(read_all(cached, 40))) == content
        assert b"".join(apart.build(read_all(cached, meta_bytes))) == wanted
    for made, first in ((again, builder), (apart, other)):
        assert made.frames == first.frames
        assert np.array_equal(made.finish_index(), first.finish_index())


def read_all(cached: CachedSamples, meta_bytes: int) -> Iterator[PlacedSample | EncodedSample]:
    for key in KEYS:
        sample = cached.read(cache_key(key), meta_bytes)
        assert sample is not None
        yield sample
