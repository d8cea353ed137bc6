"""`verify` reports damage anywhere, and reading reports it where it is read."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardwright import (
    DamageError,
    Field,
    Manifest,
    Problem,
    ShardDataset,
    ShardWriter,
    read_manifest,
    verify,
    write_manifest,
    write_shard,
    write_split,
)
from shardwright.format.index import write_index
from shardwright.format.walk_shard import MAX_DAMAGES
from tests.support.loader.sets import flip_bit
from tests.support.old_sets import make_old
from tests.support.shard_samples import KINDS, SMALL_FIELDS, find_member, make_samples
from tests.support.small_sets import write_set

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read-only."""
    return write_set(tmp_path_factory.mktemp("intact"), SMALL_FIELDS)


def test_an_intact_dataset_is_ok(intact: Path) -> None:
    report = verify(intact)
    assert report.ok
    assert (report.shards, report.samples) == (5, 26)
    assert report.bytes == sum(path.stat().st_size for path in intact.rglob("*.tar"))
    assert report.hash == read_manifest(intact).hash


@pytest.fixture(scope="module", params=[*KINDS, *(f"old {kind}" for kind in KINDS)])
def scratch(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set to damage in one place and to repair, many times."""
    root = write_set(tmp_path_factory.mktemp("scratch"), KINDS[request.param.removeprefix("old ")])
    return make_old(root) if request.param.startswith("old ") else root


@given(data=st.data())
@settings(max_examples=40)
def test_one_flipped_bit_anywhere_is_found(scratch: Path, data: st.DataObject) -> None:
    files = sorted(path for path in scratch.rglob("*") if path.is_file())
    path = data.draw(st.sampled_from(files))
    content = path.read_bytes()
    try:
        flip_bit(path, data.draw(st.integers(0, 8 * len(content) - 1)))
        report = verify(scratch)
    finally:
        path.write_bytes(content)
    assert not report.ok
    assert {problem.shard for problem in report.problems} == {str(path.relative_to(scratch))}


@given(st.integers(0, 5), st.integers(0, len(SMALL_FIELDS)), st.data())
@settings(max_examples=25)
def test_a_flipped_bit_in_a_member_is_named_when_it_is_read(
    scratch: Path, sample: int, member: int, data: st.DataObject
) -> None:
    manifest = read_manifest(scratch)
    shard, key = manifest.splits["train"].shards[1], f"train-{6 + sample:03d}"
    path = scratch / "train" / shard.name
    suffix = [*(f"{name}.{field.suffix}" for name, field in manifest.fields.items()), "meta.json"][member]
    start, size = find_member(path, f"{key}.{suffix}")
    content = path.read_bytes()
    try:
        flip_bit(path, 8 * start + data.draw(st.integers(0, 8 * size - 1)))
        with ShardDataset(scratch, "train") as damaged, pytest.raises(DamageError) as caught:
            damaged.meta(6 + sample) if member == len(SMALL_FIELDS) else damaged.gather(range(20))
        report = verify(scratch)
    finally:
        path.write_bytes(content)
    field = [*SMALL_FIELDS, "meta"][member]
    error = caught.value
    assert (error.shard, error.sample, error.field, error.offset) == (shard.name, key, field, start)
    assert [(problem.shard, problem.sample) for problem in report.problems] == [(f"train/{shard.name}", key)]
    assert report.problems[0].what.startswith(field)


@pytest.mark.parametrize("old", [False, True])
def test_repeated_keys_are_reported_with_the_last_index_that_has_them(tmp_path: Path, old: bool) -> None:
    """Nothing of this package writes such a set: its splits were joined by hand, with the right hashes."""
    samples = make_samples(4)
    folder = tmp_path / "train"
    folder.mkdir()
    parts = [samples[:3], samples[3:], samples[1:2]]
    written = [write_shard(folder / f"{n}.tar", SMALL_FIELDS, part) for n, part in enumerate(parts)]
    split = write_split(folder, SMALL_FIELDS, written[:2])
    sha256 = write_index(folder / written[2].record.index_name, written[2].index)
    joined = replace(split, shards=(*split.shards, replace(written[2].record, index_sha256=sha256)))
    write_manifest(tmp_path, Manifest(SMALL_FIELDS, {"train": joined}))
    if old:
        make_old(tmp_path)
    found = [(problem.shard, problem.sample, problem.what) for problem in verify(tmp_path).problems]
    index = "train/index.npy" if old else "train/2.index.npy"
    assert found == [(index, samples[1].key, "several samples have this key")]


def test_many_damages_are_counted(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "train", {"n": Field("int64", ())}) as writer:
        for n in range(MAX_DAMAGES + 20):
            writer.write(str(n), {"n": n})
    path = tmp_path / "train" / "train-000000.tar"
    content = np.fromfile(path, np.uint8)
    content[640:-1024:2048] ^= 1
    content.tofile(path)
    problems = verify(tmp_path).problems
    assert [problem.sample for problem in problems[:-1]] == [str(n) for n in range(MAX_DAMAGES)]
    assert problems[-1] == Problem("train/train-000000.tar", None, "20 more damages")


def test_verify_needs_a_folder(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match="nowhere"):
        verify(tmp_path / "nowhere")
