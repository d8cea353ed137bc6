"""Encode samples to the bytes of a shard: the same samples always give the same bytes."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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

_PADDING = bytes(tar.BLOCK)
_NAME, _SIZE, _CHECKSUM = slice(0, 100), slice(124, 135), slice(148, 156)  # of a tar header


@dataclass(frozen=True)
class Sample:
    """A sample to write: its key; an array, Python number or the bytes of a JPEG file by field; any JSON object."""

    key: str
    arrays: Mapping[str, object]
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EncodedSample:
    """A sample as bytes, with a meta that is not padded yet; the other members are the same in every shard.

    Attributes:
        contents: of the members but the meta, in order.
        checksums: their crc32.
        meta: the canonical JSON.
    """

    key: str
    contents: Sequence[bytes]
    checksums: Sequence[int]
    meta: bytes


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
        """Yield the shard's bytes in chunks of whole samples, of at least `CHUNK_BYTES` except the last two."""
        return iter(self.pieces)


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
    return EncodedSample(sample.key, contents, list(map(compute_crc32, contents)), _encode_meta(sample))


class ShardBuilder:
    """Builds the bytes of a shard in blocks of samples, with one block in memory.

    Args:
        fields: of the samples.
        meta_bytes: the size that every meta is padded to with spaces: that of the longest.

    Attributes:
        size: bytes so far.
        meta_bytes: see above.
    """

    def __init__(self, fields: Mapping[str, Field], meta_bytes: int) -> None:
        self.size = 0
        self.meta_bytes = meta_bytes
        self._fields = fields
        self._layout = plan_layout(fields, meta_bytes)
        self._keys: dict[str, None] = {}
        self._checksums: list[Sequence[int]] = []
        self._sizes: list[Sequence[int]] = []
        self._digest = hashlib.sha256()

    def build(self, samples: Iterable[EncodedSample]) -> Iterator[bytes]:
        """Yield the blocks of the shard; a sample is requested once the blocks of those before its own are consumed.

        Raises:
            FormatError: two samples have the same key.
        """
        block, size = list[EncodedSample](), 0
        for sample in samples:
            if sample.key in self._keys:
                raise FormatError(f"key {sample.key!r} occurs twice in the shard; keys must be unique")
            self._keys[sample.key] = None
            block.append(sample)
            size += sum(map(len, sample.contents)) + self.meta_bytes
            if size >= CHUNK_BYTES:
                yield self._count(self._lay_out(block))
                block, size = [], 0
        yield self._count((self._lay_out(block) if block else b"") + tar.END)

    def _lay_out(self, block: Sequence[EncodedSample]) -> bytes:
        """Return the bytes of some samples, and note them for the index."""
        contents: list[bytes] = []
        for sample in block:
            meta = sample.meta.ljust(self.meta_bytes)
            self._checksums.append((*sample.checksums, compute_crc32(meta)))
            contents += (*sample.contents, meta)
        sizes, members = list(map(len, contents)), len(self._layout.suffixes)
        if varying := self._layout.varying:
            rows = range(0, len(sizes), members)
            self._sizes += ([sizes[row + member] for member in varying] for row in rows)
        names = [f"{sample.key}.{suffix}" for sample in block for suffix in self._layout.suffixes]
        headers = encode_headers(names, sizes)
        pieces = [b""] * (3 * len(contents))
        pieces[::3] = (headers[at : at + tar.BLOCK] for at in range(0, len(headers), tar.BLOCK))
        pieces[1::3] = contents
        pieces[2::3] = (_PADDING[: -size % tar.BLOCK] for size in sizes)
        return b"".join(pieces)

    def _count(self, block: bytes) -> bytes:
        self._digest.update(block)
        self.size += len(block)
        return block

    def finish_index(self) -> Index:
        """Return the index, a row a sample, once the whole shard is built."""
        index = np.zeros(len(self._keys), index_dtype(self._fields))
        if len(index):
            index["key"] = [key.encode() for key in self._keys]
            index["crc32"] = self._checksums
        if self._layout.varying and len(index):
            index["size"] = self._sizes
            strides = self._layout.compute_strides(index["size"])
            index["offset"] = np.cumsum(strides) - strides
        return index

    def hash(self) -> str:
        """Return the sha256 of the bytes so far, 64 hex digits."""
        return self._digest.hexdigest()


def find_meta_bytes(samples: Iterable[EncodedSample]) -> int:
    """Return the size of the longest meta in bytes."""
    return max((len(sample.meta) for sample in samples), default=0)


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
    path: Path, builder: ShardBuilder, samples: Iterable[EncodedSample], read_back: bool = False
) -> WrittenShard:
    """Write the shard that a new builder builds from these samples atomically; a block of them is in memory.

    It survives a power cut once `write_split` has synced it, which also writes its index.

    Raises:
        FormatError: see `ShardBuilder`.
        DamageError: with `read_back`, the file differs from what was written.
    """
    write_file(path, builder.build(samples), sync=False, read_back=read_back)
    index = builder.finish_index()
    return WrittenShard(ShardRecord(path.name, len(index), builder.size, builder.meta_bytes, builder.hash()), index)


def _encode_meta(sample: Sample) -> bytes:
    if not isinstance(sample.meta, Mapping):
        raise FormatError(f"sample {sample.key!r}: meta is a {type(sample.meta).__name__}; it must be a mapping")
    try:
        return encode_canonical(dict(sample.meta))
    except FormatError as error:
        raise FormatError(f"sample {sample.key!r}: meta is {error}") from error


def encode_headers(names: Sequence[str], sizes: Sequence[int]) -> bytes:
    """Return the tar headers of many members, one after another, as `tar.encode_header` returns each; half its time for
    30.

    Raises:
        ValueError: see `tar.encode_header`.
    """
    raw = [name.encode() for name in names]
    lengths = list(map(len, raw))
    within = min(lengths) > 0 and max(lengths) <= tar.MAX_NAME_BYTES
    if not (within and min(sizes) >= 0 and max(sizes) <= tar.MAX_MEMBER_BYTES) or b"\0" in b"".join(raw):
        return b"".join(map(tar.encode_header, names, sizes))
    table = np.empty((len(raw), tar.BLOCK), np.uint8)
    table[:] = np.frombuffer(tar.encode_header(names[0], 0), np.uint8)
    table[:, _NAME] = np.array(raw, f"S{tar.MAX_NAME_BYTES}").view(np.uint8).reshape(len(raw), -1)
    table[:, _SIZE] = _write_octal(np.array(sizes, np.int64), 11)
    table[:, _CHECKSUM] = ord(" ")
    total = int(table[0, _SIZE.stop :].sum(dtype=np.int64))  # all else than names and sizes is the same
    sums = table[:, : _SIZE.stop].sum(axis=1, dtype=np.uint32) + total
    table[:, _CHECKSUM.start : _CHECKSUM.stop - 1] = np.pad(_write_octal(sums, 6), ((0, 0), (0, 1)))
    return table.tobytes()


def _write_octal(numbers: NDArray[Any], digits: int) -> NDArray[Any]:
    """Return numbers as octal digits, (numbers, digits)."""
    return (numbers[:, None] >> 3 * np.arange(digits - 1, -1, -1) & 7) + ord("0")
