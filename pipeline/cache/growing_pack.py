"""A pack that grows while its task runs, so that what is finished outlives the process: the next try goes on with it.

It lies in the work folder and becomes an object of the cache at the end. Beside it lies a list of what is in it: a line
a time that something was added, written after the bytes are. What a killed process left of a line, and the bytes that
no whole line tells of, are cut off.
"""

import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from pipeline.cache.object_store import PACK, ObjectStore
from pipeline.cache.pack_index import Entry, PackIndexBuilder
from pipeline.runtime.stopwatch import clock
from shardwright.format.canonical_json import decode_json, encode_canonical
from shardwright.format.checksum import compute_crc32

LOSS = 0.01
"""Seconds of work that a death costs at most, beside the item that it came at."""


class GrowingPack:
    """The pack of one task; a context manager, which closes it and leaves it where it is.

    Args:
        prints: the fingerprints of all that the task computes: which task it is, over all its tries.

    Attributes:
        remains: what earlier tries finished, by fingerprint; it is in the pack.
    """

    def __init__(self, objects: ObjectStore, prints: bytes) -> None:
        self._objects = objects
        self._rows = PackIndexBuilder()
        self._waiting: list[Entry] = []
        self._flushed = time.monotonic()
        self._stack = ExitStack()
        self._open(objects.work / f"growing-{hashlib.sha256(prints).hexdigest()[:32]}{PACK}")
        self.remains: Mapping[bytes, Entry] = {entry.fingerprint: entry for entry in self._take_remains()}

    def _open(self, path: Path) -> None:
        """Have the files alone: a worker that was given up for lost may still be at the same task."""
        self._path = path
        self._pack: IO[bytes] = self._stack.enter_context(path.open("ab"))
        if not _claim(self._pack, path):
            self._path = path.with_name(f"growing-{secrets.token_hex(16)}{PACK}")
            self._pack = self._stack.enter_context(self._path.open("ab"))
        self._list_path = self._path.with_suffix(".list")
        self._list: IO[bytes] = self._stack.enter_context(self._list_path.open("ab"))

    def _take_remains(self) -> Iterator[Entry]:
        """The entries that are whole; the files are cut to them."""
        content, listed = self._path.read_bytes(), 0
        for line in self._list_path.read_bytes().splitlines(keepends=True):
            entries = _read_line(line, content, self._rows.size)
            if entries is None:
                break
            listed += len(line)
            for entry in entries:
                self._rows.add(entry)
            yield from entries
        self._pack.truncate(self._rows.size)
        self._list.truncate(listed)

    def add(self, entries: Iterable[Entry]) -> None:
        """Take what was computed from one item."""
        self._waiting += entries
        if time.monotonic() - self._flushed > LOSS:
            self.flush()
            self._flushed = time.monotonic()

    def flush(self) -> None:
        """Have all that was added outlive this process."""
        listed = [[entry.fingerprint.hex(), entry.rejected, self._rows.add(entry)] for entry in self._waiting]
        with clock("write cache"):
            self._pack.write(b"".join(piece for entry in self._waiting for piece in entry.pieces))
            self._pack.flush()
            self._list.write(_encode_line(encode_canonical(listed)))
            self._list.flush()
        self._waiting.clear()

    def finish(self) -> str | None:
        """Make it an object of the cache; its name, or None if there is nothing in it."""
        self.flush()
        name = self._objects.publish_pack(self._path, self._rows.finish()) if len(self._rows) else None
        self.discard()
        return name

    def discard(self) -> None:
        """Remove what is left of its files: there is no next try, or it has to start anew."""
        for path in (self._list_path, self._path):
            path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


def _claim(file: IO[bytes], path: Path) -> bool:
    """Lock a file, until it is closed; whether that could be done, and it still is the one at `path`."""
    with suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    return False


def _encode_line(listed: bytes) -> bytes:
    """JSON on a line with its crc32."""
    return b"%08x %s\n" % (compute_crc32(listed), listed)


def _read_line(line: bytes, content: bytes, start: int) -> list[Entry] | None:
    """The entries that a line tells of, whose bytes begin at `start` of the pack's; None if they are not all whole."""
    listed = line[9:].removesuffix(b"\n")
    if line != _encode_line(listed):
        return None
    entries = []
    for fingerprint, rejected, pieces in decode_json(listed):
        read = []
        for offset, size, crc32 in pieces:
            read.append(content[offset : offset + size])
            if offset != start or len(read[-1]) != size or compute_crc32(read[-1]) != crc32:
                return None
            start += size
        entries.append(Entry(bytes.fromhex(fingerprint), read, rejected))
    return entries
