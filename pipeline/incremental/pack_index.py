"""List the entries of an object of the cache: the small file beside each object.

An entry is what was computed from one item, found by its cache key. It has pieces, each a range of bytes of the object
(the members of a sample are apart in a shard, with tar headers between them), and a record of fixed size: what is known
of the item in columns, so that a stage reads the records of many entries at once.

The file: a magic, the length of a JSON header as uint32, the header, the entries and the sha256 of all that; then the
records, the pieces, further bytes of the object's writer, and the sha256 of the whole. Numbers are little-endian. The
entries can be read without the rest, which is ten times as large.
"""

import hashlib
import os
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from shardwright.errors import FormatError
from shardwright.format.canonical_json import decode_json, encode_canonical
from shardwright.format.checksum import compute_crc32

MAGIC = b"SWROWS3\n"
DIGEST_BYTES = 32

ENTRY = np.dtype([("key", "S32"), ("rejected", "?"), ("first", "<u4"), ("count", "<u2")])
"""The entries of an object, sorted by key: whether it is a rejection and not a value, and which pieces it has."""

PIECE = np.dtype([("offset", "<u8"), ("size", "<u8"), ("crc32", "<u4")])
"""The pieces: offset in the object and size, in bytes."""

Array = NDArray[Any]
Records = NDArray[np.uint8]
"""The records of entries, uint8 (entries, bytes of the longest record); shorter ones end in zeros."""


class DamagedError(Exception):
    """Something in the cache is missing or differs from what was written. Users do not see it: it is computed again."""


@dataclass(frozen=True)
class Entry:
    """What was computed from one item: its bytes in pieces and its record, or, if `rejected`, the rejection in one
    piece."""

    key: bytes
    pieces: Sequence[bytes]
    rejected: bool = False
    record: bytes = b""

    @property
    def size(self) -> int:
        """Return the bytes of all pieces."""
        return sum(map(len, self.pieces))


@dataclass(frozen=True)
class PackIndex:
    """The entries of an object of `size` bytes; `about` (JSON) and `extra` (bytes) are the writer's own."""

    size: int
    entries: Array
    pieces: Array
    records: Records = field(default_factory=lambda: np.empty((0, 0), np.uint8))
    about: Mapping[str, Any] = field(default_factory=dict)
    extra: bytes = b""


class PackIndexBuilder:
    """Builds the index of an object. No key may repeat.

    Attributes:
        size: bytes of the pieces of `add` so far.
    """

    def __init__(self) -> None:
        self.size = 0
        self._entries: list[tuple[bytes, bool, int, int]] = []
        self._records: list[bytes] = []
        self._pieces: list[tuple[int, int, int]] = []

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: Entry) -> list[tuple[int, int, int]]:
        """Add an entry whose pieces come next in the object; return offset, size and crc32 of each."""
        pieces = []
        for piece in entry.pieces:
            pieces.append((self.size, len(piece), compute_crc32(piece)))
            self.size += len(piece)
        self.place(entry, pieces)
        return pieces

    def place(self, entry: Entry, pieces: Sequence[tuple[int, int, int]]) -> None:
        """Add an entry with pieces of this offset, size and crc32 anywhere in the object."""
        self._entries.append((entry.key, entry.rejected, len(self._pieces), len(pieces)))
        self._records.append(entry.record)
        self._pieces += pieces

    def finish(self, size: int | None = None, about: Mapping[str, Any] | None = None, extra: bytes = b"") -> PackIndex:
        """Return the index of all entries, of an object of `size` bytes (those of the pieces by default)."""
        entries = np.array(self._entries, ENTRY)
        order = np.argsort(entries["key"])
        records = join_records(self._records)[order]
        size = self.size if size is None else size
        return PackIndex(size, entries[order], np.array(self._pieces, PIECE), records, about or {}, extra)


def join_records(records: Sequence[bytes]) -> Records:
    """Return records as one array."""
    longest = max(map(len, records), default=0)
    joined = b"".join(record.ljust(longest, b"\0") for record in records)
    return np.frombuffer(joined, np.uint8).reshape(len(records), longest)


def lay_out(entries: Iterable[Entry]) -> PackIndex:
    """Return the index of an object that holds only these entries' pieces, one after another."""
    builder = PackIndexBuilder()
    for entry in entries:
        builder.add(entry)
    return builder.finish()


def encode_rows(rows: PackIndex) -> bytes:
    """Return the content of the file beside the object."""
    header = encode_canonical(
        {
            "size": rows.size,
            "entries": len(rows.entries),
            "record": rows.records.shape[1],
            "pieces": len(rows.pieces),
            "about": dict(rows.about),
        }
    )
    start = b"".join((MAGIC, struct.pack("<I", len(header)), header, rows.entries.tobytes()))
    rest = (rows.records.tobytes(), rows.pieces.tobytes(), rows.extra)
    content = b"".join((start, hashlib.sha256(start).digest(), *rest))
    return content + hashlib.sha256(content).digest()


def decode_entries(file: BinaryIO) -> tuple[int, Array]:
    """Return the size of the object and its entries from the start of such a file.

    Raises:
        DamagedError: this part of it differs from what was written, or another version wrote it.
    """
    start = file.read(len(MAGIC) + 4)
    try:
        if not start.startswith(MAGIC):
            raise DamagedError
        (length,) = struct.unpack_from("<I", start, len(MAGIC))
        start += _read_exactly(file, length)
        header = decode_json(start[len(MAGIC) + 4 :])
        raw = _read_exactly(file, header["entries"] * ENTRY.itemsize)
        if hashlib.sha256(start + raw).digest() != file.read(DIGEST_BYTES):
            raise DamagedError
        return header["size"], np.frombuffer(raw, ENTRY)
    except (FormatError, KeyError, TypeError, ValueError, struct.error) as error:
        raise DamagedError from error


def _read_exactly(file: BinaryIO, size: int) -> bytes:
    """Read so many bytes; a damaged number may be more than the file has, or than memory."""
    start = file.tell()
    if not 0 <= size <= file.seek(0, os.SEEK_END) - start:
        raise DamagedError
    file.seek(start)
    return file.read(size)


def decode_rows(content: bytes) -> PackIndex:
    """Return the index that such a file holds.

    Raises:
        DamagedError: it differs from what was written, or another version wrote it.
    """
    if (
        not content.startswith(MAGIC)
        or hashlib.sha256(memoryview(content)[:-DIGEST_BYTES]).digest() != content[-DIGEST_BYTES:]
    ):
        raise DamagedError
    start = len(MAGIC) + 4
    (length,) = struct.unpack_from("<I", content, len(MAGIC))
    try:
        header = decode_json(content[start : start + length])
        count, width = header["entries"], header["record"]
        entries = np.frombuffer(content, ENTRY, count, start + length)
        start += length + entries.nbytes + DIGEST_BYTES
        records = np.frombuffer(content, np.uint8, count * width, start).reshape(count, width)
        start += records.nbytes
        pieces = np.frombuffer(content, PIECE, header["pieces"], start)
    except (FormatError, KeyError, ValueError) as error:
        raise DamagedError from error
    return PackIndex(
        header["size"], entries, pieces, records, header["about"], content[start + pieces.nbytes : -DIGEST_BYTES]
    )
