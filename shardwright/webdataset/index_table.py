"""Define the index of WebDataset shards: the shards, the suffixes of their members, and each member's offset."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from shardwright.errors import FormatError
from shardwright.format.field import Field
from shardwright.webdataset.limits import Limits
from shardwright.webdataset.npy import NpyHeader

TWICE = 1
"""Fault of a sample: two of its members have one suffix."""
APART = 2
"""Fault of a sample: its members are not consecutive, with other samples of the shard between them."""
IMAGE = "picture"
"""The kind of a form in index files of version 1; renaming it would have all shards indexed again."""


@dataclass(frozen=True)
class Form:
    """The dtype and shape that all members with one suffix have, so that a batch of them is one array.

    Attributes:
        kind: "npy" for members that contain the array; `IMAGE` for members that decode to it.
        dtype: such as "<f4"; one that a `Field` may have.
        shape: of the array, each size at least 1.
        fortran: whether the first axis varies fastest in the member.
        start: offset of the values in the member, bytes; 0 for an image.
    """

    kind: str
    dtype: str
    shape: tuple[int, ...]
    fortran: bool = False
    start: int = 0

    def __post_init__(self) -> None:
        try:
            Field(np.dtype(self.dtype).name, self.shape)
        except TypeError as error:
            raise FormatError(f"dtype is {self.dtype!r:.80}; it must be a dtype of NumPy") from error
        if self.kind not in ("npy", IMAGE) or self.start < 0:
            raise FormatError(
                f"kind is {self.kind!r:.80} and start {self.start}; they must be npy or {IMAGE}, and at least 0"
            )


def find_array_form(header: NpyHeader) -> Form | None:
    """Return the form that an NPY header declares, or None if a batch cannot have it as one array."""
    try:
        return Form("npy", header.dtype.str, header.shape, header.fortran, header.start)
    except FormatError:
        return None


@dataclass(frozen=True)
class MemberSuffix:
    """A suffix of members, in lower case; `form` is None if its members differ, or are not arrays or images.

    `unknown` means that no member had a readable header: such a shard does not change the form found in others.
    """

    name: str
    form: Form | None = None
    unknown: bool = False


@dataclass(frozen=True)
class IndexedShard:
    """A shard as it was when it was indexed.

    Attributes:
        name: its path relative to the common folder.
        bytes, sha256: of the file.
        samples: samples in it, complete or not.
        mtime_ns, inode: a quick test of whether it is still the same file.
        ignored: number of members that belong to no sample.
        examples: names of the first ignored members.
    """

    name: str
    bytes: int
    sha256: str
    samples: int
    mtime_ns: int
    inode: int
    ignored: int = 0
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class MemberTable:
    """The members of each sample: one row a sample, in the order of the shards; arrays that may be mapped from a file.

    Attributes:
        keys: uint8, the concatenated keys as stored, usually UTF-8.
        key_ends: int64 (samples,), the end of each key in `keys`.
        faults: uint8 (samples,), bits `TWICE` and `APART`.
        offsets: int64 (samples, suffixes), of the members' contents in their shard, bytes; -1 for a missing member.
        sizes: int64 (samples, suffixes), of the contents, bytes.
        crc32: uint32 (samples, suffixes), of the contents.
    """

    keys: NDArray[np.uint8]
    key_ends: NDArray[np.int64]
    faults: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    crc32: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.key_ends)

    def read_key(self, row: int) -> bytes:
        """Return the key of one sample."""
        start = int(self.key_ends[row - 1]) if row else 0
        return self.keys[start : int(self.key_ends[row])].tobytes()


@dataclass(frozen=True)
class MemberIndex:
    """The index of a list of shards; `table` has their samples in the same order."""

    shards: tuple[IndexedShard, ...]
    suffixes: tuple[MemberSuffix, ...]
    table: MemberTable

    @cached_property
    def firsts(self) -> NDArray[np.int64]:
        """The row of the first sample of each shard, int64 (shards,)."""
        counts = np.array([shard.samples for shard in self.shards], np.int64)
        return np.cumsum(counts) - counts

    def take_shard(self, number: int) -> "MemberIndex":
        """Return the index of one of the shards."""
        first = int(self.firsts[number])
        rows = slice(first, first + self.shards[number].samples)
        start = int(self.table.key_ends[first - 1]) if first else 0
        end = int(self.table.key_ends[rows.stop - 1]) if rows.stop else 0
        table = MemberTable(
            self.table.keys[start:end],
            self.table.key_ends[rows] - start,
            self.table.faults[rows],
            self.table.offsets[rows],
            self.table.sizes[rows],
            self.table.crc32[rows],
        )
        used = np.flatnonzero((table.offsets >= 0).any(axis=0)).tolist()
        table = replace(table, offsets=table.offsets[:, used], sizes=table.sizes[:, used], crc32=table.crc32[:, used])
        return MemberIndex((self.shards[number],), tuple(self.suffixes[n] for n in used), table)


def join_indexes(indexes: Sequence[MemberIndex], limits: Limits) -> MemberIndex:
    """Return the index of the shards of all indexes, in order; suffixes are sorted by name.

    Raises:
        FormatError: there are more suffixes than `Limits.suffixes`.
    """
    suffixes = _join_suffixes([suffix for index in indexes for suffix in index.suffixes])
    check_suffixes([suffix.name for suffix in suffixes], limits)
    positions = {suffix.name: position for position, suffix in enumerate(suffixes)}
    rows = sum(len(index.table) for index in indexes)
    table = MemberTable(
        np.concatenate([np.empty(0, np.uint8), *(index.table.keys for index in indexes)]),
        np.empty(rows, np.int64),
        np.concatenate([np.empty(0, np.uint8), *(index.table.faults for index in indexes)]),
        np.full((rows, len(suffixes)), -1, np.int64),
        np.zeros((rows, len(suffixes)), np.int64),
        np.zeros((rows, len(suffixes)), np.uint32),
    )
    row = key_end = 0
    for index in indexes:
        part = slice(row, row + len(index.table))
        columns = [positions[suffix.name] for suffix in index.suffixes]
        table.key_ends[part] = index.table.key_ends + key_end
        table.offsets[part, columns] = index.table.offsets
        table.sizes[part, columns] = index.table.sizes
        table.crc32[part, columns] = index.table.crc32
        row, key_end = part.stop, key_end + len(index.table.keys)
    return MemberIndex(tuple(shard for index in indexes for shard in index.shards), suffixes, table)


def check_suffixes(names: Sequence[str], limits: Limits) -> None:
    """Check the number of suffixes.

    Raises:
        FormatError: there are more than `Limits.suffixes`; the message lists some.
    """
    if len(names) > limits.suffixes:
        raise FormatError(
            f"members have more than {limits.suffixes} different suffixes, such as {', '.join(map(repr, names[:5]))}; "
            "a key ends at the first dot of a name, so remove dots from keys, or raise Limits.suffixes"
        )


def _join_suffixes(suffixes: Sequence[MemberSuffix]) -> tuple[MemberSuffix, ...]:
    joined: dict[str, MemberSuffix] = {}
    for suffix in suffixes:
        known = joined.get(suffix.name)
        if known is None or known.unknown:
            joined[suffix.name] = suffix
        elif not suffix.unknown and suffix.form != known.form:
            joined[suffix.name] = MemberSuffix(suffix.name)
    return tuple(joined[name] for name in sorted(joined))


def find_spans(offsets: NDArray[np.int64], sizes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the range of bytes that the members of each sample span.

    Args:
        offsets, sizes: int64 (samples, members); an offset of -1 is a missing member. Each sample has at least one.

    Returns:
        Two int64 (samples,): the start of the first content, and the end of the last one.
    """
    starts, stops = np.full(len(offsets), np.iinfo(np.int64).max), np.zeros(len(offsets), np.int64)
    for start, size in zip(offsets.T, sizes.T, strict=True):  # a reduction over so short an axis is ten times slower
        np.minimum(starts, np.where(start >= 0, start, starts), out=starts)
        np.maximum(stops, np.where(start >= 0, start + size, 0), out=stops)
    return starts, stops
