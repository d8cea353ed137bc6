"""Samples to the bytes of a shard: pure, and the same bytes from the same samples, always."""

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
class PlacedSample:
    """One sample as the bytes that it has in every shard that pads its metas to the same size.

    Attributes:
        data: all of them, its meta last.
        checksums: the crc32 of the contents of its members, that of the padded meta last.
        sizes: of the contents of those that vary.
        frame: the crc32 of the bytes that are no content, see `ShardBuilder`.
    """

    key: str
    data: bytes
    checksums: tuple[int, ...]
    sizes: tuple[int, ...]
    frame: int


@dataclass(frozen=True)
class EncodedShard:
    """A whole shard in memory, in pieces; `size` in bytes, `index` a row a sample (see `shardwright.format.index`)."""

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
    """The sample with these contents of its members, in the order of the fields, and their crc32 where it is known."""
    pieces: list[bytes] = []
    sizes: list[int] = []
    for (name, spec), content in zip(fields.items(), contents, strict=True):
        header = tar.encode_header(f"{key}.{name}.{spec.suffix}", len(content))
        pieces += (header, content, bytes(tar.count_padding(len(content))))
        if spec.varies:
            sizes.append(len(content))
    return EncodedSample(key, tuple(pieces), tuple(checksums or map(compute_crc32, contents)), tuple(sizes), meta)


class ShardBuilder:
    """The bytes of a shard, a sample after another: no more than one is in memory.

    Args:
        fields: of the samples.
        meta_bytes: what every meta is padded to with spaces: the longest has so many.

    Attributes:
        size: bytes so far.
        meta_bytes: see above.
        frames: of each sample so far, the crc32 of the bytes that are no member's content: headers and padding.
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
        """The pieces of the shard of these samples, in their order; each sample is asked for when its turn comes. One
        that is placed has its meta padded to `meta_bytes`.

        Raises:
            FormatError: two samples have the same key.
        """
        for sample in samples:
            if sample.key in self._rows:
                raise FormatError(f"key {sample.key!r} is there twice in the shard")
            if isinstance(sample, PlacedSample):
                self._rows[sample.key] = sample.checksums, sample.sizes
                self.frames.append(sample.frame)
                yield from self._count((sample.data,))
            else:
                yield from self._count(self._place(sample))
        yield from self._count((tar.END,))

    def _place(self, sample: EncodedSample) -> Sequence[bytes]:
        """The pieces of a sample: of each member its header, its content, and padding."""
        meta = sample.meta.ljust(self.meta_bytes)
        header = tar.encode_header(f"{sample.key}.{self._layout.suffixes[-1]}", self.meta_bytes)
        pieces = (*sample.pieces, header, meta, self._padding)
        self._rows[sample.key] = (*sample.checksums, compute_crc32(meta)), sample.sizes
        self.frames.append(compute_crc32(b"".join(piece for place, piece in enumerate(pieces) if place % 3 != 1)))
        return pieces

    def _count(self, pieces: Sequence[bytes]) -> Sequence[bytes]:
        for piece in pieces:
            self._digest.update(piece)
            self.size += len(piece)
        return pieces

    def finish_index(self) -> Index:
        """A row a sample, once all of the shard was built."""
        index = np.zeros(len(self._rows), index_dtype(self._fields))
        if len(index):
            index["key"] = [key.encode() for key in self._rows]
            index["crc32"] = [checksums for checksums, _ in self._rows.values()]
        if self._layout.varying and len(index):
            index["size"] = [sizes for _, sizes in self._rows.values()]
            strides = self._layout.measure(index["size"])
            index["offset"] = np.cumsum(strides) - strides
        return index

    def hash(self) -> str:
        """The sha256 of the bytes so far, as 64 hex digits."""
        return self._digest.hexdigest()


def find_meta_bytes(samples: Iterable[EncodedSample]) -> int:
    """The bytes of the longest meta."""
    return max((len(sample.meta) for sample in samples), default=0)


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
        FormatError: see `encode_sample` and `ShardBuilder`.
    """
    fields = check_fields(fields)
    encoded = [encode_sample(fields, sample) for sample in samples]
    builder = ShardBuilder(fields, find_meta_bytes(encoded))
    pieces = tuple(builder.build(encoded))
    return EncodedShard(pieces, builder.finish_index(), builder.size, builder.meta_bytes, builder.hash())


def write_shard(path: Path, fields: Mapping[str, Field], samples: Iterable[Sample]) -> WrittenShard:
    """Write the shard of these samples, whole or not at all; its name in the record is that of the file.

    Raises:
        FormatError: see `encode_shard`.
    """
    fields = check_fields(fields)
    encoded = [encode_sample(fields, sample) for sample in samples]
    return write_encoded(path, ShardBuilder(fields, find_meta_bytes(encoded)), encoded)


def write_encoded(
    path: Path, builder: ShardBuilder, samples: Iterable[EncodedSample | PlacedSample], read_back: bool = False
) -> WrittenShard:
    """Write the shard that a new builder makes of these samples, whole or not at all; each is asked for when those
    before it are written. It is safe from a power cut once `write_split` was there.

    Raises:
        FormatError: see `ShardBuilder`.
        DamageError: it was to be read back, and is not as it was written.
    """
    write_file(path, join_pieces(builder.build(samples)), sync=False, read_back=read_back)
    index = builder.finish_index()
    return WrittenShard(ShardRecord(path.name, len(index), builder.size, builder.meta_bytes, builder.hash()), index)


def _encode_meta(sample: Sample) -> bytes:
    if not isinstance(sample.meta, Mapping):
        raise FormatError(f"sample {sample.key!r}: meta must be a mapping, this is {type(sample.meta).__name__}")
    try:
        return encode_canonical(dict(sample.meta))
    except FormatError as error:
        raise FormatError(f"sample {sample.key!r}: meta is {error}") from error
