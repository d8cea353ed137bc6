"""The index of WebDataset shards: built once, found again, refused if it or the shards have changed."""

import contextlib
import hashlib
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shardwright import DamageError, FormatError, ShardDataset
from shardwright.webdataset.build_index import BESIDE, Indexing, index_shards
from shardwright.webdataset.index_file import read_index_file, write_index_file
from shardwright.webdataset.index_table import MemberIndex
from tests.support.webdataset_tars import (
    find_index,
    folder,
    list_warnings,
    make_mixed,
    make_npy,
    make_small,
    make_tar,
    overwrite,
    read_all,
    user_cache,
    write_shards,
)

__all__ = ["folder", "user_cache"]

OPEN = ShardDataset.from_webdataset


def count_reads(seen: list[str]) -> Indexing:
    return Indexing(report=lambda shard: seen.append(shard.name))


def test_the_index_is_built_once(folder: Path, user_cache: Path) -> None:
    seen: list[str] = []
    for _ in range(3):
        with OPEN(folder, indexing=count_reads(seen)) as data:
            assert len(data) == 12
    assert seen == ["shard-000.tar", "shard-001.tar", "shard-002.tar"]
    assert find_index(user_cache).stat().st_size < 5000
    assert user_cache.stat().st_mode & 0o777 == 0o700
    assert not (folder / BESIDE).exists()


def test_an_index_beside_the_shards_moves_with_them(folder: Path, user_cache: Path, tmp_path: Path) -> None:
    for urls in (folder, folder / "shard-{000..001}.tar", [folder / "shard-002.tar"]):
        index_shards(urls, beside=True)
    moved = folder.rename(tmp_path / "elsewhere")
    seen: list[str] = []
    for name, count in [(".", 12), ("shard-{000..001}.tar", 8)]:
        with OPEN(os.path.join(moved, name), indexing=count_reads(seen)) as data:  # noqa: PTH118 (Path drops ".")
            assert len(data) == count
    with OPEN([moved / "shard-002.tar"], indexing=count_reads(seen)) as data:
        assert len(data) == 4
    assert not seen
    assert not user_cache.exists()


def test_a_cache_folder_given_by_the_user(folder: Path, user_cache: Path, tmp_path: Path) -> None:
    seen: list[str] = []
    index_shards(folder, cache=tmp_path / "mine", indexing=count_reads(seen))
    with OPEN(folder, cache=tmp_path / "mine", indexing=count_reads(seen)):
        assert len(seen) == 3
    assert not user_cache.exists()


def test_only_new_shards_are_read(folder: Path) -> None:
    index_shards(folder)
    overwrite(folder / "shard-000.tar", 0, b"x" * 512)  # reading it would fail
    (folder / "shard-003.tar").write_bytes(make_tar([("new.npy", make_npy(np.int8(1))), ("new.txt", b"x")]))
    with pytest.raises(
        DamageError, match=r"shard-003.tar is new; if this is intended, index the shards again by index_shards"
    ):
        OPEN(folder)
    assert len(index_shards(folder).table) == 13
    with OPEN(folder) as data:
        assert len(data) == 13
        assert data.fields == {}  # the new array has another form
        assert data[12]["key"] == "new"
    with pytest.raises(FormatError, match=r"shard-000.tar: at byte 0: .*first header is damaged"):
        index_shards(folder, reread=True)


def test_an_interrupted_indexing_resumes(folder: Path, user_cache: Path) -> None:
    def stop(shard: Any) -> None:
        if shard.name == "shard-001.tar":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        OPEN(folder, indexing=Indexing(report=stop, threads=0))
    assert len(list(user_cache.glob("*.parts/*"))) == 2
    overwrite(folder / "shard-000.tar", 0, b"x" * 512)
    with OPEN(folder) as data:
        assert len(data) == 12
    assert [path.suffix for path in user_cache.iterdir()] == [".index"]


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_threads_change_nothing(folder: Path, threads: int) -> None:
    index = index_shards(folder, indexing=Indexing(threads=threads))
    assert [shard.name for shard in index.shards] == ["shard-000.tar", "shard-001.tar", "shard-002.tar"]
    assert [index.table.read_key(row) for row in range(12)] == [b"k%d" % n for n in range(12)]


def test_the_index_of_one_shard_taken_from_the_whole(folder: Path, tmp_path: Path) -> None:
    (folder / "shard-003.tar").write_bytes(make_tar([]))
    (folder / "shard-004.tar").write_bytes(make_tar([("odd.bin", b"1")]))
    whole = index_shards(folder)
    for number, shard in enumerate(whole.shards):
        write_index_file(tmp_path / "part", whole.take_shard(number))
        alone = read_index_file(tmp_path / "part")
        again = index_shards([folder / shard.name], cache=tmp_path / "cache")
        assert alone.shards == again.shards
        assert alone.suffixes == again.suffixes
        for name in ("keys", "key_ends", "faults", "offsets", "sizes", "crc32"):
            np.testing.assert_array_equal(getattr(alone.table, name), getattr(again.table, name))


def test_any_damage_to_the_index_is_noticed(
    folder: Path, user_cache: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with OPEN(folder) as data:
        expected, name = read_all(data), data.hash
    path = find_index(user_cache)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    damages: list[bytes] = [b"", b"x", content[:-1], content + b"\0", content[: len(content) // 2]]
    for bit in rng.integers(0, 8 * len(content), 100).tolist():
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        damages.append(bytes(changed))
    for damaged in damages:
        path.write_bytes(damaged)
        caplog.clear()
        with OPEN(folder) as data:
            assert (data.hash, read_all(data)) == (name, expected)
        notes = list_warnings(caplog)
        if not (len(damaged) == len(content) and damaged[:93] == content[:93] and damaged[128:] == content[128:]):
            assert len(notes) == 1
            assert "the shards are indexed again" in notes[0]
        assert path.read_bytes()[:93] == content[:93]


WRONG_INDEXES: dict[str, Callable[[MemberIndex], Any]] = {
    "beyond its shard": lambda index: index.table.offsets.__setitem__((3, 0), 512 * 10**6),
    "beyond all": lambda index: index.table.offsets.__setitem__((11, 1), 2**62),
    "too long": lambda index: index.table.sizes.__setitem__((11, 1), 10**6),
    "longer than all": lambda index: index.table.sizes.__setitem__((0, 0), 2**63 - 1),
    "below nothing": lambda index: index.table.sizes.__setitem__((0, 0), -1),
    "before its shard": lambda index: index.table.offsets.__setitem__((5, 0), -512),
    "between blocks": lambda index: index.table.offsets.__setitem__((5, 0), 513),
    "nowhere": lambda index: index.table.offsets.__setitem__(5, -1),
    "one over another": lambda index: index.table.offsets.__setitem__(6, index.table.offsets[5]),
    "keys backwards": lambda index: index.table.key_ends.__setitem__(5, 0),
    "keys beyond": lambda index: index.table.key_ends.__setitem__(11, 10**6),
}


@pytest.mark.parametrize("wrong", WRONG_INDEXES)
def test_offsets_outside_of_the_shards_are_refused(
    folder: Path, caplog: pytest.LogCaptureFixture, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an index of unknown origin with a correct sha256: no byte outside of the shards is ever read."""
    index = index_shards(folder, beside=True)
    path = find_index(folder / BESIDE)
    WRONG_INDEXES[wrong](index)
    write_index_file(path, index)
    with pytest.raises(DamageError, match="offsets outside of the shards"):
        read_index_file(path)
    with OPEN(folder) as data:
        assert read_all(data)[11] == ("k11", [11] * 3, "11" * 11)
    assert len(list_warnings(caplog)) == 1


def test_an_index_with_any_text(folder: Path) -> None:
    """Any JSON text with a correct sha256 is accepted as an index of this version, or refused."""
    path = find_index(make_index(folder))
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(300):
        changed = bytearray(content)
        for _ in range(int(rng.integers(1, 4))):
            changed[int(rng.integers(128, 128 + 21 + 900))] = int(rng.choice(list(b'0123456789-{}[],:"afx\x00')))
        digest = hashlib.sha256(changed[128:]).hexdigest().encode()
        path.write_bytes(changed[:28] + digest + changed[92:])
        with contextlib.suppress(DamageError, FormatError):
            assert len(read_index_file(path).table) >= 0


def make_index(folder: Path) -> Path:
    index_shards(folder, beside=True)
    return folder / BESIDE


def test_wrong_offsets_inside_the_shards_are_found(folder: Path) -> None:
    index = index_shards(folder, beside=True)
    index.table.offsets[3, 1] = index.table.offsets[2, 1]
    index.table.offsets[2, 1] = index.table.offsets[2, 0]
    index.table.sizes[2, 0] = 0
    index.table.offsets[3, 0] = index.table.offsets[3, 1]
    index.table.sizes[3] = 1
    write_index_file(find_index(folder / BESIDE), index)
    with OPEN(folder) as data:
        for row in (2, 3):
            with pytest.raises(DamageError, match=r"its crc32 is|NPY files of this form have"):
                data[row]


CHANGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (lambda f: (f / "shard-001.tar").unlink(), "shard-001.tar is missing"),
    "extra": (lambda f: shutil.copy(f / "shard-001.tar", f / "shard-009.tar"), "shard-009.tar is new"),
    "renamed": (lambda f: (f / "shard-001.tar").rename(f / "shard-005.tar"), "shard-001.tar is missing"),
    "cut": (lambda f: os.truncate(f / "shard-001.tar", 3000), "shard-001.tar has 3000 bytes; it had"),
    "longer": (
        lambda f: (f / "shard-001.tar").write_bytes((f / "shard-001.tar").read_bytes() + bytes(512)),
        r"shard-001.tar has \d+ bytes; it had",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_shards_are_refused(folder: Path, change: str) -> None:
    index_shards(folder)
    spoil, found = CHANGES[change]
    spoil(folder)
    with pytest.raises(DamageError, match=found) as error:
        OPEN(folder)
    assert "`shardwright index`" in str(error.value)
    assert error.value.shard == found.split(" ")[0].rstrip(":")


def test_one_of_a_pattern_is_missing(folder: Path) -> None:
    pattern = folder / "shard-{000..002}.tar"
    index_shards(pattern)
    (folder / "shard-001.tar").unlink()
    with pytest.raises(DamageError, match=r"shard-001.tar is missing"):
        OPEN(pattern)


def test_shards_that_were_swapped(folder: Path) -> None:
    """They have one size, so that only the delivered samples show it."""
    samples = make_small(30)
    write_shards(folder, [samples[10:14], samples[14:18], samples[18:22]])
    index_shards(folder)
    (folder / "shard-000.tar").rename(folder / "x")
    (folder / "shard-001.tar").rename(folder / "shard-000.tar")
    (folder / "x").rename(folder / "shard-001.tar")
    with OPEN(folder) as data:
        assert data[9]["key"] == "k19"
        for row in range(8):
            with pytest.raises(DamageError, match=r"crc32.*the shard was changed after it was indexed.*index_shards"):
                data[row]
        assert [error.shard for error in data.verify()] == ["shard-000.tar", "shard-001.tar"]


def test_a_copy_uses_the_index_beside_it(folder: Path, tmp_path: Path) -> None:
    """Its times and inodes differ, its bytes do not."""
    index_shards(folder, beside=True)
    copied = shutil.copytree(folder, tmp_path / "copy", copy_function=shutil.copyfile)
    seen: list[str] = []
    with OPEN(copied, indexing=count_reads(seen)) as data:
        assert read_all(data)[4] == ("k4", [4, 4, 4], "4444")
        assert not seen
        assert data.verify() == []


def test_an_index_that_cannot_be_written(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    blocked = tmp_path / "a-file"
    blocked.write_bytes(b"")
    with OPEN(folder, cache=blocked / "cache") as data:
        assert len(read_all(data)) == 12
    assert "cannot be written" in list_warnings(caplog)[-1]
    with pytest.raises(OSError, match="a-file"):
        index_shards(folder, cache=blocked / "cache")


def test_a_cache_that_others_may_write_to_is_not_used(
    folder: Path, user_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    user_cache.mkdir(parents=True)
    user_cache.chmod(0o777)
    with OPEN(folder) as data:
        assert len(data) == 12
    assert "others may write to the cache" in list_warnings(caplog)[0]
    assert not list(user_cache.iterdir())


def test_no_home_folder(folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "")
    monkeypatch.setattr(Path, "home", refuse_home)
    with OPEN(folder) as data:
        assert len(data) == 12
    assert "no home folder" in list_warnings(caplog)[0]


def refuse_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_opening_does_not_read_the_shards(folder: Path) -> None:
    expected = index_shards(folder)
    for number in range(3):
        size = (folder / f"shard-{number:03d}.tar").stat().st_size
        overwrite(folder / f"shard-{number:03d}.tar", 0, bytes(size))
    with OPEN(folder) as data:
        assert (len(data), data.index.shards) == (12, expected.shards)


def test_the_index_file_keeps_suffixes_of_each_type(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "set", [make_mixed(3, np.random.default_rng(0))])
    first = index_shards(folder)
    with OPEN(folder) as data:
        assert data.index.suffixes == first.suffixes
        assert replace(data.index, table=first.table) == first
