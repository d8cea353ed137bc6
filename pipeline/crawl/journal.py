"""Store the responses of all crawls in append-only files of the cache.

A record is a header, the response's head as JSON, and its body. Each run with new responses writes a file of its own,
so any number of processes may write at a time; a killed one leaves complete records and at most one that is cut, which
is ignored. A crawl of a million URLs leaves one file, where a file a response would leave a million. Where a body is
what it was, the record has the key of the one that has it in its place. A file's name says which hosts it is about, so
that each of several processes reads those that may have a response for its own.
"""

import hashlib
import mmap
import os
import secrets
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple, Self

from pipeline.crawl.http_request import HttpResponse, decode_head, encode_head
from pipeline.crawl.partition import ALL_HOSTS, Partition, parse_file_name
from pipeline.errors import InputError
from pipeline.tables.blob_store import BlobLocation, TarReader
from shardwright.format.atomic_write import sync_behind

MAGIC = b"\xf1SWCRAWL"
"""Starts each record; searched for behind a damaged one."""

HEADER = struct.Struct("<8s32s32sIQI")
"""Magic; sha256 of the key and of the body; bytes of the head and of the body; crc32 of all that and of the head.

The highest bit of the head's bytes says that the hashed key of the record with the body follows, and not the body."""

ELSEWHERE = 1 << 31
REFRESH = "refresh-"
"""Begins the names of empty files beside the journal's, one for each value of `crawl.refresh` that was used but 0."""

SYNC_BYTES = 64 << 20
"""Bytes written between two syncs, which run beside the crawl: a power failure loses its last seconds."""

Clock = Callable[[], float]
"""Returns the time in seconds since 1970, UTC, as `time.time` does; tests turn it."""


@dataclass(frozen=True, slots=True)
class Body:
    """The location of a response's body below the journal's folder, and its sha256 in hexadecimal."""

    location: BlobLocation
    sha256: str


class _Record(NamedTuple):
    """The location of a record: index of its file, offset there, size; and size and sha256 of its body.

    If the body is in another record, `body_bytes` is the size of that one's key.
    """

    file: int
    offset: int
    size: int
    body_bytes: int
    sha256: bytes
    elsewhere: bool


class Journal:
    """The files `*.answers` of a folder; a context manager. Of two responses for one key the later counts.

    `clock` tells when a response is fetched, and so how old it is. Responses of other than `hosts` are not read.
    """

    def __init__(self, folder: Path, clock: Clock = time.time, hosts: Partition = ALL_HOSTS) -> None:
        self.folder = folder
        self.clock = clock
        self._stack = ExitStack()
        self._reader = self._stack.enter_context(TarReader(folder))
        self._sync = self._stack.enter_context(sync_behind())
        self._records: dict[bytes, _Record] = {}  # by sha256 of the key
        self._hosts = hosts
        self._names: list[str] = []
        self._ends: dict[str, tuple[int, int]] = {}  # by name: its index, and the end of its last known record
        self._file: IO[bytes] | None = None
        self._own = self._end = self._synced = 0  # index and end of the file that is written
        self._noted = {0}
        self.read_new()

    def read_new(self) -> None:
        """Find the responses that others have written since, or before."""
        own = self._names[self._own] if self._file else None
        for path in sorted(self.folder.glob("*.answers")):
            if path.name == own or not self._hosts.overlaps(parse_file_name(path.name)):
                continue
            if path.name not in self._ends:
                self._ends[path.name] = len(self._names), 0
                self._names.append(path.name)
            index, end = self._ends[path.name]
            for key, record in _scan(path, index, end):
                self._records[key] = record
                self._ends[path.name] = index, record.offset + record.size

    def read(self, key: str) -> HttpResponse | None:
        """Return the response for `key`, or None if there is none or it is damaged."""
        hashed = _hash_key(key)
        found = self._records.get(hashed)
        parts = self._read_parts(found, hashed) if found else None
        if found is None or parts is None:
            return None
        head, body = parts
        if found.elsewhere:
            holder = self._find_holder(found, body)
            held = self._read_parts(holder, body) if holder else None
            if held is None:
                return None
            body = held[1]
        return decode_head(head, body) if hashlib.sha256(body).digest() == found.sha256 else None

    def read_head(self, key: str) -> HttpResponse | None:
        """Return the response for `key` without its body, which may be damaged; None if there is none."""
        hashed = _hash_key(key)
        found = self._records.get(hashed)
        parts = self._read_parts(found, hashed, found.size - found.body_bytes) if found else None
        return decode_head(parts[0], b"") if parts else None

    def has(self, key: str) -> bool:
        """Return whether there is a response for `key`, sound or not."""
        return _hash_key(key) in self._records

    def _read_parts(self, record: _Record, hashed: bytes, size: int | None = None) -> tuple[bytes, bytes] | None:
        """Return the encoded head of the record for the hashed key, and what follows it, or what `size` bytes have of
        both; None if it is damaged."""
        try:
            data = self._reader.read(BlobLocation(self._names[record.file], record.offset, size or record.size))
        except InputError:
            return None
        header = _read_header(data)
        if header is None or header.key != hashed:
            return None
        start = HEADER.size + header.head_bytes
        return data[HEADER.size : start], data[start:]

    def _find_holder(self, record: _Record, hashed: bytes) -> _Record | None:
        """Return the record that has the body of another one, by its hashed key; None if it no longer has it."""
        holder = self._records.get(hashed)
        return holder if holder and holder.sha256 == record.sha256 and not holder.elsewhere else None

    def find_body(self, key: str) -> Body | None:
        """Return where the body of the response for `key` is, without reading it; None if there is no response."""
        found: _Record | None = self._records.get(_hash_key(key))
        if found is not None and found.elsewhere:
            parts = self._read_parts(found, _hash_key(key))
            found = self._find_holder(found, parts[1]) if parts else None
        if found is None:
            return None
        start = found.offset + found.size - found.body_bytes
        return Body(BlobLocation(self._names[found.file], start, found.body_bytes), found.sha256.hex())

    def write(self, key: str, response: HttpResponse) -> None:
        """Store a response, completely or not at all."""
        sha256 = hashlib.sha256(response.body).digest()
        self._write(_hash_key(key), sha256, encode_head(response), response.body, elsewhere=False)

    def write_unchanged(self, key: str, response: HttpResponse, earlier: str) -> None:
        """Store a response whose body is the one that was read for another key, without that."""
        holder = _hash_key(earlier)
        found = self._records[holder]
        parts = self._read_parts(found, holder) if found.elsewhere else None
        self._write(_hash_key(key), found.sha256, encode_head(response), parts[1] if parts else holder, elsewhere=True)

    def _write(self, hashed: bytes, sha256: bytes, head: bytes, body: bytes, elsewhere: bool) -> None:
        record = _encode(hashed, sha256, head, body, elsewhere)
        if self._file is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            stem = f"{time.time_ns():020d}-{secrets.token_hex(4)}"
            self._own = len(self._names)
            self._names.append(self._hosts.name_file(stem, "answers"))
            self._file = self._stack.enter_context((self.folder / self._names[-1]).open("xb", buffering=0))
        view = memoryview(record)
        while view:
            view = view[self._file.write(view) :]
        self._records[hashed] = _Record(self._own, self._end, len(record), len(body), sha256, elsewhere)
        self._end += len(record)
        if self._end - self._synced >= SYNC_BYTES:
            self._sync(self.folder / self._names[self._own])
            self._synced = self._end

    def sync(self) -> None:
        """Have all that was written on the disk, where other machines see it."""
        if self._file is not None:
            os.fdatasync(self._file.fileno())

    def list_refreshes(self, refresh: int) -> list[int]:
        """Return the other values of `crawl.refresh` that have responses, or may have, the closest below it first."""
        noted = {0, *(int(path.name.removeprefix(REFRESH)) for path in self.folder.glob(f"{REFRESH}[0-9]*"))}
        return sorted((number for number in noted if number < refresh), reverse=True)

    def note_refresh(self, refresh: int) -> None:
        """Have `list_refreshes` know that value."""
        if refresh not in self._noted:
            self._noted.add(refresh)
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / f"{REFRESH}{refresh}").touch()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)


@dataclass(frozen=True, slots=True)
class _Header:
    key: bytes
    sha256: bytes
    head_bytes: int
    body_bytes: int
    elsewhere: bool

    @property
    def record_bytes(self) -> int:
        return HEADER.size + self.head_bytes + self.body_bytes


def _read_header(data: "bytes | mmap.mmap", offset: int = 0) -> _Header | None:
    """Return the header at `offset`; None if there is none, or if it or the head after it is damaged."""
    if len(data) < offset + HEADER.size:
        return None
    magic, key, sha256, head_bytes, body_bytes, crc32 = HEADER.unpack_from(data, offset)
    front = data[offset : offset + HEADER.size - 4]
    elsewhere, head_bytes = bool(head_bytes & ELSEWHERE), head_bytes & ~ELSEWHERE
    head = data[offset + HEADER.size : offset + HEADER.size + head_bytes]
    if magic != MAGIC or len(head) < head_bytes or zlib.crc32(head, zlib.crc32(front)) != crc32:
        return None
    return _Header(key, sha256, head_bytes, body_bytes, elsewhere)


def _scan(path: Path, index: int, start: int) -> Iterator[tuple[bytes, _Record]]:
    """Yield the hashed key and the location of each complete record from `start` on, in the file with that index. Reads
    no bodies."""
    if path.stat().st_size < start + HEADER.size:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        offset = start
        while offset >= 0:
            header = _read_header(data, offset)
            if header is not None and offset + header.record_bytes <= len(data):
                yield header.key, _locate(header, index, offset)
                offset += header.record_bytes
            elif offset < len(data):
                offset = data.find(MAGIC, offset + 1)
            else:
                return


def _locate(header: _Header, index: int, offset: int) -> _Record:
    size = header.record_bytes
    return _Record(index, offset, size, header.body_bytes, header.sha256, elsewhere=header.elsewhere)


def _encode(hashed: bytes, sha256: bytes, head: bytes, body: bytes, elsewhere: bool) -> bytes:
    """Return a record with the body, or if it is elsewhere, with the hashed key of its record."""
    front = HEADER.pack(MAGIC, hashed, sha256, len(head) | ELSEWHERE * elsewhere, len(body), 0)[:-4]
    return b"".join((front, zlib.crc32(head, zlib.crc32(front)).to_bytes(4, "little"), head, body))


def _hash_key(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
