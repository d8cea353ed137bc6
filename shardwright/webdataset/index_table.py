"""What an index of foreign shards holds: the shards, the suffixes of their members, and where each member stands."""

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
"""Two members of the sample have one suffix."""
APART = 2
"""Other samples stand between two runs of members with this key, in one shard."""


@dataclass(frozen=True)
class Form:
    """What all members with one suffix have in common, so that a batch of them is one array.

    Attributes:
        kind: "npy" has the array in the member; "picture" decodes to it.
        dtype: such as "<f4"; one that a `Field` may have.
        shape: of the array, each size at least 1.
        fortran: whether the first axis runs fastest in the member.
        start: where the values start in the member, bytes; 0 for a picture.
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
            raise FormatError(f"{self.dtype!r:.80} is no dtype") from error
        if self.kind not in ("npy", "picture") or self.start < 0:
            raise FormatError(f"a form of kind {self.kind!r:.80} that starts at {self.start}")


def find_array_form(header: NpyHeader) -> Form | None:
    """The form that an NPY header says, or None where a batch cannot have it as one array."""
    try:
        return Form("npy", header.dtype.str, header.shape, header.fortran, header.start)
    except FormatError:
        return None


@dataclass(frozen=True)
class ForeignSuffix:
    """A suffix of members, in lower case; `form` is None where its members differ, or are of another type.

    `unknown` says that no member had a form to go by: an empty shard must not spoil that of the others.
    """

    name: str
    form: Form | None = None
    unknown: bool = False


@dataclass(frozen=True)
class ForeignShard:
    """A shard as it was when it was indexed.

    Attributes:
        name: its path from the common folder on.
        bytes, sha256: of the file.
        samples: that begin in it, whole or not.
        mtime_ns, inode: a quick hint whether it is still the same file.
        ignored: members that belong to no sample.
        examples: names of the first of these.
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
class ForeignTable:
    """A row a sample, in reading order; arrays that may be mapped from a file.

    Attributes:
        keys: uint8, the keys one after another, in UTF-8 where the shard has them so.
        key_ends: int64 (samples,), where each key ends in `keys`.
        faults: uint8 (samples,), `TWICE` and `APART`.
        offsets: int64 (samples, suffixes), of the members' contents in their shard, bytes; -1 where there is none.
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
        """The key of one sample."""
        start = int(self.key_ends[row - 1]) if row else 0
        return self.keys[start : int(self.key_ends[row])].tobytes()


@dataclass(frozen=True)
class ForeignIndex:
    """An index of shards in their order; `table` has the samples of the first shard first."""

    shards: tuple[ForeignShard, ...]
    suffixes: tuple[ForeignSuffix, ...]
    table: ForeignTable

    @cached_property
    def firsts(self) -> NDArray[np.int64]:
        """The row of each shard's first sample, int64 (shards,)."""
        counts = np.array([shard.samples for shard in self.shards], np.int64)
        return np.cumsum(counts) - counts

    def take_shard(self, number: int) -> "ForeignIndex":
        """The index of one of the shards alone."""
        first = int(self.firsts[number])
        rows = slice(first, first + self.shards[number].samples)
        start = int(self.table.key_ends[first - 1]) if first else 0
        end = int(self.table.key_ends[rows.stop - 1]) if rows.stop else 0
        table = ForeignTable(
            self.table.keys[start:end],
            self.table.key_ends[rows] - start,
            self.table.faults[rows],
            self.table.offsets[rows],
            self.table.sizes[rows],
            self.table.crc32[rows],
        )
        kept = np.flatnonzero((table.offsets >= 0).any(axis=0)).tolist()
        table = replace(table, offsets=table.offsets[:, kept], sizes=table.sizes[:, kept], crc32=table.crc32[:, kept])
        return ForeignIndex((self.shards[number],), tuple(self.suffixes[n] for n in kept), table)


def join_foreign_indexes(indexes: Sequence[ForeignIndex], limits: Limits) -> ForeignIndex:
    """The index of all shards of these, in their order; suffixes are sorted by name.

    Raises:
        FormatError: there are more suffixes than allowed.
    """
    suffixes = _join_suffixes([suffix for index in indexes for suffix in index.suffixes])
    check_suffixes([suffix.name for suffix in suffixes], limits)
    places = {suffix.name: place for place, suffix in enumerate(suffixes)}
    rows = sum(len(index.table) for index in indexes)
    table = ForeignTable(
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
        columns = [places[suffix.name] for suffix in index.suffixes]
        table.key_ends[part] = index.table.key_ends + key_end
        table.offsets[part, columns] = index.table.offsets
        table.sizes[part, columns] = index.table.sizes
        table.crc32[part, columns] = index.table.crc32
        row, key_end = part.stop, key_end + len(index.table.keys)
    return ForeignIndex(tuple(shard for index in indexes for shard in index.shards), suffixes, table)


def check_suffixes(names: Sequence[str], limits: Limits) -> None:
    """Refuse more suffixes than `Limits.suffixes`.

    Raises:
        FormatError: there are; the message names some.
    """
    if len(names) > limits.suffixes:
        raise FormatError(
            f"more than {limits.suffixes} different suffixes, such as {', '.join(map(repr, names[:5]))}: a key ends at "
            "the first dot of a name, so keys must not have dots in them (Limits.suffixes)"
        )


def _join_suffixes(suffixes: Sequence[ForeignSuffix]) -> tuple[ForeignSuffix, ...]:
    joined: dict[str, ForeignSuffix] = {}
    for suffix in suffixes:
        known = joined.get(suffix.name)
        if known is None or known.unknown:
            joined[suffix.name] = suffix
        elif not suffix.unknown and suffix.form != known.form:
            joined[suffix.name] = ForeignSuffix(suffix.name)
    return tuple(joined[name] for name in sorted(joined))


def find_spans(offsets: NDArray[np.int64], sizes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """From the first to the last byte of each sample's members.

    Args:
        offsets, sizes: int64 (samples, members); an offset of -1 stands for no member. Each sample has at least one.

    Returns:
        int64 (samples,) twice: where the first content starts, and where the last one ends.
    """
    starts, stops = np.full(len(offsets), np.iinfo(np.int64).max), np.zeros(len(offsets), np.int64)
    for start, size in zip(offsets.T, sizes.T, strict=True):  # a reduction over so short an axis is ten times slower
        np.minimum(starts, np.where(start >= 0, start, starts), out=starts)
        np.maximum(stops, np.where(start >= 0, start + size, 0), out=stops)
    return starts, stops
