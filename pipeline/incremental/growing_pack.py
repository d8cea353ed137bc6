"""Write a pack while its task runs, so that finished entries outlive the process and the next try continues with them.

The pack is in the work folder and becomes an object of the cache at the end. Beside it is a list of its entries: one
line for each time that entries were added, written after their bytes. A line that a killed process left incomplete, and
bytes that no complete line lists, are cut off.
"""

import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple, Self

from pipeline.incremental.object_store import PACK, ObjectStore
from pipeline.incremental.pack_index import DamagedError, Entry, PackIndexBuilder
from pipeline.runtime.stopwatch import clock
from shardwright.format.canonical_json import decode_json, encode_canonical
from shardwright.format.checksum import compute_crc32

FLUSH_SECONDS = 0.01
"""Seconds of work that a process's death costs at most, beside the item that it died at."""


class _Stored(NamedTuple):
    """An entry in the pack: offset, size and crc32 of each piece."""

    rejected: bool
    record: bytes
    pieces: list[tuple[int, int, int]]


class GrowingPack:
    """The pack of one task; a context manager, which closes it and leaves it where it is.

    Args:
        objects: the store that it becomes an object of.
        cache_keys: of all that the task computes: they identify the task over all its tries.

    Attributes:
        recovered: the keys of entries of earlier tries.
    """

    def __init__(self, objects: ObjectStore, cache_keys: bytes) -> None:
        self._objects = objects
        self._rows = PackIndexBuilder()
        self._stored: dict[bytes, _Stored] = {}
        self._waiting: dict[bytes, Entry] = {}
        self._flushed = time.monotonic()
        self._stack = ExitStack()
        self._open(objects.work / f"growing-{hashlib.sha256(cache_keys).hexdigest()[:32]}{PACK}")
        self._recover()
        self.recovered = frozenset(self._stored)

    def _open(self, path: Path) -> None:
        """Lock the files: a worker that was given up as lost may still run the same task."""
        self._path = path
        self._pack: IO[bytes] = self._stack.enter_context(path.open("a+b"))
        if not _lock(self._pack, path):
            self._path = path.with_name(f"growing-{secrets.token_hex(16)}{PACK}")
            self._pack = self._stack.enter_context(self._path.open("a+b"))
        self._list_path = self._path.with_suffix(".list")
        self._list: IO[bytes] = self._stack.enter_context(self._list_path.open("ab"))

    def _recover(self) -> None:
        """Note the complete entries, and cut the files to them."""
        listed = 0
        for line in self._list_path.read_bytes().splitlines(keepends=True):
            entries = self._read_line(line)
            if entries is None:
                break
            listed += len(line)
            for entry in entries:
                self._note(entry)
        self._pack.truncate(self._rows.size)
        self._list.truncate(listed)

    def _read_line(self, line: bytes) -> list[Entry] | None:
        """Return the entries that a line lists; None if one is incomplete."""
        listed = line[9:].removesuffix(b"\n")
        if line != _encode_line(listed):
            return None
        try:
            return [
                Entry(bytes.fromhex(key), self._read_pieces(pieces), rejected, bytes.fromhex(record))
                for key, rejected, record, pieces in decode_json(listed)
            ]
        except DamagedError:
            return None

    def _read_pieces(self, pieces: Iterable[tuple[int, int, int]]) -> list[bytes]:
        content = []
        for offset, size, crc32 in pieces:
            piece = os.pread(self._pack.fileno(), size, offset)
            if len(piece) != size or compute_crc32(piece) != crc32:
                raise DamagedError
            content.append(piece)
        return content

    def _note(self, entry: Entry) -> _Stored:
        stored = self._stored[entry.key] = _Stored(entry.rejected, entry.record, self._rows.add(entry))
        return stored

    def __contains__(self, cache_key: bytes) -> bool:
        return cache_key in self._stored or cache_key in self._waiting

    def keys(self) -> frozenset[bytes]:
        """Return the keys of all entries."""
        return frozenset(self._stored) | frozenset(self._waiting)

    def rejects(self, cache_key: bytes) -> bool:
        """Return whether the pack has a rejection under this key."""
        found = self._waiting.get(cache_key) or self._stored.get(cache_key)
        return found is not None and found.rejected

    def read(self, cache_key: bytes) -> Entry:
        """Return an entry that the pack has.

        Raises:
            DamagedError: its bytes differ from what was written.
        """
        if cache_key in self._waiting:
            return self._waiting[cache_key]
        stored = self._stored[cache_key]
        return Entry(cache_key, self._read_pieces(stored.pieces), stored.rejected, stored.record)

    def add(self, entry: Entry) -> None:
        """Add what was computed from one item."""
        self._waiting[entry.key] = entry
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()
            self._flushed = time.monotonic()

    def flush(self) -> None:
        """Write all that was added, so that it outlives this process."""
        listed = []
        for key, entry in self._waiting.items():
            stored = self._note(entry)
            listed.append([key.hex(), stored.rejected, stored.record.hex(), stored.pieces])
        with clock("write cache"):
            self._pack.write(b"".join(piece for entry in self._waiting.values() for piece in entry.pieces))
            self._pack.flush()
            self._list.write(_encode_line(encode_canonical(listed)))
            self._list.flush()
        self._waiting.clear()

    def finish(self) -> str | None:
        """Make it an object of the cache; return its name, or None if it is empty."""
        self.flush()
        name = self._objects.publish_pack(self._path, self._rows.finish()) if len(self._rows) else None
        self.discard()
        return name

    def discard(self) -> None:
        """Remove its files: what it has is stored elsewhere, or a next try has to start anew."""
        for path in (self._list_path, self._path):
            path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


def _lock(file: IO[bytes], path: Path) -> bool:
    """Lock a file until it is closed; return whether that was possible and it still is the file at `path`."""
    with suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    return False


def _encode_line(listed: bytes) -> bytes:
    """Return JSON on a line with its crc32."""
    return b"%08x %s\n" % (compute_crc32(listed), listed)
