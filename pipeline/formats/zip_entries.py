"""List the files in a zip of unknown origin by its directory, and read one by the place of its entry there.

By APPNOTE.TXT of PKWARE, sections 4.3 and 4.5.3. `zipfile` reads the whole directory at each opening: two seconds for
100,000 files, in each worker.
"""

import bz2
import stat
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from pipeline.formats.format_errors import FormatFault
from pipeline.formats.tar_entries import ReadAt, find_member_fault
from pipeline.tables.drops import Reason, Rejection

END = struct.Struct("<4sHHHHIIH")  # end of central directory
END64_PLACE = struct.Struct("<4sIQI")
END64 = struct.Struct("<4sQHHIIQQQQ")
ENTRY = struct.Struct("<4sHHHHHHIIIHHHHHII")
LOCAL = struct.Struct("<4sHHHHHIIIHH")

MAX_COMMENT = 0xFFFF
ZIP64 = 0xFFFFFFFF
ENCRYPTED = 1
DOS, UNIX = 0, 3
"""The systems that archives are made on: of the first some writers separate folders by backslashes."""

STORED, DEFLATED, BZIP2 = 0, 8, 12
READ_BYTES = 1 << 20


class ZipEntry(NamedTuple):
    """A file in a zip, or why it is refused; `place` of its entry in the directory."""

    name: bytes
    place: int
    size: int
    fault: Rejection | None = None


class _Entry(NamedTuple):
    name: bytes
    length: int  # of the entry
    flags: int
    method: int
    crc32: int
    packed: int
    size: int
    local: int
    mode: int


def list_zip_entries(read_at: ReadAt, file_size: int) -> Iterator[ZipEntry]:
    """Yield the members of a zip but for folders.

    Raises:
        FormatFault: the file is no zip, or its directory is damaged.
    """
    count, start, size = _find_directory(read_at, file_size)
    position, end = start, start + size
    for _ in range(count):
        entry = _read_entry(read_at, position)
        if position + entry.length > end:
            raise FormatFault("its directory is damaged")
        if not (entry.name.endswith(b"/") or stat.S_ISDIR(entry.mode)):
            yield ZipEntry(entry.name, position, entry.size, _find_fault(entry))
        position += entry.length


def read_zip_entry(read_at: ReadAt, place: int) -> bytes:
    """Return the content of the member whose entry is at `place`, checked against its size and crc32.

    Raises:
        FormatFault: it is damaged.
    """
    entry = _read_entry(read_at, place)
    header = read_at(entry.local, LOCAL.size)
    if len(header) < LOCAL.size or header[:4] != b"PK\x03\x04":
        raise FormatFault("its header is damaged")
    *_, name_size, extra_size = LOCAL.unpack(header)
    packed = read_at(entry.local + LOCAL.size + name_size + extra_size, entry.packed)
    try:
        content = _unpack(packed, entry)
    except (zlib.error, OSError, ValueError, EOFError) as error:
        raise FormatFault("its compressed bytes are damaged") from error
    if len(content) != entry.size or zlib.crc32(content) != entry.crc32:
        raise FormatFault("its bytes are not those that the archive declares")
    return content


def _unpack(packed: bytes, entry: _Entry) -> bytes:
    """Decompress at most a byte more than declared."""
    if entry.method == DEFLATED:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, entry.size + 1)
    if entry.method == BZIP2:
        return bz2.BZ2Decompressor().decompress(packed, entry.size + 1)
    return packed


def _find_directory(read_at: ReadAt, file_size: int) -> tuple[int, int, int]:
    """Return how many entries the directory has, where it begins and its bytes."""
    tail_start = max(0, file_size - END.size - MAX_COMMENT)
    tail = read_at(tail_start, file_size - tail_start)
    found = tail.rfind(b"PK\x05\x06")
    if found < 0 or len(tail) - found < END.size:
        raise FormatFault("it is no zip, or it is cut")
    _, _, _, _, count, size, start, _ = END.unpack_from(tail, found)
    end = tail_start + found
    if end >= END64_PLACE.size:
        magic, _, place, _ = END64_PLACE.unpack(read_at(end - END64_PLACE.size, END64_PLACE.size))
        if magic == b"PK\x06\x07":
            record = read_at(place, END64.size)
            if len(record) < END64.size or record[:4] != b"PK\x06\x06":
                raise FormatFault("its directory is damaged")
            *_, count, size, start = END64.unpack(record)
    if start + size > file_size:
        raise FormatFault("its directory is damaged, or it is a part of several")
    return count, start, size


def _read_entry(read_at: ReadAt, position: int) -> _Entry:
    head = read_at(position, ENTRY.size)
    if len(head) < ENTRY.size or head[:4] != b"PK\x01\x02":
        raise FormatFault("its directory is damaged")
    fields = ENTRY.unpack(head)
    _, made, _, flags, method, _, _, crc32, packed, size, names, extras, comments, _, _, mode, local = fields
    rest = read_at(position + ENTRY.size, names + extras)
    packed, size, local = _widen(rest[names:], packed, size, local)
    length = ENTRY.size + names + extras + comments
    system = made >> 8
    name = rest[:names].replace(b"\\", b"/") if system == DOS else rest[:names]
    return _Entry(name, length, flags, method, crc32, packed, size, local, mode >> 16 if system == UNIX else 0)


def _widen(extra: bytes, packed: int, size: int, local: int) -> tuple[int, int, int]:
    """Return the numbers that have 64 bits in an extra field, in place of those that are all ones."""
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, position)
        if kind == 1:
            wide = extra[position + 4 : position + 4 + length]
            numbers = iter(struct.unpack_from(f"<{len(wide) // 8}Q", wide))
            size = next(numbers, size) if size == ZIP64 else size
            packed = next(numbers, packed) if packed == ZIP64 else packed
            local = next(numbers, local) if local == ZIP64 else local
        position += 4 + length
    return packed, size, local


def _find_fault(entry: _Entry) -> Rejection | None:
    kind = stat.S_IFMT(entry.mode)
    if kind not in (0, stat.S_IFREG):
        return Rejection(Reason.NOT_A_FILE, "a link" if kind == stat.S_IFLNK else "of a type that is no file")
    if entry.flags & ENCRYPTED:
        return Rejection(Reason.UNSUPPORTED_TYPE, "an encrypted member")
    if entry.method not in (STORED, DEFLATED, BZIP2):
        return Rejection(Reason.UNSUPPORTED_TYPE, "compressed by a method that is not supported", str(entry.method))
    return find_member_fault(entry.name)
