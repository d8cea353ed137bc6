"""A walk through a shard, byte by byte and in order, that compares it with what must be there."""

import hashlib
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from shardwright import tar
from shardwright.field import Field
from shardwright.index import Index
from shardwright.layout import Layout, plan_layout
from shardwright.manifest import ShardRecord

READ_BYTES = 1 << 20
MAX_DAMAGES = 100
"""Damages that are kept a shard, so that memory does not grow with the damage; the rest are counted."""


@dataclass(frozen=True)
class Damage:
    """One place where a shard is not as it was written; `sample` is a key, or None outside of samples."""

    sample: str | None
    what: str


@dataclass(frozen=True)
class Walk:
    """What a walk through a shard found: the sha256 of all its bytes, and the damages, the first of `count`."""

    sha256: str
    damages: tuple[Damage, ...]
    count: int


class _Hashed:
    """A file that is hashed while it is read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.digest.update(data)
        return data


def hash_file(path: Path) -> str:
    """The sha256 of a file as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def walk_shard(path: Path, record: ShardRecord, fields: Mapping[str, Field], index: Index) -> Walk:
    """Read a shard once, in the memory of one sample, and compare it with its rows of the index.

    Every byte is compared: headers with those that would be written, contents by their crc32, paddings and the
    end with zeros.
    """
    layout = plan_layout(fields, record.meta_bytes)
    damages: list[Damage] = []
    count = 0
    with path.open("rb", READ_BYTES) as raw:
        file = _Hashed(raw)
        for damage in _find_damages(file, layout, index):
            count += 1
            if count <= MAX_DAMAGES:
                damages.append(damage)
        while file.read(READ_BYTES):
            pass
        return Walk(file.digest.hexdigest(), tuple(damages), count)


def _find_damages(file: _Hashed, layout: Layout, index: Index) -> Iterator[Damage]:
    for row in index:
        key = row["key"].decode()
        sample = file.read(layout.stride)
        if len(sample) < layout.stride:
            yield Damage(key, "the shard is cut here: this sample and those after it are missing")
            return
        yield from _compare_sample(sample, key, layout, row["crc32"].tolist())
    end = file.read(len(tar.END))
    if end != tar.END:
        yield Damage(None, "the shard does not end with two zero blocks after its last sample")
    if file.read(1):
        yield Damage(None, "there are bytes after the end of the shard")


def _compare_sample(sample: bytes, key: str, layout: Layout, checksums: list[int]) -> Iterator[Damage]:
    view = memoryview(sample)  # slices of bytes are compared fast and copied, those of a view neither
    for suffix, size, start, wanted in zip(layout.suffixes, layout.sizes, layout.offsets, checksums, strict=True):
        end = start + size
        if sample[start - tar.BLOCK : start] != tar.encode_header(f"{key}.{suffix}", size):
            yield Damage(key, f"{suffix}: its tar header is not the one that was written")
        found = zlib.crc32(view[start:end])
        if found != wanted:
            yield Damage(key, f"{suffix}: its crc32 is {found:08x}, the index says {wanted:08x}")
        if sample[end : end + tar.count_padding(size)].strip(b"\0"):
            yield Damage(key, f"{suffix}: the padding after it is not zero")
