"""Read entries of the cache and verify the checksum of every byte."""

import os
from collections import OrderedDict
from types import TracebackType
from typing import Self

from pipeline.incremental.object_store import ObjectStore
from pipeline.incremental.pack_index import DamagedError, Entry, PackIndex
from shardwright.format.checksum import compute_crc32

MAX_OPEN = 64
"""Objects that are open at a time. A shard needs two or three, or some tens after its params changed."""


class EntryReader:
    """Reads entries of any object; a context manager."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._open: OrderedDict[str, tuple[int, PackIndex]] = OrderedDict()

    def read(self, name: str, row: int, key: bytes) -> Entry:
        """Return entry number `row` of the object `name`, which must have this key.

        Raises:
            DamagedError: it is missing, or differs from what was written.
        """
        descriptor, rows = self._open_object(name)
        rejected, first, count = _find_entry(rows, row, key)
        pieces = []
        for offset, size, crc32 in rows.pieces[first : first + count].tolist():
            piece = os.pread(descriptor, size, offset)
            if len(piece) != size or compute_crc32(piece) != crc32:
                raise DamagedError
            pieces.append(piece)
        if len(pieces) != count:
            raise DamagedError
        return Entry(key, pieces, rejected, rows.records[row].tobytes())

    def close(self) -> None:
        """Close the open objects."""
        while self._open:
            os.close(self._open.popitem()[1][0])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open_object(self, name: str) -> tuple[int, PackIndex]:
        if name in self._open:
            self._open.move_to_end(name)
            return self._open[name]
        rows = self._objects.read_rows(name)
        if len(self._open) == MAX_OPEN:
            os.close(self._open.popitem(last=False)[1][0])
        try:
            descriptor = os.open(self._objects.find_path(name), os.O_RDONLY)
        except FileNotFoundError as error:
            raise DamagedError from error
        self._open[name] = descriptor, rows
        return descriptor, rows


def _find_entry(rows: PackIndex, row: int, key: bytes) -> tuple[bool, int, int]:
    """Return whether the entry is a rejection, its first piece, and how many it has."""
    if row >= len(rows.entries):
        raise DamagedError
    stored, rejected, first, count = rows.entries[row].tolist()
    if stored.ljust(32, b"\0") != key:
        raise DamagedError
    return rejected, first, count
