"""Compare every byte of a shard with its index and manifest, in one pass."""

import errno
import hashlib
import os
import stat
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from io import BufferedReader, FileIO
from pathlib import Path
from typing import Any

import numpy as np

from shardwright.format import tar
from shardwright.format.checksum import compute_crc32
from shardwright.format.compare_block import find_suspects
from shardwright.format.encode import KEY
from shardwright.format.field import Field
from shardwright.format.image_header import check_jpeg
from shardwright.format.index import Index, decode_key
from shardwright.format.layout import Layout, plan_layout
from shardwright.format.manifest import ShardRecord

READ_BYTES = 1 << 20
LARGE_SAMPLE = 1 << 16
"""Bytes from which samples are compared one by one: NumPy saves less for each than it costs to read a block before it
is compared. Without the sha256, at 170 kB blocks took 1.7 times as long as single samples, at 17 kB half as long."""
MAX_DAMAGES = 100
"""Damages recorded for a shard, so that memory does not grow with them; further ones are only counted."""


@dataclass(frozen=True)
class Damage:
    """A difference between a shard and what was written; `sample` is its key, or None outside of samples."""

    sample: str | None
    what: str


@dataclass(frozen=True)
class WalkResult:
    """The sha256 of all bytes of a shard, the first `MAX_DAMAGES` damages, and the count of all."""

    sha256: str
    damages: tuple[Damage, ...]
    count: int


class _HashingFile:
    """A file that is hashed as it is read."""

    def __init__(self, file: BufferedReader) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.digest.update(data)
        return data

    def read_into(self, memory: memoryview) -> int:
        """Fill memory as far as the file goes; return the number of bytes."""
        count = self._file.readinto(memory)
        self.digest.update(memory[:count])
        return count


def open_file(path: Path) -> BufferedReader:
    """Open a regular file for reading.

    Raises:
        OSError: it cannot be opened, or is not a regular file: reading a pipe could wait forever.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a file", str(path))
    return BufferedReader(FileIO(descriptor), READ_BYTES)


def hash_file(path: Path) -> str:
    """Return the sha256 of a file, 64 hex digits."""
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def walk_shard(path: Path, record: ShardRecord, fields: Mapping[str, Field], index: Index) -> WalkResult:
    """Read a shard once, with one sample or `READ_BYTES` in memory, and compare it with its rows of the index.

    Every byte is compared: tar and NPY headers with those that would be written, contents by their crc32, padding and
    the end with zeros; the headers of JPEG files with their fields.
    """
    layout = plan_layout(fields, record.meta_bytes)
    damages: list[Damage] = []
    count = 0
    with open_file(path) as raw:
        file = _HashingFile(raw)
        for damage in _find_damages(file, layout, index):
            count += 1
            if count <= MAX_DAMAGES:
                damages.append(damage)
        while file.read(READ_BYTES):
            pass
        return WalkResult(file.digest.hexdigest(), tuple(damages), count)


def _find_damages(file: _HashingFile, layout: Layout, index: Index) -> Iterator[Damage]:
    alone = layout.varying or layout.stride >= LARGE_SAMPLE
    missing = yield from (_walk_samples if alone else _walk_blocks)(file, layout, index)
    if missing is not None:
        yield Damage(missing, "the shard ends here: this sample and those after it are missing")
        return
    end = file.read(len(tar.END))
    if end != tar.END:
        yield Damage(None, "the shard does not end with two zero blocks after its last sample")
    if file.read(1):
        yield Damage(None, "bytes follow the end of the shard")


def _walk_samples(file: _HashingFile, layout: Layout, index: Index) -> Generator[Damage, None, str | None]:
    """Yield the damages of samples that are large or vary in size; return the key of the first that is missing."""
    for row in index:
        fitted = layout.fit(row["size"].tolist()) if layout.varying else layout
        sample = file.read(fitted.stride)
        if len(sample) < fitted.stride:
            return decode_key(row["key"])
        yield from _compare_sample(sample, row, fitted)
    return None


def _walk_blocks(file: _HashingFile, layout: Layout, index: Index) -> Generator[Damage, None, str | None]:
    """Yield the damages of samples that all have one size, a block at a time; return the first key that is missing."""
    stride, count = layout.stride, READ_BYTES // layout.stride + 1  # more than the reader's buffer, which saves a copy
    memory = bytearray(min(count, len(index)) * stride)
    for first in range(0, len(index), count):
        rows = index[first : first + count]
        whole = file.read_into(memoryview(memory)[: len(rows) * stride]) // stride
        samples = np.frombuffer(memory, np.uint8, whole * stride).reshape(whole, stride)
        for number in find_suspects(samples, layout, rows[:whole]).tolist():
            yield from _compare_sample(samples[number].tobytes(), rows[number], layout)
        if whole < len(rows):
            return decode_key(rows[whole]["key"])
    return None


def _compare_sample(sample: bytes, row: Any, layout: Layout) -> Iterator[Damage]:
    """Yield what differs in one sample, given its row of the index."""
    key, checksums = decode_key(row["key"]), row["crc32"].tolist()
    if not KEY.fullmatch(key):
        yield Damage(key, f"the key must match {KEY.pattern}")
        return
    view = memoryview(sample)  # its slices are not copied, but compare slowly; those of bytes are, and compare fast
    shapes = layout.image_shapes
    members = zip(layout.suffixes, layout.heads, shapes, layout.sizes, layout.offsets, checksums, strict=True)
    for suffix, head, shape, size, start, expected in members:
        end = start + size
        if sample[start - tar.BLOCK : start] != tar.encode_header(f"{key}.{suffix}", size):
            yield Damage(key, f"{suffix}: its tar header differs from the one that was written")
        found = compute_crc32(view[start:end])
        if found != expected:
            yield Damage(key, f"{suffix}: its crc32 is {found:08x}, the index says {expected:08x}")
        elif not sample.startswith(head, start):
            yield Damage(key, f"{suffix}: its NPY header is not that of the field in the manifest")
        elif shape is not None and (fault := _find_fault(sample[start:end], shape)):
            yield Damage(key, f"{suffix}: {fault}")
        if sample[end : end + tar.count_padding(size)].strip(b"\0"):
            yield Damage(key, f"{suffix}: the padding after it is not zero")


def _find_fault(data: bytes, shape: tuple[int, ...]) -> str | None:
    """Return what is wrong with a JPEG file of a field of this shape, or None."""
    try:
        check_jpeg(data, shape)
    except ValueError as error:
        return str(error)
    return None
