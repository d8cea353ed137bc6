"""Compressed shards: decompressed once and by permission, to their last byte, into copies that are checked."""

import contextlib
import gzip
import os
import pickle
import shutil
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard

from shardwright import DamageError, FormatError, Indexing, Limits, Loader, ShardDataset, index_shards
from shardwright.cli.main import main
from shardwright.webdataset.decompressed_copies import FOLDER
from tests.support.webdataset_tars import (
    folder,
    list_warnings,
    make_npy,
    make_small,
    measure_peak,
    overwrite,
    read_all,
    user_cache,
    write_shards,
)

__all__ = ["folder", "user_cache"]

OPEN = ShardDataset.from_webdataset


def pack_zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def cut(pack: Callable[[bytes], bytes], data: bytes) -> bytes:
    """Compress the parts of a shard by themselves, as parallel writers do."""
    return b"".join(pack(data[at : at + 3000]) for at in range(0, len(data), 3000))


def pack_as_pzstd(data: bytes) -> bytes:
    """Frames, before each a skippable one."""
    return b"".join(
        struct.pack("<III", 0x184D2A50, 4, 7) + pack_zstd(data[at : at + 3000]) for at in range(0, len(data), 3000)
    )


FORMS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": (".tar.gz", gzip.compress),
    "tgz": (".tgz", lambda data: gzip.compress(data, 1)),
    "gzip members": (".tar.gz", lambda data: cut(gzip.compress, data)),
    "gzip with padding": (".tar.gz", lambda data: gzip.compress(data) + bytes(10_000)),
    "zstd": (".tar.zst", pack_zstd),
    "zstd frames": (".tzst", lambda data: cut(pack_zstd, data)),
    "pzstd": (".tar.zst", pack_as_pzstd),
    "zstd of unknown size": (".tar.zst", lambda data: stream_zstd(data)),
    "not compressed": (".tar.gz", lambda data: data),
}


def stream_zstd(data: bytes) -> bytes:
    writer = zstandard.ZstdCompressor().compressobj()
    return bytes(writer.compress(data) + writer.flush())


def pack_folder(folder: Path, form: str = "gzip") -> Path:
    """Return another folder with the same shards, compressed."""
    ending, pack = FORMS[form]
    packed = folder.with_name("packed")
    packed.mkdir()
    for path in sorted(folder.glob("*.tar")):
        (packed / f"{path.stem}{ending}").write_bytes(pack(path.read_bytes()))
    return packed


def list_copies(cache: Path) -> list[Path]:
    return sorted((cache.parent / FOLDER).glob("*.tar"))


@pytest.mark.parametrize("form", FORMS)
def test_compressed_shards_are_read_like_plain_ones(folder: Path, user_cache: Path, form: str) -> None:
    with OPEN(folder) as plain:
        expected = read_all(plain)
    packed = pack_folder(folder, form)
    for _ in range(2):
        with OPEN(packed, decompress=True) as data:
            assert read_all(data) == expected
            assert [key for batch in Loader(data, 4, shuffle=True) for key in batch["key"]] != []
            assert data.verify() == []
            assert data.find_shard(5) == f"shard-001{FORMS[form][0]}"
            assert read_all(pickle.loads(pickle.dumps(data))) == expected
    assert len(list_copies(user_cache)) == (0 if form == "not compressed" else 3)


@pytest.mark.parametrize("form", ["gzip", "zstd"])
def test_without_permission_the_error_says_how_to_allow_it(folder: Path, user_cache: Path, form: str) -> None:
    packed = pack_folder(folder, form)
    path = next(packed.iterdir())
    with pytest.raises(
        FileNotFoundError, match=r"contains no \.tar file; shard-000\.\S+ is compressed: decompress=True"
    ):
        OPEN(packed)
    for _ in range(2):
        with pytest.raises(FormatError, match=rf"{path.name}: it is compressed with {form}, .*decompress=True"):
            OPEN(path)
        OPEN(path, decompress=True).close()  # its index and copy are there from now on
    path.rename(path.with_name("named.tar"))
    with pytest.raises(FormatError, match=rf"it is compressed with {form}, .*decompress=True"):
        OPEN(path.with_name("named.tar"))


def test_each_shard_is_decompressed_once(folder: Path, user_cache: Path) -> None:
    packed = pack_folder(folder)
    OPEN(packed, decompress=True).close()
    before = {path: path.stat() for path in list_copies(user_cache)}
    OPEN(packed, decompress=True).close()
    moved = shutil.copytree(packed, packed.with_name("moved"), copy_function=shutil.copyfile)
    index_shards(moved, decompress=True)
    (moved / "shard-001.tar.gz").touch()
    OPEN(moved, decompress=True).close()
    assert {path: path.stat().st_mtime_ns for path in list_copies(user_cache)} == {
        path: found.st_mtime_ns for path, found in before.items()
    }
    assert not [path for path in list_copies(user_cache)[0].parent.iterdir() if path.suffix == ".partial"]


def test_a_cache_folder_given_by_the_user(folder: Path, user_cache: Path, tmp_path: Path) -> None:
    with OPEN(pack_folder(folder), decompress=True, cache=tmp_path / "mine") as data:
        assert len(data) == 12
    assert len(list((tmp_path / "mine" / FOLDER).glob("*.tar"))) == 3
    assert not user_cache.parent.exists()


@pytest.mark.parametrize("form", ["gzip", "gzip members", "zstd", "zstd frames", "pzstd"])
def test_no_cut_gives_a_shorter_shard(tmp_path: Path, form: str) -> None:
    """The compressed data ends early, or the tar lacks its end; only the zeros that pad a tar may be missing."""
    tar = (write_shards(tmp_path / "set", [make_small(3)]) / "shard-000.tar").read_bytes()
    whole = FORMS[form][1](tar)
    path = tmp_path / "cut.tar.gz"
    for size in [*range(0, len(whole) - 60, 5), *range(len(whole) - 60, len(whole))]:
        path.write_bytes(whole[:size])
        try:
            with OPEN(path, decompress=True, cache=tmp_path / f"{size}") as data:
                assert [sample["txt"] for sample in data] == ["", "1", "22"]
        except (DamageError, FormatError) as error:
            found = error
        else:
            assert "members" in form or "frames" in form or form == "pzstd"
            continue
        assert str(path) in str(found)
        assert size < 8 or isinstance(found, DamageError)
    assert not list(tmp_path.glob("*/*/.*.partial"))


@pytest.mark.parametrize("form", ["gzip", "zstd"])
def test_flipped_bits_are_damage_or_change_nothing(tmp_path: Path, form: str) -> None:
    folder = write_shards(tmp_path / "set", [make_small(4)])
    with OPEN(folder) as plain:
        expected = read_all(plain)
    whole = FORMS[form][1]((folder / "shard-000.tar").read_bytes())
    path = tmp_path / "flipped.tar.gz"
    found: list[DamageError] = []
    for bit in np.random.default_rng(0).integers(64, 8 * len(whole), 60).tolist():
        spoilt = bytearray(whole)
        spoilt[bit // 8] ^= 1 << bit % 8
        path.write_bytes(spoilt)
        try:
            with OPEN(path, decompress=True, cache=tmp_path / f"{bit}") as data:
                assert read_all(data) == expected  # a flip of the time in a header
        except DamageError as error:
            found.append(error)
    assert all((error.shard, str(path) in str(error)) == (path.name, True) for error in found)
    assert len(found) > 50


@pytest.mark.parametrize("tail", [b"x", b"\x1f\x8b", b"\0\0x", bytes(5000) + b"more"])
@pytest.mark.parametrize("form", ["gzip", "zstd"])
def test_bytes_after_the_end_are_damage(folder: Path, form: str, tail: bytes) -> None:
    path = next(iter(sorted(pack_folder(folder, form).iterdir())))
    path.write_bytes(path.read_bytes() + tail)
    with pytest.raises(DamageError, match=rf"{path.name}: its {form} data "):
        OPEN(path, decompress=True)


@pytest.mark.parametrize("form", ["gzip", "zstd", "zstd of unknown size"])
def test_bombs_end_at_the_limit(tmp_path: Path, user_cache: Path, form: str) -> None:
    path = tmp_path / "bomb.tar.gz"
    path.write_bytes(FORMS[form][1](bytes(200_000_000)))
    limits = Limits(decompressed_bytes=1_000_000)

    def read() -> None:
        with pytest.raises(FormatError, match=r"bomb.tar.gz: .*Limits.decompressed_bytes allows \(1000000\)"):
            OPEN(path, decompress=True, indexing=Indexing(limits=limits))

    assert measure_peak(read) < 220_000_000
    assert not [path for path in (user_cache.parent / FOLDER).iterdir() if path.suffix != ".lock"]


def test_a_changed_shard_gets_another_copy_and_is_refused(folder: Path, user_cache: Path) -> None:
    packed = pack_folder(folder)
    OPEN(packed, decompress=True).close()
    samples = [("k0", {"npy": make_npy(np.full(3, 7, np.int32)), "txt": b""}), *make_small()[1:4]]
    other = write_shards(folder.with_name("other"), [samples]) / "shard-000.tar"
    assert other.stat().st_size == (folder / "shard-000.tar").stat().st_size
    (packed / "shard-000.tar.gz").write_bytes(gzip.compress(other.read_bytes()))
    with pytest.raises(DamageError, match=r"shard-000.tar.gz decompresses to other bytes than when it was indexed"):
        OPEN(packed, decompress=True)
    index_shards(packed, decompress=True)
    with OPEN(packed, decompress=True) as data:
        assert data[0]["npy"].tolist() == [7] * 3
    assert len(list_copies(user_cache)) == 4
    (packed / "shard-002.tar.gz").unlink()
    with pytest.raises(DamageError, match=r"shard-002.tar.gz is missing"):
        OPEN(packed, decompress=True)


def test_damaged_copies_are_made_again(folder: Path, user_cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    packed = pack_folder(folder)
    with OPEN(packed, decompress=True) as data:
        expected = read_all(data)
    spoil: list[Callable[[Path], Any]] = [
        lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x"),
        lambda path: path.write_bytes(path.read_bytes() + b"\0"),
        lambda path: os.truncate(path, 700),
        lambda path: path.unlink(),
        lambda path: path.with_suffix(".json").write_bytes(b"{}"),
        lambda path: path.with_suffix(".json").write_bytes(b"[]"),
        lambda path: path.with_suffix(".json").write_bytes(
            path.with_suffix(".json").read_bytes().replace(b'"sha256":"', b'"sha256":"0')
        ),
        lambda path: shutil.rmtree(path.parent),
    ]
    for act in spoil:
        act(list_copies(user_cache)[1])
        with OPEN(packed, decompress=True) as data:
            assert read_all(data) == expected
            assert data.verify() == []
    assert len([line for line in list_warnings(caplog) if "is damaged; it is made again" in line]) == 3
    for path in list_copies(user_cache):
        path.touch()
    before = [path.stat().st_ino for path in list_copies(user_cache)]
    OPEN(packed, decompress=True).close()
    assert [path.stat().st_ino for path in list_copies(user_cache)] == before


def test_bit_rot_in_a_copy_is_never_delivered(folder: Path, user_cache: Path) -> None:
    packed = pack_folder(folder)
    with OPEN(packed, decompress=True) as data:
        expected, offset = read_all(data), int(data.index.table.offsets[4, 0])
    copies = {path.read_bytes(): path for path in list_copies(user_cache)}
    copy = copies[(folder / "shard-001.tar").read_bytes()]
    overwrite(copy, offset + 130, b"?")
    with OPEN(packed, decompress=True) as data:
        with pytest.raises(DamageError, match=rf"shard-001.tar.gz: sample 'k4', .*crc32.*copy {copy}: remove that"):
            data[4]
        assert [error.shard for error in data.verify()] == ["shard-001.tar.gz"]
    copy.unlink()
    with OPEN(packed, decompress=True) as data:
        assert read_all(data) == expected


def open_and_count(packed: Path) -> int:
    with OPEN(packed, decompress=True) as data:
        return len(read_all(data))


@pytest.mark.slow
def test_processes_and_threads_at_once(folder: Path, user_cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    packed = pack_folder(folder, "zstd")
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(open_and_count, [packed] * 4)) == [12] * 4
    shutil.rmtree(user_cache.parent)
    with get_context("spawn").Pool(3) as pool:
        assert pool.map(open_and_count, [packed] * 3) == [12] * 3
    assert len(list_copies(user_cache)) == 3
    assert not list_warnings(caplog)


def test_what_a_killed_process_left_is_removed(folder: Path, user_cache: Path) -> None:
    packed = pack_folder(folder)
    OPEN(packed, decompress=True).close()
    copy = list_copies(user_cache)[0]
    leftover = copy.rename(copy.with_name(f".{copy.name}.0a1b2c3d.partial"))
    assert open_and_count(packed) == 12
    assert not leftover.exists()


def test_a_copy_that_cannot_be_written(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a-file").write_bytes(b"")
    with pytest.raises(OSError, match="a-file"):
        OPEN(pack_folder(folder), decompress=True, cache=tmp_path / "a-file" / "cache")


def test_other_formats_and_a_missing_library(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = pack_folder(folder, "zstd")
    path = packed / "other.tar.gz"
    path.write_bytes(b"BZh91AY")
    with pytest.raises(FormatError, match=r"compressed with bzip2, .*; decompress it to a plain \.tar"):
        OPEN(path, decompress=True)
    path.unlink()
    monkeypatch.setitem(__import__("sys").modules, "zstandard", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'shardwright\[zstd\]'"):
        OPEN(packed, decompress=True)


def test_a_folder_with_plain_and_compressed_shards(folder: Path) -> None:
    path = folder / "shard-000.tar"
    (folder / "shard-000.tar.gz").write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(FormatError, match=r"contains shard-000.tar and shard-000.tar.gz; name the shards"):
        OPEN(folder, decompress=True)
    path.unlink()
    with OPEN(folder, decompress=True) as data:
        assert data.gather(range(12))["key"] == [f"k{n}" for n in range(12)]


def test_the_command_decompresses(folder: Path, user_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = pack_folder(folder)
    assert main(["index", str(packed)]) == 2
    assert "decompress=True" in capsys.readouterr().err
    assert main(["index", str(packed), "--decompress"]) == 0
    assert "12 samples in 3 shards" in capsys.readouterr().out
    assert len(list_copies(user_cache)) == 3


@pytest.mark.parametrize(
    ("pattern", "keys"),
    [
        ("shard-000.tar::shard-002.tar", [0, 1, 2, 3, 8, 9, 10, 11]),
        ("shard-{001..002}.tar::shard-000.tar", [4, 5, 6, 7, 8, 9, 10, 11, 0, 1, 2, 3]),
        ("shard-{000,001}.tar::shard-*2.tar", list(range(12))),
    ],
)
def test_a_list_in_one_string(folder: Path, pattern: str, keys: list[int]) -> None:
    urls = "::".join(f"{folder}/{part}" for part in pattern.split("::"))
    for given in (urls, [urls]):
        with OPEN(given) as data:
            assert data.gather(range(len(data)))["key"] == [f"k{n}" for n in keys]


def test_lists_that_are_refused(folder: Path) -> None:
    for urls in (f"{folder}::", f"::{folder}", f"{folder}::::{folder}"):
        with pytest.raises(FormatError, match="has an empty part"):
            OPEN(urls)
    with pytest.raises(FormatError, match="is not on a local disk"):
        OPEN("simplecache::s3://bucket/a.tar")
    odd = folder / "a::b.tar"
    with contextlib.suppress(FileNotFoundError):
        shutil.copy(folder / "shard-000.tar", odd)
    with OPEN(odd) as data:
        assert len(data) == 4
