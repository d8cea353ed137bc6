"""Encode samples to the bytes of a shard: the same samples always give the same bytes."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from shardwright.errors import FormatError
from shardwright.format import tar
from shardwright.format.atomic_write import write_file
from shardwright.format.canonical_json import encode_canonical
from shardwright.format.checksum import compute_crc32
from shardwright.format.field import Field, check_fields
from shardwright.format.index import Index, index_dtype
from shardwright.format.layout import plan_layout
from shardwright.format.manifest import ShardRecord

KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")

CHUNK_BYTES = 1 << 17
"""The least that one call writes. A shard of 12 MB takes 9 ms to write member by member, 6 in such chunks, up to 34 in
one piece (Linux 6.18, ext4, a virtual machine)."""


@dataclass(frozen=True)
class Sample:
    """A sample to write: its key; an array, Python number or the bytes of a JPEG file by field; any JSON object."""

    key: str
    arrays: Mapping[str, object]
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class EncodedSample:
    """A sample as bytes, with a meta that is not padded yet; the other members are the same in every shard.

    Attributes:
        pieces: header, content and padding of each member but the meta, in order.
        checksums: the crc32 of the contents of these members.
        sizes: of the contents of those that vary, in bytes.
        meta: the canonical JSON.
    """

    key: str
    pieces: tuple[bytes, ...]
    checksums: tuple[int, ...]
    sizes: tuple[int, ...]
    meta: bytes


@dataclass(frozen=True)
class PlacedSample:
    """A sample as the bytes that it has in every shard that pads its metas to the same size.

    Attributes:
        data: all its members, the meta last.
        checksums: the crc32 of the members' contents, that of the padded meta last.
        sizes: of the contents of those that vary, in bytes.
        frame: the crc32 of headers and padding, see `ShardBuilder`.
    """

    key: str
    data: bytes
    checksums: tuple[int, ...]
    sizes: tuple[int, ...]
    frame: int


@dataclass(frozen=True)
class EncodedShard:
    """A whole shard in memory, in pieces; `size` in bytes, `index` with a row a sample (`shardwright.format.index`)."""

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
        """Yield the shard's bytes in chunks of at least `CHUNK_BYTES`, except the last."""
        return join_pieces(self.pieces)


@dataclass(frozen=True)
class WrittenShard:
    """A shard on disk: its record, which `write_split` completes, and its index. Small enough to send elsewhere."""

    record: ShardRecord
    index: Index


def encode_sample(fields: Mapping[str, Field], sample: Sample) -> EncodedSample:
    """Check a sample and return its bytes; the arrays are copied and may change afterwards.

    Raises:
        FormatError: the key, an array or the meta is not allowed; the message names sample and field.
    """
    if not isinstance(sample.key, str) or not KEY.fullmatch(sample.key):
        raise FormatError(f"key is {sample.key!r}; it must match {KEY.pattern}")
    if sample.arrays.keys() != fields.keys():
        missing = [name for name in fields if name not in sample.arrays]
        extra = [name for name in sample.arrays if name not in fields]
        raise FormatError(f"sample {sample.key!r}: missing fields {missing}, unknown fields {extra}")
    contents = []
    for name, spec in fields.items():
        try:
            contents.append(spec.encode(sample.arrays[name]))
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
    """Build a sample from the contents of its members.

    Args:
        fields: of the sample.
        key: of the sample.
        contents: of the members, in the order of the fields.
        meta: the canonical JSON.
        checksums: the crc32 of the contents; computed where not given.
    """
    pieces: list[bytes] = []
    sizes: list[int] = []
    for (name, spec), content in zip(fields.items(), contents, strict=True):
        header = tar.encode_header(f"{key}.{name}.{spec.suffix}", len(content))
        pieces += (header, content, bytes(tar.count_padding(len(content))))
        if spec.varies:
            sizes.append(len(content))
    return EncodedSample(key, tuple(pieces), tuple(checksums or map(compute_crc32, contents)), tuple(sizes), meta)


class ShardBuilder:
    """Builds the bytes of a shard sample by sample, with one sample in memory.

    Args:
        fields: of the samples.
        meta_bytes: the size that every meta is padded to with spaces: that of the longest.

    Attributes:
        size: bytes so far.
        meta_bytes: see above.
        frames: for each sample so far, the crc32 of the bytes that are no member's content: headers and padding.
    """

    def __init__(self, fields: Mapping[str, Field], meta_bytes: int) -> None:
        self.size = 0
        self._fields = fields
        self._layout = plan_layout(fields, meta_bytes)
        self.meta_bytes = meta_bytes
        self._padding = bytes(tar.count_padding(meta_bytes))
        self._rows: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
        self._digest = hashlib.sha256()
        self.frames: list[int] = []

    def build(self, samples: Iterable[EncodedSample | PlacedSample]) -> Iterator[bytes]:
        """Yield the pieces of the shard; each sample is requested once the pieces of those before it are consumed.

        Args:
            samples: in their order; the meta of a `PlacedSample` is padded to `meta_bytes`.

        Raises:
            FormatError: two samples have the same key.
        """
        for sample in samples:
            if sample.key in self._rows:
                raise FormatError(f"key {sample.key!r} occurs twice in the shard; keys must be unique")
            if isinstance(sample, PlacedSample):
                self._rows[sample.key] = sample.checksums, sample.sizes
                self.frames.append(sample.frame)
                yield from self._count((sample.data,))
            else:
                yield from self._count(self._pad_meta(sample))
        yield from self._count((tar.END,))

    def _pad_meta(self, sample: EncodedSample) -> Sequence[bytes]:
        """Add the padded meta and return the pieces of the sample: header, content and padding of each member."""
        meta = sample.meta.ljust(self.meta_bytes)
        header = tar.encode_header(f"{sample.key}.{self._layout.suffixes[-1]}", self.meta_bytes)
        pieces = (*sample.pieces, header, meta, self._padding)
        self._rows[sample.key] = (*sample.checksums, compute_crc32(meta)), sample.sizes
        self.frames.append(compute_crc32(b"".join(piece for number, piece in enumerate(pieces) if number % 3 != 1)))
        return pieces

    def _count(self, pieces: Sequence[bytes]) -> Sequence[bytes]:
        for piece in pieces:
            self._digest.update(piece)
            self.size += len(piece)
        return pieces

    def finish_index(self) -> Index:
        """Return the index, a row a sample, once the whole shard is built."""
        index = np.zeros(len(self._rows), index_dtype(self._fields))
        if len(index):
            index["key"] = [key.encode() for key in self._rows]
            index["crc32"] = [checksums for checksums, _ in self._rows.values()]
        if self._layout.varying and len(index):
            index["size"] = [sizes for _, sizes in self._rows.values()]
            strides = self._layout.compute_strides(index["size"])
            index["offset"] = np.cumsum(strides) - strides
        return index

    def hash(self) -> str:
        """Return the sha256 of the bytes so far, 64 hex digits."""
        return self._digest.hexdigest()


def find_meta_bytes(samples: Iterable[EncodedSample]) -> int:
    """Return the size of the longest meta in bytes."""
    return max((len(sample.meta) for sample in samples), default=0)


def join_pieces(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Join pieces to chunks of at least `CHUNK_BYTES`; the last one has what is left."""
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
    """Encode a shard of these samples in memory, in their order.

    Raises:
        FormatError: see `encode_sample` and `ShardBuilder`.
    """
    fields = check_fields(fields)
    encoded = [encode_sample(fields, sample) for sample in samples]
    builder = ShardBuilder(fields, find_meta_bytes(encoded))
    pieces = tuple(builder.build(encoded))
    return EncodedShard(pieces, builder.finish_index(), builder.size, builder.meta_bytes, builder.hash())


def write_shard(path: Path, fields: Mapping[str, Field], samples: Iterable[Sample]) -> WrittenShard:
    """Write a shard of these samples atomically; its name in the record is that of the file.

    Raises:
        FormatError: see `encode_shard`.
    """
    fields = check_fields(fields)
    encoded = [encode_sample(fields, sample) for sample in samples]
    return write_encoded(path, ShardBuilder(fields, find_meta_bytes(encoded)), encoded)


def write_encoded(
    path: Path, builder: ShardBuilder, samples: Iterable[EncodedSample | PlacedSample], read_back: bool = False
) -> WrittenShard:
    """Write the shard that a new builder builds from these samples atomically; each is requested when it is written.

    It survives a power cut once `write_split` has synced it, which also writes its index.

    Raises:
        FormatError: see `ShardBuilder`.
        DamageError: with `read_back`, the file differs from what was written.
    """
    write_file(path, join_pieces(builder.build(samples)), sync=False, read_back=read_back)
    index = builder.finish_index()
    return WrittenShard(ShardRecord(path.name, len(index), builder.size, builder.meta_bytes, builder.hash()), index)


def _encode_meta(sample: Sample) -> bytes:
    if not isinstance(sample.meta, Mapping):
        raise FormatError(f"sample {sample.key!r}: meta is a {type(sample.meta).__name__}; it must be a mapping")
    try:
        return encode_canonical(dict(sample.meta))
    except FormatError as error:
        raise FormatError(f"sample {sample.key!r}: meta is {error}") from error
