"""Samples to the bytes of a shard: pure, and the same bytes from the same samples, always."""

import hashlib
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from shardwright import tar
from shardwright.canonical import encode_canonical
from shardwright.errors import FormatError
from shardwright.field import Field, check_fields
from shardwright.index import Index, index_dtype
from shardwright.layout import plan_layout
from shardwright.manifest import ShardRecord
from shardwright.publish import write_file

KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")

CHUNK_BYTES = 1 << 17
"""At least, of a shard, given to the system at a time. Member by member a shard of 12 MB takes 9 ms to write, in chunks
6, in one piece up to 34 (Linux 6.18, ext4, a virtual machine)."""


@dataclass(frozen=True)
class Sample:
    """One sample as given: its key, an array (or Python number, or the bytes of a JPEG file) a field, and whatever JSON
    goes with it."""

    key: str
    arrays: Mapping[str, object]
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class EncodedSample:
    """One sample as bytes, but for its meta, which is not padded yet: the other members are as any shard has them.

    Attributes:
        pieces: these members one after another, each with its header and padding.
        checksums: the crc32 of their contents.
        sizes: of the contents of those that vary.
    """

    key: str
    pieces: tuple[bytes, ...]
    checksums: tuple[int, ...]
    sizes: tuple[int, ...]
    meta: bytes


@dataclass(frozen=True)
class EncodedShard:
    """A whole shard in memory, in pieces; `size` in bytes, `index` a row a sample (see `shardwright.index`)."""

    pieces: tuple[bytes, ...]
    index: Index
    size: int
    meta_bytes: int
    sha256: str

    @property
    def count(self) -> int:
        """Samples in the shard."""
        return len(self.index)

    def chunks(self) -> Iterator[bytes]:
        """The shard's bytes, at least `CHUNK_BYTES` at a time but for the last."""
        return join_pieces(self.pieces)


@dataclass(frozen=True)
class WrittenShard:
    """A shard on disk: its row in the manifest and its rows in the index. Small enough to send about."""

    record: ShardRecord
    index: Index


def encode_sample(fields: Mapping[str, Field], sample: Sample) -> EncodedSample:
    """The sample's bytes, copied: the arrays may change afterwards.

    Raises:
        FormatError: a key, array or meta that the format does not allow; the message names sample and field.
    """
    if not isinstance(sample.key, str) or not KEY.fullmatch(sample.key):
        raise FormatError(f"key {sample.key!r} must match {KEY.pattern}")
    if sample.arrays.keys() != fields.keys():
        missing = [name for name in fields if name not in sample.arrays]
        extra = [name for name in sample.arrays if name not in fields]
        raise FormatError(f"sample {sample.key!r}: missing fields {missing}, unknown fields {extra}")
    contents = []
    for name, spec in fields.items():
        try:
            contents.append(spec.header + spec.encode(sample.arrays[name]))
        except FormatError as error:
            raise FormatError(f"sample {sample.key!r}, field {name!r}: {error}") from error
    return encode_members(fields, sample.key, contents, _encode_meta(sample))


def encode_members(
    fields: Mapping[str, Field],
    key: str,
    contents: Sequence[bytes],
    meta: bytes,
    checksums: Sequence[int] | None = None,
) -> EncodedSample:
    """The sample with these contents of its members, in the order of the fields, and their crc32 where it is known."""
    pieces: list[bytes] = []
    sizes: list[int] = []
    for (name, spec), content in zip(fields.items(), contents, strict=True):
        header = tar.encode_header(f"{key}.{name}.{spec.suffix}", len(content))
        pieces += (header, content, bytes(tar.count_padding(len(content))))
        if spec.varies:
            sizes.append(len(content))
    return EncodedSample(key, tuple(pieces), tuple(checksums or map(zlib.crc32, contents)), tuple(sizes), meta)


def join_samples(fields: Mapping[str, Field], samples: Sequence[EncodedSample]) -> EncodedShard:
    """The shard of these samples, in their order; every meta is padded with spaces to the longest.

    Raises:
        FormatError: two samples have the same key.
    """
    meta_bytes = max((len(sample.meta) for sample in samples), default=0)
    layout = plan_layout(fields, meta_bytes)
    padding = bytes(tar.count_padding(meta_bytes))
    index = np.zeros(len(samples), index_dtype(fields))
    pieces: list[bytes] = []
    seen: set[str] = set()
    for row, sample in enumerate(samples):
        if sample.key in seen:
            raise FormatError(f"key {sample.key!r} is there twice in the shard")
        seen.add(sample.key)
        meta = sample.meta.ljust(meta_bytes)
        pieces += (*sample.pieces, tar.encode_header(f"{sample.key}.{layout.suffixes[-1]}", meta_bytes), meta, padding)
        index["key"][row] = sample.key.encode()
        index["crc32"][row] = (*sample.checksums, zlib.crc32(meta))
    if layout.varying and samples:
        index["size"] = [sample.sizes for sample in samples]
        strides = layout.measure(index["size"])
        index["offset"] = np.cumsum(strides) - strides
    pieces.append(tar.END)
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return EncodedShard(tuple(pieces), index, sum(map(len, pieces)), meta_bytes, digest.hexdigest())


def join_pieces(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in chunks of at least `CHUNK_BYTES`, each of whole pieces; the last one has what is left."""
    chunk: list[bytes] = []
    size = 0
    for piece in pieces:
        chunk.append(piece)
        size += len(piece)
        if size >= CHUNK_BYTES:
            yield b"".join(chunk)
            chunk, size = [], 0
    yield b"".join(chunk)


def encode_shard(fields: Mapping[str, Field], samples: Iterable[Sample]) -> EncodedShard:
    """The shard of these samples, in their order.

    Raises:
        FormatError: see `encode_sample` and `join_samples`.
    """
    fields = check_fields(fields)
    return join_samples(fields, [encode_sample(fields, sample) for sample in samples])


def write_shard(path: Path, fields: Mapping[str, Field], samples: Iterable[Sample]) -> WrittenShard:
    """Write the shard of these samples, whole or not at all; its name in the record is that of the file.

    Raises:
        FormatError: see `encode_shard`.
    """
    return write_encoded(path, encode_shard(fields, samples))


def write_encoded(path: Path, shard: EncodedShard) -> WrittenShard:
    """Write the shard, whole or not at all. It is safe from a power cut once `write_split` was there."""
    write_file(path, shard.chunks(), sync=False)
    record = ShardRecord(path.name, shard.count, shard.size, shard.meta_bytes, shard.sha256)
    return WrittenShard(record, shard.index)


def _encode_meta(sample: Sample) -> bytes:
    if not isinstance(sample.meta, Mapping):
        raise FormatError(f"sample {sample.key!r}: meta must be a mapping, this is {type(sample.meta).__name__}")
    try:
        return encode_canonical(dict(sample.meta))
    except FormatError as error:
        raise FormatError(f"sample {sample.key!r}: meta is {error}") from error
