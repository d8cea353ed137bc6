"""List the files in a tar of unknown origin by their headers, without reading their contents.

USTAR, GNU and PAX headers, as `shardwright.webdataset.tar`, which refuses a whole tar for one member that is no file;
here that member is refused.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from pipeline.formats.format_errors import FormatFault
from pipeline.tables.drops import Reason, Rejection
from shardwright.format.tar import BLOCK, count_padding
from shardwright.webdataset.limits import DEFAULT_LIMITS
from shardwright.webdataset.tar import (
    CHECKSUM,
    DECIMAL,
    FILE_TYPES,
    ZEROS,
    decode_number,
    find_name_fault,
    join_name,
    parse_pax,
)

ReadAt = Callable[[int, int], bytes]
"""Returns so many bytes from an offset on, or fewer at the end of the file."""

EXTENSIONS = (b"x", b"L", b"K", b"g")
KINDS = {b"1": "a hard link", b"2": "a link", b"3": "a device", b"4": "a device", b"6": "a FIFO", b"S": "a sparse file"}

MORE_SPARSE, MORE_SPARSE_AGAIN = 482, 504
"""Bytes of an old GNU header, and of the blocks after it, that say that a further block of the map follows."""


class TarEntry(NamedTuple):
    """A file in a tar: `size` bytes from `offset` on; or why what is there is refused."""

    name: bytes
    offset: int
    size: int
    fault: Rejection | None = None


class _Next(NamedTuple):
    """What extended headers say of the next member."""

    name: bytes | None = None
    size: int | None = None
    fault: str | None = None


def list_tar_entries(read_at: ReadAt, file_size: int) -> Iterator[TarEntry]:
    """Yield the members of a tar but for folders.

    Raises:
        FormatFault: the file is no tar, or damaged or cut from some byte on.
    """
    position, following = 0, _Next()
    while True:
        block = read_at(position, BLOCK)
        if block == ZEROS:
            return
        kind, size = _read_header(block, position)
        if kind in EXTENSIONS:
            following = _read_extension(read_at, position + BLOCK, kind, size, following)
            position += BLOCK + size + count_padding(size)
            continue
        name = join_name(block) if following.name is None else following.name
        size = size if following.size is None else following.size
        position += BLOCK
        if kind == b"S":
            position = _skip_sparse_map(read_at, block, position)
        if position + size > file_size:
            raise FormatFault(f"it ends within the member that begins at byte {position}")
        if not _is_folder(kind, name):
            yield TarEntry(name, position, size, _find_fault(kind, name, following.fault))
        position += size + count_padding(size)
        following = _Next()


def _read_header(block: bytes, position: int) -> tuple[bytes, int]:
    """Return the type and the size in a header, after a check of its checksum."""
    if len(block) < BLOCK:
        where = "it has no end mark, so it may be cut" if not block else "it ends within a header"
        raise FormatFault(f"{where}, at byte {position}" if position else "it is no tar")
    stored = decode_number(block[CHECKSUM])
    summed = sum(block[: CHECKSUM.start]) + sum(block[CHECKSUM.stop :]) + 8 * ord(" ")
    signed = summed - 256 * sum(byte > 127 for byte in block[: CHECKSUM.start] + block[CHECKSUM.stop :])
    size = decode_number(block[124:136])
    if stored not in (summed, signed) or size is None:  # some old writers summed signed bytes
        raise FormatFault(f"the header at byte {position} is damaged" if position else "it is no tar")
    return block[156:157], size


def _read_extension(read_at: ReadAt, start: int, kind: bytes, size: int, following: _Next) -> _Next:
    if size > DEFAULT_LIMITS.extension_bytes:
        raise FormatFault(f"the extended header at byte {start} has {size} bytes")
    content = read_at(start, size)
    if len(content) < size:
        raise FormatFault(f"it ends within the extended header at byte {start}")
    if kind == b"L":
        return following._replace(name=content.split(b"\0", 1)[0])
    if kind != b"x":
        return following  # a global header has comments, K the target of a link
    try:
        records = parse_pax(content)
    except ValueError as error:
        return following._replace(fault="a sparse file" if "sparse" in str(error) else "a malformed extended header")
    stated = records.get(b"size", b"")
    return following._replace(
        name=records.get(b"path", following.name), size=int(stated) if DECIMAL.fullmatch(stated) else following.size
    )


def _skip_sparse_map(read_at: ReadAt, block: bytes, position: int) -> int:
    """Return where the content of a member begins whose header may be followed by blocks of a map of its holes."""
    more = block[MORE_SPARSE]
    while more:
        extension = read_at(position, BLOCK)
        if len(extension) < BLOCK:
            raise FormatFault(f"it ends within the header at byte {position}")
        more = extension[MORE_SPARSE_AGAIN]
        position += BLOCK
    return position


def _is_folder(kind: bytes, name: bytes) -> bool:
    return kind == b"5" or (kind == b"\0" and name.endswith(b"/"))


def _find_fault(kind: bytes, name: bytes, fault: str | None) -> Rejection | None:
    if kind not in FILE_TYPES:
        return Rejection(Reason.NOT_A_FILE, KINDS.get(kind, "of a type that is no file"))
    if fault is not None:
        return Rejection(Reason.NOT_A_FILE, fault)
    return find_member_fault(name)


def find_member_fault(name: bytes) -> Rejection | None:
    """Return why a member with such a name is refused. Names are no paths here, but elsewhere they may become some."""
    if find_name_fault(name, DEFAULT_LIMITS.name_bytes):
        return Rejection(Reason.NOT_A_FILE, "a name that is absolute, leads out of the archive, is empty or too long")
    return None
