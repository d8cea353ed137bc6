"""Tars made to deceive, to blow up or to run code: refused by their headers, or read as everybody reads them."""

import io
import json
import os
import pickle
import struct
import tarfile
import tracemalloc
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardwright import DamageError, FormatError, ShardDataset, ShardwrightError
from shardwright.decode import decode_integer, decode_json_value, decode_picture, decode_sound, decode_text
from shardwright.foreign_build import Indexing
from shardwright.foreign_limits import DEFAULT_LIMITS, Limits
from shardwright.foreign_npy import decode_npy
from shardwright.foreign_tar import Member, TarReader
from shardwright.picture_size import read_picture_size
from tests.foreign_tars import (
    FORMATS,
    make_npy,
    make_picture,
    make_sound,
    make_tar,
    turn_jpeg,
    user_cache,
    write_by_tar,
    write_shards,
)

__all__ = ["user_cache"]

OPEN = ShardDataset.from_webdataset
END = bytes(1024)


def read_tar(content: bytes, limits: Limits = DEFAULT_LIMITS, unterminated: bool = False) -> list[Member]:
    reader = TarReader(io.BytesIO(content), len(content), "x.tar", limits, unterminated)
    return list(reader.read_members())


def make_header(**parts: Any) -> bytes:
    """One header of 512 bytes, with a right checksum unless one is given; numbers may be given as bytes."""
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


FILE = make_header(size=3) + b"abc" + bytes(509)
SOUND = make_header(name=b"before.txt", size=3) + b"abc" + bytes(509)
BIG = make_header(size=1 << 33)

REFUSED: dict[str, tuple[bytes, str]] = {
    "hard link": (make_header(type=b"1", link=b"b.txt"), "'a.txt' at byte 0: a hard link"),
    "symbolic link": (make_header(type=b"2", link=b"/etc/passwd"), "'a.txt' at byte 0: a symbolic link"),
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
    "times of GNU tar": (make_header(magic=b"ustar  \0", prefix=b"13740000000"), "not USTAR, and bytes where"),
    "unknown type": (make_header(type=b"Z"), "type 'Z'"),
    "Solaris header": (make_header(type=b"X"), "type 'X'"),
    "absolute name": (make_header(name=b"/a.txt"), "an absolute name"),
    "absolute by prefix": (make_header(prefix=b"/x"), "an absolute name"),
    "absolute by PAX": (make_pax(make_record("path", "/x.txt")) + FILE, "an absolute name"),
    "way out": (make_header(name=b"x/../../a.txt"), "leads out"),
    "way out by a long name": (make_header(type=b"L", size=5) + b"../a\0" + bytes(507) + FILE, "leads out"),
    "no name": (make_header(name=b""), "no name"),
    "no long name": (make_header(type=b"L", size=0) + FILE, "no name"),
    "name that goes on after its end": (
        make_header(type=b"L", size=3) + b"abcde.txt".ljust(512, b"\0") + FILE,
        "after its end",
    ),
    "zero byte in a PAX name": (make_pax(make_record("path", "a\0b.txt")) + FILE, "a zero byte"),
    "name too long": (make_pax(make_record("path", "a" * 5000)) + FILE, "a name of 5000 bytes"),
    "folder of some size": (make_header(type=b"5", name=b"a/", size=512) + bytes(512), "a folder of 512 bytes"),
    "file like a folder": (make_header(name=b"a/"), "the name of a folder"),
    "negative size": (make_header(size=b"\xff" * 12), "no number from 0 on"),
    "size beyond 64 bits": (make_header(size=b"\x80" + b"\xff" * 11), "are allowed"),
    "size that is text": (make_header(size=b"0000000abc0\0"), "no number"),
    "size with a gap": (make_header(size=b"0000 000003\0"), "no number"),
    "size with a sign": (make_header(size=b"-0000000003\0"), "no number"),
    "size by PAX that is text": (make_pax(make_record("size", "0x3")) + FILE, "no number"),
    "negative size by PAX": (make_pax(make_record("size", "-3")) + FILE, "no number"),
    "endless size by PAX": (make_pax(make_record("size", "9" * 400)) + FILE, "no number"),
    "large size by PAX": (make_pax(make_record("size", "9" * 19)) + FILE, "9999999999999999999 bytes, 4294967296 are"),
    "large member": (BIG, "8589934592 bytes, 4294967296 are allowed"),
    "large PAX header": (make_header(type=b"x", size=1 << 30), "an extended header of 1073741824 bytes"),
    "large long name": (make_header(type=b"L", size=1 << 30), "an extended header of 1073741824 bytes"),
    "large global header": (make_header(type=b"g", size=1 << 30), "an extended header of 1073741824 bytes"),
    "size for all": (make_pax(make_record("size", "1"), b"g") + FILE, "all members one size"),
    "name for all": (make_pax(make_record("path", "a.txt"), b"g") + FILE, "all members one path"),
    "two PAX headers": (make_pax(make_record("path", "b.txt")) * 2 + FILE, "two extended headers"),
    "two kinds of names": (
        make_pax(make_record("path", "b.txt")) + make_header(type=b"L", size=5) + b"c.txt" + bytes(507) + FILE,
        "each give a name",
    ),
    "PAX length 0": (make_pax(b"0 path=a\n") + FILE, "not as PAX headers are"),
    "PAX length beyond": (make_pax(b"99 path=a\n") + FILE, "not as PAX headers are"),
    "PAX length short": (make_pax(b"5 path=a\n") + FILE, "not as PAX headers are"),
    "PAX length endless": (make_pax(b"9" * 300 + b" path=a\n") + FILE, "not as PAX headers are"),
    "PAX without a value": (make_pax(b"7 path\n\n") + FILE, "not as PAX headers are"),
    "PAX without a key": (make_pax(b"5 =a\n") + FILE, "not as PAX headers are"),
}

DAMAGED: dict[str, tuple[bytes, str]] = {
    "size beyond the end": (
        make_header(size=1 << 20) + END,
        "its header says 1048576 bytes, the shard ends after 2048",
    ),
    "size by PAX beyond the end": (make_pax(make_record("size", "99999")) + FILE, "says 99999 bytes"),
    "end after an extended header": (make_pax(make_record("path", "b.txt")), "ends after an extended header"),
    "zeros among the members": (bytes(512) + FILE, "bytes after the end of the archive"),
    "several tars in one": (END + FILE, "bytes after the end of the archive"),
    "wrong checksum": (make_header(checksum=b"000001\0 "), "the checksum of this header is wrong"),
    "no checksum": (make_header(checksum=b"\0" * 8), "the checksum of this header is wrong"),
    "checksum that is text": (make_header(checksum=b"ordinary"), "the checksum of this header is wrong"),
    "something else": (b"\x93" * 512, "the checksum of this header is wrong"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_its_header(name: str, tmp_path: Path) -> None:
    content, found = REFUSED[name]
    (tmp_path / "x.tar").write_bytes(SOUND + content + END)
    found = found.replace("at byte 0", "at byte 1024")
    with pytest.raises(FormatError, match=found) as error:
        OPEN(tmp_path)
    assert str(error.value).startswith(f"{tmp_path}/x.tar: ")


@pytest.mark.parametrize("name", DAMAGED)
def test_a_header_that_is_damaged_or_lies(name: str, tmp_path: Path) -> None:
    content, found = DAMAGED[name]
    (tmp_path / "x.tar").write_bytes(SOUND + content + END)
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
        (b"hello", "no tar file"),
        (b"hello" * 500, "no tar file"),
    ],
)
def test_what_is_no_plain_tar(tmp_path: Path, content: bytes, found: str) -> None:
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(FormatError, match=found):
        OPEN(tmp_path)


def test_a_pipe_in_the_place_of_a_shard(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.tar")
    with pytest.raises(OSError, match="not a file"):
        OPEN(tmp_path)


def test_what_the_program_tar_makes_of_a_sparse_file(tmp_path: Path) -> None:
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
        (Limits(members=9), r"'9.txt' at byte 9216: more than 9 members"),
        (Limits(member_bytes=4), "5 bytes, 4 are allowed"),
        (Limits(name_bytes=4), "a name of 5 bytes, 4 are allowed"),
    ]:
        with pytest.raises(FormatError, match=found):
            read_tar(content, limits)
    assert len(read_tar(content, Limits(members=10, member_bytes=5, name_bytes=5))) == 10
    (tmp_path / "x.tar").write_bytes(make_tar([(f"img_{n}.{n}.jpg", b"") for n in range(65)]))
    with pytest.raises(FormatError, match=r"more than 64 different suffixes, such as '0.jpg'.*must not have dots"):
        OPEN(tmp_path)
    for number in range(65):
        (tmp_path / f"x{number}.tar").write_bytes(make_tar([(f"a.s{number}", b"")]))
    (tmp_path / "x.tar").unlink()
    with pytest.raises(FormatError, match="more than 64 different suffixes"):
        OPEN(tmp_path)


def test_names_cannot_steer_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(make_header(name=b"\x1b[2J\n\xff.txt", type=b"2") + END)
    with pytest.raises(FormatError) as error:
        OPEN(tmp_path)
    assert str(error.value).isprintable()


def cut_everywhere(content: bytes) -> Iterator[int]:
    yield from range(0, len(content), 512)
    yield from np.random.default_rng(0).integers(0, len(content), 100).tolist()


@pytest.mark.parametrize("form", FORMATS)
def test_cut_anywhere(form: str) -> None:
    """A cut shard is an error, unless all that is lost is what fills up the last record."""
    content = make_tar([(f"{'x' * 40 * n}{n}.txt", b"y" * 300 * n) for n in range(2 + 2 * (form != "ustar"))], form)
    members = read_tar(content)
    last = members[-1].offset + -(-members[-1].size // 512) * 512
    for size in cut_everywhere(content):
        if size >= last + 1024:
            assert read_tar(content[:size]) == members
        else:
            with pytest.raises(ShardwrightError, match=r"cut|ends|no tar file"):
                read_tar(content[:size])


def test_a_writer_that_leaves_out_the_end() -> None:
    content = make_tar([("a.txt", b"1"), ("b.txt", b"2")])[:2048]
    for size in (2048, 2560):
        with pytest.raises(DamageError, match=r"without the two blocks of zeros.*unterminated=True"):
            read_tar((content + END)[:size])
        assert len(read_tar((content + END)[:size], unterminated=True)) == 2
    with pytest.raises(DamageError, match="cut here"):
        read_tar(content[:1600], unterminated=True)


def test_every_bit_of_the_headers_is_seen_or_means_nothing() -> None:
    """Before it is indexed a tar has checksums of its headers alone: no flip there changes what is read."""
    for form in FORMATS:
        content = make_tar([("a.txt", b"1"), ("d/" * 20 + "é.txt", b"2" * 600)], form)
        wanted = read_tar(content)
        contents = {place for member in wanted for place in range(member.offset, member.offset + member.size)}
        for bit in range(0, 8 * (wanted[-1].offset + 2048), 7):
            if bit // 8 in contents:
                continue
            changed = bytearray(content)
            changed[bit // 8] ^= 1 << bit % 8
            try:
                found = read_tar(bytes(changed))
            except ShardwrightError:
                continue
            if found != wanted:  # PAX records have no checksum: another name, or one record less
                assert form == "pax"
                assert [member[1:] for member in found] == [member[1:] for member in wanted]


FIELDS = {"name": (0, 100), "size": (124, 12), "type": (156, 1), "magic": (257, 8), "prefix": (345, 155)}


@settings(max_examples=300)
@given(data=st.data(), form=st.sampled_from([*FORMATS]))
def test_what_is_read_is_what_tarfile_reads(data: st.DataObject, form: str) -> None:
    """Headers with any bytes in any place and a right checksum: refused, or the same members as everybody sees."""
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
    for start in starts:  # what stands in PAX headers may change as well
        if content[start + 156] in b"xgL" and data.draw(st.booleans()):
            at = start + 512 + data.draw(st.integers(0, 60))
            content[at] = data.draw(st.integers(0, 255))
    try:
        found = read_tar(bytes(content))
    except ShardwrightError:
        return
    with tarfile.open(fileobj=io.BytesIO(bytes(content))) as tar:
        try:
            wanted = [info for info in tar if info.isreg()]
        except tarfile.ReadError:  # a global header before the end, which says nothing of any member
            return
        names = [info.name.encode("utf-8", "surrogateescape") for info in wanted]
    assert [(m.offset, m.size) for m in found] == [(info.offset_data, info.size) for info in wanted]
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


class Trap:
    """Unpickled, it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.mkdir, (self.path,)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    trap = pickle.dumps(Trap(tmp_path / "sprung"))
    pickle.loads(trap)
    (tmp_path / "sprung").rmdir()
    objects = make_npy(np.array([Trap(tmp_path / "sprung")], object), allow_pickle=True)
    members = dict.fromkeys(("pkl", "pickle", "pyd", "pth", "pt", "npz", "ten", "tb", "mp", "msg", "cbor"), trap)
    members |= {"py": b"raise SystemExit", "yaml": b"!!python/object/apply:os.system ['true']", "pkl.gz": trap}
    with OPEN(write_shards(tmp_path / "a", [[("a", members)]])) as data:
        assert data[0] == {"key": "a"} | members
    for name, content in [("npy", objects), ("npy", trap), ("json", trap), ("cls", trap), ("jpg", trap), ("wav", trap)]:
        folder = write_shards(tmp_path / f"{name}-{len(content)}", [[("a", {name: content})]])
        with OPEN(folder) as data, pytest.raises(DamageError, match=f"sample 'a', {name} at byte 512: "):
            data[0]
    assert not (tmp_path / "sprung").exists()


def make_png_header(width: int, height: int) -> bytes:
    """A picture of one colour, however large: its pixels are compressed to next to nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = zlib.compress(bytes(min(width, 1000) + 1) * 10)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def stretch_jpeg(width: int, height: int) -> bytes:
    data = bytearray(make_picture(np.random.default_rng(0), (8, 8), ".jpg"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def stretch_webp(width: int, height: int) -> bytes:
    data = bytearray(make_picture(np.random.default_rng(0), (8, 8), ".webp"))
    assert bytes(data[12:16]) in (b"VP8 ", b"VP8L")
    if data[15] == ord("L"):
        data[21:25] = struct.pack("<I", (width - 1) | (height - 1) << 14)
    else:
        data[26:30] = struct.pack("<HH", width, height)
    return bytes(data)


def measure_peak(work: Callable[[], Any]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


BOMBS: dict[str, tuple[str, bytes, str]] = {
    "png": ("png", make_png_header(30_000, 30_000), "30000 × 30000 pixels, 100000000 are allowed"),
    "jpg": ("jpg", stretch_jpeg(65_000, 65_000), "65000 × 65000 pixels"),
    "webp": ("webp", stretch_webp(16_000, 16_000), "16000 × 16000 pixels"),
    "png as jpg": ("jpg", make_png_header(2**31 - 1, 2**31 - 1), "2147483647 × 2147483647 pixels"),
    "npy": (
        "npy",
        b"\x93NUMPY\1\0\x76\0" + b"{'descr':'<f8','fortran_order':False,'shape':(10**9,10**9)}".ljust(117) + b"\n",
        "NPY header",
    ),
    "npy of many": (
        "npy",
        b"\x93NUMPY\1\0\x76\0" + b"{'descr':'<f8','fortran_order':False,'shape':(9999999999,)}".ljust(117) + b"\n",
        "0 bytes of values, its header says 79999999992",
    ),
    "npy of wide values": (
        "npy",
        b"\x93NUMPY\1\0\x76\0" + b"{'descr':'|V2000000000','fortran_order':False,'shape':()}".ljust(117) + b"\n",
        "0 bytes of values, its header says 2000000000",
    ),
    "npy of nothing": (
        "npy",
        b"\x93NUMPY\1\0\x76\0" + b"{'descr':'|V0','fortran_order':False,'shape':(9999999999,)}".ljust(117) + b"\n",
        "which has no values",
    ),
    "npy nested": ("npy", b"\x93NUMPY\1\0\x70\x17" + b"(" * 6000, "no Python literal"),
    "npy header": ("npy", b"\x93NUMPY\2\0" + struct.pack("<I", 2**31) + b"{}", "an NPY header of 2147483648 bytes"),
    "json": ("json", b"[" * 10**6, "nested too deeply"),
    "json number": ("json", b"9" * 10**5, "limit"),
    "cls": ("cls", b"9" * 10**6, "no whole number of 64 bits"),
    "txt": ("txt", b"\xff\xfe", "utf-8"),
    "ogg": ("ogg", b"OggS" + bytes(100), "libsndfile cannot decode it"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_before_they_are_decoded(tmp_path: Path, name: str) -> None:
    suffix, content, found = BOMBS[name]
    folder = write_shards(
        tmp_path / "a", [[("a", {suffix: content, "bin": b""}), ("b", {suffix: content, "bin": b""})]]
    )
    with OPEN(folder) as data:

        def read() -> None:
            with pytest.raises(DamageError, match=f"sample 'b', {suffix} at byte .*{found}") as error:
                data[1]
            assert (error.value.sample, error.value.field) == ("b", suffix)

        assert measure_peak(read) < 40_000_000


def test_a_sound_that_is_too_long() -> None:
    data = make_sound(5000, 2, "FLAC")
    with pytest.raises(ValueError, match="5000 frames of 2 channels, 9999 values are allowed"):
        decode_sound(data, 9999)
    assert len(decode_sound(data, 10_000).samples) == 5000


@pytest.mark.parametrize("format_", ["AIFF", "AU", "CAF", "MP3"])
def test_sounds_of_other_formats(format_: str) -> None:
    with pytest.raises(ValueError, match="neither WAV, FLAC nor OGG"):
        decode_sound(make_sound(2000, 1, format_), 10**6)


@pytest.mark.parametrize("suffix", [".bmp", ".tiff", ".ppm", ".jp2", ".gif"])
def test_pictures_of_other_formats(suffix: str) -> None:
    with pytest.raises(ValueError, match="neither JPEG nor PNG nor WebP"):
        decode_picture(make_picture(np.random.default_rng(0), (64, 64), suffix), 10**6)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_pictures_that_are_cut_or_changed(suffix: str) -> None:
    """The size is that of the header as OpenCV sees it, and whatever else happens is one kind of error."""
    whole = make_picture(np.random.default_rng(0), (40, 30), suffix)
    assert read_picture_size(whole)[:2] == (40, 30)
    rng = np.random.default_rng(0)
    changed = [whole[:size] for size in range(0, len(whole), 7)]
    for _ in range(150):
        spoilt = bytearray(whole)
        spoilt[int(rng.integers(0, min(len(whole), 300)))] = int(rng.integers(0, 256))
        changed.append(bytes(spoilt))
    for data in changed:
        try:
            pixels = decode_picture(data, 10**6)
        except ValueError:
            continue
        assert pixels.shape[:2] == read_picture_size(data)[:2]


def test_a_turned_picture_has_the_size_that_opencv_gives_it() -> None:
    data = turn_jpeg(make_picture(np.random.default_rng(0), (40, 30), ".jpg"), 6)
    assert read_picture_size(data) == (40, 30, True)
    assert decode_picture(data, 10**6).shape == (30, 40, 3)


def test_opencv_sees_no_other_size_behind_tricks_with_segments() -> None:
    """A second frame header, filling bytes, a segment that hides another: no size but the first one counts."""
    plain = make_picture(np.random.default_rng(0), (40, 30), ".jpg")
    frame = plain.index(b"\xff\xc0")
    small = b"\xff\xc0\x00\x11\x08\x00\x01\x00\x01" + plain[frame + 9 : frame + 19]
    hidden = b"\xff\xe5" + struct.pack(">H", 2 + len(small)) + small
    for data in (
        plain[:2] + small + plain[2:],
        plain[:2] + hidden + plain[2:],
        plain[:2] + b"\xff" * 9 + plain[3:],
        plain[:2] + b"\0" * 9 + plain[2:],
        plain[:2] + b"\xff\x00\xff" + plain[3:],
        plain[:2] + b"\xff\xe5\x00\x00" + plain[2:],
        plain[:2] + b"\xff\xd0" + plain[2:],
    ):
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if pixels is not None:
            assert read_picture_size(data)[:2] == pixels.shape[:2]


@settings(max_examples=200)
@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"RIFF1234WEBPVP8 "]),
)
def test_any_bytes_are_a_value_or_one_kind_of_error(content: bytes, start: bytes) -> None:
    decoders: Sequence[Callable[[bytes], Any]] = [
        lambda data: decode_picture(data, 10**6),
        lambda data: decode_sound(data, 10**6),
        decode_npy,
        decode_integer,
        decode_json_value,
        decode_text,
    ]
    for decode in decoders:
        for data in (start + content, b"\x93NUMPY\1\0\x40\0" + content):
            try:
                decode(data)
            except ValueError:
                continue


@pytest.mark.parametrize("text", [b"7", b" 7\n", b"+7", b"-9223372036854775808", b"007"])
def test_whole_numbers(text: bytes) -> None:
    assert decode_integer(text) == int(text)


@pytest.mark.parametrize("text", [b"", b"7.0", b"1_000", b"9223372036854775808", "٣".encode(), b"0x7", b"7 7", b"dog"])
def test_what_is_no_whole_number(text: bytes) -> None:
    with pytest.raises(ValueError, match="no whole number"):
        decode_integer(text)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((3, 4), np.float32),
        np.float64(1),
        np.zeros((0, 2), np.int8),
        np.asfortranarray(np.ones((3, 4))),
        np.zeros(3, ">i2"),
        np.array([True]),
        np.array(["é", "bc"]),
        np.array([b"a"]),
        np.zeros(2, [("x", "<f4"), ("y", "<i8", (2,))]),
        np.array(["2020-01-01"], "M8[D]"),
    ],
)
def test_arrays_as_numpy_reads_them(array: Any) -> None:
    found, wanted = decode_npy(make_npy(array)), np.load(io.BytesIO(make_npy(array)))
    assert found.dtype == wanted.dtype.newbyteorder("=")
    np.testing.assert_array_equal(found, wanted)
    assert found.flags.writeable


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("{'descr': '<i2', 'fortran_order': False, 'shape': (2L,), }", (2,)),
        ("{'descr': '<i2', 'fortran_order': False, 'shape': (1, 2)}", (1, 2)),
        ('{"shape": (2,), "descr": "<i2", "fortran_order": False}', (2,)),
        ("{'descr':'<i2','fortran_order':True,'shape':(2,1,),}\n", (2, 1)),
        ("{'descr': '<i2', 'fortran_order': False, 'shape': (2)}", "the shape 2"),
        ("{'descr': '<i2', 'fortran_order': False, 'shape': (2, -1)}", "the shape"),
        ("{'descr': '<i2', 'fortran_order': False, 'shape': (True, 2)}", "the shape"),
        ("{'descr': '<i2', 'fortran_order': 0, 'shape': (2,)}", "fortran_order 0"),
        ("{'descr': '<i2', 'fortran_order': False, 'shape': (2,), 'more': 1}", "does not say"),
        ("{'descr': '<q9', 'fortran_order': False, 'shape': (2,)}", "the dtype '<q9'"),
        ("{'descr': [('a', 'O')], 'fortran_order': False, 'shape': (2,)}", "Python objects"),
        ("__import__('os').system('true')", "no Python literal"),
        ("[]", "does not say"),
    ],
)
def test_npy_headers_of_other_writers(text: str, shape: Any) -> None:
    data = b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode() + b"\1\0\2\0"
    if isinstance(shape, str):
        with pytest.raises(ValueError, match=shape):
            decode_npy(data)
    else:
        assert decode_npy(data).shape == shape


def test_json_as_python_writes_it() -> None:
    value = {"a": float("inf"), "b": [1, "é"]}
    assert decode_json_value(json.dumps(value).encode()) == value


def test_a_decoder_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(ModuleNotFoundError, match="pip install opencv-python-headless"):
        decode_picture(b"", 1)


def test_many_members_take_little_memory() -> None:
    count = 3000
    content = make_tar([(f"{n:06d}.txt", b"x" * 2000) for n in range(count)])
    reader = TarReader(io.BytesIO(content), len(content), "x.tar")
    assert measure_peak(lambda: [member.crc32 for member in reader.read_members()]) < 4_000_000


def test_a_large_member_is_never_held_whole(tmp_path: Path) -> None:
    path = tmp_path / "a" / "x.tar"
    path.parent.mkdir()
    size = 64 << 20
    with path.open("wb") as file:
        file.write(make_header(size=size, name=b"a.bin"))
        file.truncate(512 + size + 1024)
    assert measure_peak(lambda: OPEN(path.parent, indexing=Indexing(threads=0)).close()) < 8_000_000
