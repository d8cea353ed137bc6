"""List the entries of an object of the cache with their offsets: the small file beside each object.

An entry is what was computed from one item, found by its cache key. It has one or more pieces, each a range of bytes of
the object: the members of a sample are apart in a shard, with tar headers between them.

The file: a magic, the length of a JSON header as uint32, the header, the entries, the pieces, further bytes of the
object's writer, and the sha256 of all that. Numbers are little-endian.
"""

import hashlib
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardwright.errors import FormatError
from shardwright.format.canonical_json import decode_json, encode_canonical
from shardwright.format.checksum import compute_crc32

MAGIC = b"SWROWS1\n"

ENTRY = np.dtype([("key", "S32"), ("rejected", "?"), ("first", "<u4"), ("count", "<u2")])
"""The entries of an object, sorted by key: whether it is a rejection and not a value, and which pieces it has."""

PIECE = np.dtype([("offset", "<u8"), ("size", "<u8"), ("crc32", "<u4")])
"""The pieces: offset in the object and size, in bytes."""

Array = NDArray[Any]


class DamagedError(Exception):
    """Something in the cache is missing or differs from what was written. Users do not see it: it is computed again."""


@dataclass(frozen=True)
class Entry:
    """What was computed from one item: its bytes in pieces, or, if `rejected`, the rejection in one."""

    key: bytes
    pieces: Sequence[bytes]
    rejected: bool = False


@dataclass(frozen=True)
class PackIndex:
    """The entries of an object of `size` bytes; `about` (JSON) and `extra` (bytes) are the writer's own."""

    size: int
    entries: Array
    pieces: Array
    about: Mapping[str, Any] = field(default_factory=dict)
    extra: bytes = b""


class PackIndexBuilder:
    """Builds the rows of an object that holds only the pieces of entries, one after another. No key may repeat.

    `size` is that of the object so far, in bytes.
    """

    def __init__(self) -> None:
        self.size = 0
        self._entries: list[tuple[bytes, bool, int, int]] = []
        self._pieces: list[tuple[int, int, int]] = []

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: Entry) -> list[tuple[int, int, int]]:
        """Add an entry whose pieces come next; return offset, size and crc32 of each."""
        pieces = []
        for piece in entry.pieces:
            pieces.append((self.size, len(piece), compute_crc32(piece)))
            self.size += len(piece)
        self._entries.append((entry.key, entry.rejected, len(self._pieces), len(pieces)))
        self._pieces += pieces
        return pieces

    def finish(self) -> PackIndex:
        """Return the rows of all entries."""
        entries = np.array(self._entries, ENTRY)
        return PackIndex(self.size, entries[np.argsort(entries["key"])], np.array(self._pieces, PIECE))


def lay_out(entries: Iterable[Entry]) -> PackIndex:
    """Return the rows of an object that holds only these entries' pieces, see `PackIndexBuilder`."""
    builder = PackIndexBuilder()
    for entry in entries:
        builder.add(entry)
    return builder.finish()


def encode_rows(rows: PackIndex) -> bytes:
    """Return the content of the file beside the object."""
    header = encode_canonical(
        {"size": rows.size, "entries": len(rows.entries), "pieces": len(rows.pieces), "about": dict(rows.about)}
    )
    parts = (struct.pack("<I", len(header)), header, rows.entries.tobytes(), rows.pieces.tobytes(), rows.extra)
    content = MAGIC + b"".join(parts)
    return content + hashlib.sha256(content).digest()


def decode_rows(content: bytes) -> PackIndex:
    """Return the rows that such a file holds.

    Raises:
        DamagedError: it differs from what was written, or another version wrote it.
    """
    if not content.startswith(MAGIC) or hashlib.sha256(content[:-32]).digest() != content[-32:]:
        raise DamagedError
    start = len(MAGIC) + 4
    (length,) = struct.unpack_from("<I", content, len(MAGIC))
    try:
        header = decode_json(content[start : start + length])
        entries = np.frombuffer(content, ENTRY, header["entries"], start + length)
        pieces = np.frombuffer(content, PIECE, header["pieces"], start + length + entries.nbytes)
    except (FormatError, KeyError, ValueError) as error:
        raise DamagedError from error
    end = start + length + entries.nbytes + pieces.nbytes
    return PackIndex(header["size"], entries, pieces, header["about"], content[end:-32])
