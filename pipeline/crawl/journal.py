"""The answers of all crawls, in files that are only ever appended to, outside every output folder.

A record is a header, the answer's head as JSON, and its body. Each run that learns something new writes a file of its
own, so that any number of processes may do so; a killed one leaves whole records and at most one that is cut, which
is as good as none. A crawl of a million URLs leaves one file, where a file an answer would leave a million.
"""

import hashlib
import mmap
import secrets
import struct
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple, Self

from pipeline.crawl.http_request import HttpResponse, decode_head, encode_head
from pipeline.errors import InputError
from pipeline.tables.blob_store import BlobLocation, TarReader
from shardwright.format.atomic_write import sync_behind

MAGIC = b"\xf1SWCRAWL"
"""At the start of each record; found again behind one that is damaged."""

HEADER = struct.Struct("<8s32s32sIQI")
"""Magic; sha256 of the key and of the body; bytes of the head and of the body; crc32 of all that and of the head."""


SYNC_BYTES = 64 << 20
"""Written before they are synced, while the crawl goes on: a power cut takes the last seconds of it."""


@dataclass(frozen=True, slots=True)
class Body:
    """Where the body of an answer stands below the journal's folder, and its sha256 in hexadecimal."""

    place: BlobLocation
    sha256: str


class _Record(NamedTuple):
    """Where a record is: the number of its file, its offset there, its size and that of its body, whose sha256."""

    file: int
    offset: int
    size: int
    body_bytes: int
    sha256: bytes


class Journal:
    """The files `*.answers` of a folder; a context manager. Of two answers for one key the later counts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = ExitStack()
        self._reader = self._stack.enter_context(TarReader(folder))
        self._sync = self._stack.enter_context(sync_behind())
        self._records: dict[bytes, _Record] = {}  # by sha256 of the key
        self._names = sorted(path.name for path in folder.glob("*.answers"))
        self._file: IO[bytes] | None = None
        self._end = self._synced = 0
        for number, name in enumerate(self._names):
            self._records.update(_scan(folder / name, number))

    def read(self, key: str) -> HttpResponse | None:
        """The answer for `key`, or None where there is none or it is damaged."""
        hashed = _hash_key(key)
        found = self._records.get(hashed)
        if found is None:
            return None
        try:
            record = self._reader.read(BlobLocation(self._names[found.file], found.offset, found.size))
        except InputError:
            return None
        header = _read_header(record)
        if header is None or header.key != hashed:
            return None
        start = HEADER.size + header.head_bytes
        body = record[start:]
        if hashlib.sha256(body).digest() != header.sha256:
            return None
        return decode_head(record[HEADER.size : start], body)

    def find_body(self, key: str) -> Body | None:
        """Where the body of the answer for `key` is, as far as is known: it is not read."""
        found = self._records.get(_hash_key(key))
        if found is None:
            return None
        start = found.offset + found.size - found.body_bytes
        return Body(BlobLocation(self._names[found.file], start, found.body_bytes), found.sha256.hex())

    def write(self, key: str, exchange: HttpResponse) -> None:
        """Keep an answer, whole or not at all."""
        head, hashed, body = encode_head(exchange), _hash_key(key), exchange.body
        sha256 = hashlib.sha256(body).digest()
        front = HEADER.pack(MAGIC, hashed, sha256, len(head), len(body), 0)[:-4]
        record = b"".join((front, zlib.crc32(head, zlib.crc32(front)).to_bytes(4, "little"), head, body))
        if self._file is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._names.append(f"{time.time_ns():020d}-{secrets.token_hex(4)}.answers")
            self._file = self._stack.enter_context((self.folder / self._names[-1]).open("xb", buffering=0))
        view = memoryview(record)
        while view:
            view = view[self._file.write(view) :]
        self._records[hashed] = _Record(len(self._names) - 1, self._end, len(record), len(body), sha256)
        self._end += len(record)
        if self._end - self._synced >= SYNC_BYTES:
            self._sync(self.folder / self._names[-1])
            self._synced = self._end

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

    @property
    def record_bytes(self) -> int:
        return HEADER.size + self.head_bytes + self.body_bytes


def _read_header(data: "bytes | mmap.mmap", at: int = 0) -> _Header | None:
    """The header that stands there, None if it is none, or damaged, or the head after it is."""
    if len(data) < at + HEADER.size:
        return None
    magic, key, sha256, head_bytes, body_bytes, crc32 = HEADER.unpack_from(data, at)
    front = data[at : at + HEADER.size - 4]
    head = data[at + HEADER.size : at + HEADER.size + head_bytes]
    if magic != MAGIC or len(head) < head_bytes or zlib.crc32(head, zlib.crc32(front)) != crc32:
        return None
    return _Header(key, sha256, head_bytes, body_bytes)


def _scan(path: Path, number: int) -> Iterator[tuple[bytes, _Record]]:
    """The key, hashed, and the place of each whole record of a file with that number. Bodies are not read."""
    if path.stat().st_size < HEADER.size:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = 0
        while at >= 0:
            header = _read_header(data, at)
            if header is not None and at + header.record_bytes <= len(data):
                yield header.key, _Record(number, at, header.record_bytes, header.body_bytes, header.sha256)
                at += header.record_bytes
            elif at < len(data):
                at = data.find(MAGIC, at + 1)
            else:
                return


def _hash_key(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
