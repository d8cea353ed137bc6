"""Reads entries, and holds every byte to its checksum."""

import os
from collections import OrderedDict
from types import TracebackType
from typing import Self

from pipeline.cache.lookup import EntryLocations
from pipeline.cache.object_store import ObjectStore
from pipeline.cache.pack_index import DamagedError, Entry, PackIndex
from shardwright.format.checksum import compute_crc32

MAX_OPEN = 64
"""Objects that are open at a time. A shard is made of two or three, or of some tens once its params changed."""


class EntryReader:
    """Reads entries of any objects; a context manager."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._open: OrderedDict[str, tuple[int, PackIndex]] = OrderedDict()

    def read(self, name: str, row: int, fingerprint: bytes) -> Entry:
        """Entry number `row` of the object `name`, which must be the one of this fingerprint.

        Raises:
            DamagedError: it is not there, or not as it was written.
        """
        descriptor, rows = self._open_object(name)
        if row >= len(rows.entries):
            raise DamagedError
        stored, rejected, first, count = rows.entries[row].tolist()
        if stored.ljust(32, b"\0") != fingerprint:
            raise DamagedError
        pieces = []
        for offset, size, crc32 in rows.pieces[first : first + count].tolist():
            piece = os.pread(descriptor, size, offset)
            if len(piece) != size or compute_crc32(piece) != crc32:
                raise DamagedError
            pieces.append(piece)
        if len(pieces) != count:
            raise DamagedError
        return Entry(fingerprint, pieces, rejected)

    def read_placed(self, placed: EntryLocations, at: int) -> Entry | None:
        """The entry at place `at`; None where it is in no object.

        Raises:
            DamagedError: it is not as it was written, or not there any more.
        """
        name = placed.find_object(at)
        return None if name is None else self.read(name, int(placed.rows[at]), placed.encode_key(at))

    def close(self) -> None:
        """Close what is open."""
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
