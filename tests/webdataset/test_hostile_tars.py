"""Hostile tars: refused by their headers, or read as other tar readers read them."""

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardwright import DamageError, FormatError, ShardDataset, ShardwrightError
from shardwright.webdataset.build_index import Indexing
from shardwright.webdataset.limits import DEFAULT_LIMITS, Limits
from shardwright.webdataset.tar import Member, TarReader, sum_block
from tests.support.webdataset_tars import (
    FORMATS,
    make_tar,
    measure_peak,
    user_cache,
    write_by_tar,
)

__all__ = ["user_cache"]

OPEN = ShardDataset.from_webdataset
END = bytes(1024)


def read_tar(content: bytes, limits: Limits = DEFAULT_LIMITS, unterminated: bool = False) -> list[Member]:
    reader = TarReader(io.BytesIO(content), len(content), "x.tar", limits, unterminated)
    return list(reader.read_members())


def make_header(**parts: Any) -> bytes:
    """Return a header of 512 bytes, with a correct checksum unless one is given; numbers may be given as bytes."""
    fields: dict[str, Any] = {
        "name": b"a.txt",
        "mode": b"0000644\0",
        "size": 0,
        "type": b"0",
        "magic": b"ustar\x0000",
        "prefix": b"",
    }
    fields |= parts
    size = fields["size"]
    header = bytearray(512)
    for start, content in [
        (0, fields["name"]),
        (100, fields["mode"]),
        (124, size if isinstance(size, bytes) else b"%011o\0" % size),
        (148, b" " * 8),
        (156, fields["type"]),
        (157, fields.get("link", b"")),
        (257, fields["magic"]),
        (345, fields["prefix"]),
    ]:
        header[start : start + len(content)] = content
    return sign(header, fields.get("checksum"))


def sign(header: bytearray, checksum: bytes | None = None) -> bytes:
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header) if checksum is None else checksum
    return bytes(header)


def make_pax(records: bytes, kind: bytes = b"x", **parts: Any) -> bytes:
    return (
        make_header(name=b"PaxHeaders/a", type=kind, size=len(records), **parts) + records + bytes(-len(records) % 512)
    )


def make_record(key: str, value: str) -> bytes:
    size = len(key) + len(value) + 3
    while len(str(size)) + len(key) + len(value) + 3 != size:
        size = len(str(size)) + len(key) + len(value) + 3
    return f"{size} {key}={value}\n".encode()


@given(st.binary(min_size=512, max_size=512) | st.integers(0, 255).map(lambda byte: bytes([byte]) * 512))
def test_blocks_are_summed_exactly(block: bytes) -> None:
    assert sum_block(block) == sum(block)


FILE = make_header(size=3) + b"abc" + bytes(509)
INTACT = make_header(name=b"before.txt", size=3) + b"abc" + bytes(509)
BIG = make_header(size=1 << 33)

REFUSED: dict[str, tuple[bytes, str]] = {
    "hard link": (make_header(type=b"1", link=b"b.txt"), "'a.txt' at byte 0: it is a hard link"),
    "symbolic link": (make_header(type=b"2", link=b"/etc/passwd"), "'a.txt' at byte 0: it is a symbolic link"),
    "character device": (make_header(type=b"3"), "a character device"),
    "block device": (make_header(type=b"4"), "a block device"),
    "pipe": (make_header(type=b"6"), "a pipe"),
    "sparse by GNU": (make_header(type=b"S"), "a sparse file"),
    "sparse by PAX 0.0": (make_pax(make_record("GNU.sparse.size", "64424509440")) + FILE, "a sparse file"),
    "sparse by PAX 0.1": (make_pax(make_record("GNU.sparse.map", "0,1")) + FILE, "a sparse file"),
    "sparse by PAX 1.0": (make_pax(make_record("GNU.sparse.major", "1")) + FILE, "a sparse file"),
    "sparse for all": (make_pax(make_record("GNU.sparse.size", "1"), b"g") + FILE, "a sparse file"),
    "volume": (make_header(type=b"V"), "a volume label"),
    "next volume": (make_header(type=b"M"), "another volume"),
    "dump of a folder": (make_header(type=b"D"), "incremental"),
    "times of GNU tar": (make_header(magic=b"ustar  \0", prefix=b"13740000000"), "not USTAR, but has bytes where"),
    "unknown type": (make_header(type=b"Z"), "type 'Z'"),
    "Solaris header": (make_header(type=b"X"), "type 'X'"),
    "absolute name": (make_header(name=b"/a.txt"), "an absolute path"),
    "absolute by prefix": (make_header(prefix=b"/x"), "an absolute path"),
    "absolute by PAX": (make_pax(make_record("path", "/x.txt")) + FILE, "an absolute path"),
    "way out": (make_header(name=b"x/../../a.txt"), "leads out"),
    "way out by a long name": (make_header(type=b"L", size=5) + b"../a\0" + bytes(507) + FILE, "leads out"),
    "no name": (make_header(name=b""), "no name"),
    "no long name": (make_header(type=b"L", size=0) + FILE, "no name"),
    "name that goes on after its end": (
        make_header(type=b"L", size=3) + b"abcde.txt".ljust(512, b"\0") + FILE,
        "followed by other bytes",
    ),
    "zero byte in a PAX name": (make_pax(make_record("path", "a\0b.txt")) + FILE, "a zero byte"),
    "name too long": (make_pax(make_record("path", "a" * 5000)) + FILE, "its name has 5000 bytes"),
    "folder of some size": (make_header(type=b"5", name=b"a/", size=512) + bytes(512), "a folder with 512 bytes"),
    "file like a folder": (make_header(name=b"a/"), "the name of a folder"),
    "negative size": (make_header(size=b"\xff" * 12), "not a number of at least 0"),
    "size beyond 64 bits": (make_header(size=b"\x80" + b"\xff" * 11), "Limits.member_bytes allows"),
    "size that is text": (make_header(size=b"0000000abc0\0"), "not a number"),
    "size with a gap": (make_header(size=b"0000 000003\0"), "not a number"),
    "size with a sign": (make_header(size=b"-0000000003\0"), "not a number"),
    "size by PAX that is text": (make_pax(make_record("size", "0x3")) + FILE, "not a number"),
    "negative size by PAX": (make_pax(make_record("size", "-3")) + FILE, "not a number"),
    "endless size by PAX": (make_pax(make_record("size", "9" * 400)) + FILE, "not a number"),
    "large size by PAX": (make_pax(make_record("size", "9" * 19)) + FILE, "9999999999999999999 bytes; Limits"),
    "large member": (BIG, "8589934592 bytes; Limits.member_bytes allows 4294967296"),
    "large PAX header": (make_header(type=b"x", size=1 << 30), "its extended header has 1073741824 bytes"),
    "large long name": (make_header(type=b"L", size=1 << 30), "its extended header has 1073741824 bytes"),
    "large global header": (make_header(type=b"g", size=1 << 30), "its extended header has 1073741824 bytes"),
    "size for all": (make_pax(make_record("size", "1"), b"g") + FILE, "sets one size for all members"),
    "name for all": (make_pax(make_record("path", "a.txt"), b"g") + FILE, "sets one path for all members"),
    "two PAX headers": (make_pax(make_record("path", "b.txt")) * 2 + FILE, "two extended headers of one kind"),
    "two kinds of names": (
        make_pax(make_record("path", "b.txt")) + make_header(type=b"L", size=5) + b"c.txt" + bytes(507) + FILE,
        "two of its extended headers set a name",
    ),
    "PAX length 0": (make_pax(b"0 path=a\n") + FILE, "PAX header is malformed"),
    "PAX length beyond": (make_pax(b"99 path=a\n") + FILE, "PAX header is malformed"),
    "PAX length short": (make_pax(b"5 path=a\n") + FILE, "PAX header is malformed"),
    "PAX length endless": (make_pax(b"9" * 300 + b" path=a\n") + FILE, "PAX header is malformed"),
    "PAX without a value": (make_pax(b"7 path\n\n") + FILE, "PAX header is malformed"),
    "PAX without a key": (make_pax(b"5 =a\n") + FILE, "PAX header is malformed"),
}

DAMAGED: dict[str, tuple[bytes, str]] = {
    "size beyond the end": (
        make_header(size=1 << 20) + END,
        "its header declares 1048576 bytes; the shard ends after 2048",
    ),
    "size by PAX beyond the end": (make_pax(make_record("size", "99999")) + FILE, "declares 99999 bytes"),
    "end after an extended header": (make_pax(make_record("path", "b.txt")), "ends after an extended header"),
    "zeros among the members": (bytes(512) + FILE, "the end of the archive is followed by other bytes"),
    "several tars in one": (END + FILE, "the end of the archive is followed by other bytes"),
    "wrong checksum": (make_header(checksum=b"000001\0 "), "the checksum of this header is wrong"),
    "no checksum": (make_header(checksum=b"\0" * 8), "the checksum of this header is wrong"),
    "checksum that is text": (make_header(checksum=b"ordinary"), "the checksum of this header is wrong"),
    "something else": (b"\x93" * 512, "the checksum of this header is wrong"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_headers_that_are_refused(name: str, tmp_path: Path) -> None:
    content, found = REFUSED[name]
    (tmp_path / "x.tar").write_bytes(INTACT + content + END)
    found = found.replace("at byte 0", "at byte 1024")
    with pytest.raises(FormatError, match=found) as error:
        OPEN(tmp_path)
    assert str(error.value).startswith(f"{tmp_path}/x.tar: ")


@pytest.mark.parametrize("name", DAMAGED)
def test_headers_that_are_damaged_or_wrong(name: str, tmp_path: Path) -> None:
    content, found = DAMAGED[name]
    (tmp_path / "x.tar").write_bytes(INTACT + content + END)
    with pytest.raises(DamageError, match=found) as error:
        OPEN(tmp_path)
    assert error.value.shard == "x.tar"
    assert error.value.offset is not None
    assert error.value.offset >= 1024


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"\x1f\x8b\x08" + bytes(600), "gzip"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"BZh9" + bytes(600), "bzip2"),
        (b"\xfd7zXZ\0" + bytes(600), "xz"),
        (b"\x28\xb5\x2f\xfd" + bytes(600), "zstd"),
        (b"PK\3\4" + bytes(600), "zip"),
        (b"hello", "not a tar"),
        (b"hello" * 500, "not a tar"),
    ],
)
def test_files_that_are_not_plain_tars(tmp_path: Path, content: bytes, found: str) -> None:
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(FormatError, match=found):
        OPEN(tmp_path)


def test_a_pipe_instead_of_a_shard(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.tar")
    with pytest.raises(OSError, match="not a file"):
        OPEN(tmp_path)


@pytest.mark.slow
def test_sparse_files_written_by_the_program_tar(tmp_path: Path) -> None:
    for form in ("gnu", "posix"):
        files = tmp_path / f"{form}-files"
        files.mkdir()
        with (files / "a.bin").open("wb") as file:
            file.truncate(60 << 30)
        folder = write_by_tar(tmp_path / form, [], ["--sparse", f"--format={form}"])
        assert (folder / "shard-000.tar").stat().st_size < 50_000
        with pytest.raises(FormatError, match="a sparse file; write the tar without --sparse"):
            OPEN(folder)


def test_limits(tmp_path: Path) -> None:
    names = [f"{n}.txt" for n in range(10)]
    content = make_tar([(name, b"12345") for name in names])
    for limits, found in [
        (Limits(members=9), r"'9.txt' at byte 9216: the shard has more members than Limits.members \(9\)"),
        (Limits(member_bytes=4), "5 bytes; Limits.member_bytes allows 4"),
        (Limits(name_bytes=4), "name has 5 bytes; Limits.name_bytes allows 4"),
    ]:
        with pytest.raises(FormatError, match=found):
            read_tar(content, limits)
    assert len(read_tar(content, Limits(members=10, member_bytes=5, name_bytes=5))) == 10
    (tmp_path / "x.tar").write_bytes(make_tar([(f"img_{n}.{n}.jpg", b"") for n in range(65)]))
    with pytest.raises(FormatError, match=r"more than 64 different suffixes, such as '0.jpg'.*remove dots from keys"):
        OPEN(tmp_path)
    for number in range(65):
        (tmp_path / f"x{number}.tar").write_bytes(make_tar([(f"a.s{number}", b"")]))
    (tmp_path / "x.tar").unlink()
    with pytest.raises(FormatError, match="more than 64 different suffixes"):
        OPEN(tmp_path)


def test_names_are_printable_in_messages(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(make_header(name=b"\x1b[2J\n\xff.txt", type=b"2") + END)
    with pytest.raises(FormatError) as error:
        OPEN(tmp_path)
    assert str(error.value).isprintable()


def cut_everywhere(content: bytes) -> Iterator[int]:
    yield from range(0, len(content), 512)
    yield from np.random.default_rng(0).integers(0, len(content), 100).tolist()


@pytest.mark.parametrize("form", FORMATS)
def test_truncated_anywhere(form: str) -> None:
    """A truncated shard is an error, unless only the padding of the last record is lost."""
    content = make_tar([(f"{'x' * 40 * n}{n}.txt", b"y" * 300 * n) for n in range(2 + 2 * (form != "ustar"))], form)
    members = read_tar(content)
    last = members[-1].offset + -(-members[-1].size // 512) * 512
    for size in cut_everywhere(content):
        if size >= last + 1024:
            assert read_tar(content[:size]) == members
        else:
            with pytest.raises(ShardwrightError, match=r"truncated|ends|not a tar"):
                read_tar(content[:size])


def test_writers_that_omit_the_end_blocks() -> None:
    content = make_tar([("a.txt", b"1"), ("b.txt", b"2")])[:2048]
    for size in (2048, 2560):
        with pytest.raises(DamageError, match=r"without the two blocks of zeros.*unterminated=True"):
            read_tar((content + END)[:size])
        assert len(read_tar((content + END)[:size], unterminated=True)) == 2
    with pytest.raises(DamageError, match="truncated here"):
        read_tar(content[:1600], unterminated=True)


def test_every_bit_of_the_headers_is_checked_or_has_no_meaning() -> None:
    """Before it is indexed, a tar has checksums only for its headers: no flip there changes what is read."""
    for form in FORMATS:
        content = make_tar([("a.txt", b"1"), ("d/" * 20 + "é.txt", b"2" * 600)], form)
        expected = read_tar(content)
        contents = {offset for member in expected for offset in range(member.offset, member.offset + member.size)}
        for bit in range(0, 8 * (expected[-1].offset + 2048), 7):
            if bit // 8 in contents:
                continue
            changed = bytearray(content)
            changed[bit // 8] ^= 1 << bit % 8
            try:
                found = read_tar(bytes(changed))
            except ShardwrightError:
                continue
            if found != expected:  # PAX records have no checksum: another name, or one record less
                assert form == "pax"
                assert [member[1:] for member in found] == [member[1:] for member in expected]


FIELDS = {"name": (0, 100), "size": (124, 12), "type": (156, 1), "magic": (257, 8), "prefix": (345, 155)}


@settings(max_examples=300)
@given(data=st.data(), form=st.sampled_from([*FORMATS]))
def test_members_are_those_that_tarfile_reads(data: st.DataObject, form: str) -> None:
    """Headers with any bytes and a correct checksum: refused, or the same members as `tarfile` reads."""
    content = bytearray(make_tar([("a.txt", b"123"), ("b" * 90 + "/é.txt", b"x" * 700), ("c.txt", b"")], form))
    starts = [start for start in range(0, len(content), 512) if content[start + 257 : start + 262] == b"ustar"]
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.sampled_from(starts))
        at, width = FIELDS[data.draw(st.sampled_from([*FIELDS]))]
        new = data.draw(
            st.binary(max_size=width)
            | st.text("01234567 \0", max_size=width).map(str.encode)
            | st.sampled_from([b"L", b"x", b"g", b"5", b"7", b"\0", b"ustar  \0", b"d/"])
        )[:width]
        content[start + at : start + at + len(new)] = new
        content[start : start + 512] = sign(content[start : start + 512])
    for start in starts:  # the content of PAX headers may change too
        if content[start + 156] in b"xgL" and data.draw(st.booleans()):
            at = start + 512 + data.draw(st.integers(0, 60))
            content[at] = data.draw(st.integers(0, 255))
    try:
        found = read_tar(bytes(content))
    except ShardwrightError:
        return
    with tarfile.open(fileobj=io.BytesIO(bytes(content))) as tar:
        try:
            expected = [info for info in tar if info.isreg()]
        except tarfile.ReadError:  # a global header before the end, which applies to no member
            return
        names = [info.name.encode("utf-8", "surrogateescape") for info in expected]
    assert [(m.offset, m.size) for m in found] == [(info.offset_data, info.size) for info in expected]
    assert [m.name for m in found] == names


@settings(max_examples=200)
@given(st.binary(max_size=3000), st.integers(0, 5))
def test_any_bytes_are_a_tar_or_an_error(content: bytes, copies: int) -> None:
    for text in (content, FILE * copies + content + END):
        try:
            members = read_tar(text)
        except ShardwrightError:
            continue
        assert len(members) <= copies


def test_many_members_take_little_memory() -> None:
    count = 3000
    content = make_tar([(f"{n:06d}.txt", b"x" * 2000) for n in range(count)])
    reader = TarReader(io.BytesIO(content), len(content), "x.tar")
    assert measure_peak(lambda: [member.crc32 for member in reader.read_members()]) < 4_000_000


def test_a_large_member_is_never_in_memory_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a" / "x.tar"
    path.parent.mkdir()
    size = 64 << 20
    with path.open("wb") as file:
        file.write(make_header(size=size, name=b"a.bin"))
        file.truncate(512 + size + 1024)
    assert measure_peak(lambda: OPEN(path.parent, indexing=Indexing(threads=0)).close()) < 8_000_000
