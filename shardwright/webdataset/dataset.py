"""Read WebDataset shards of any origin at random, through an index that is built once."""

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from shardwright.datasets.base import SampleSource
from shardwright.datasets.read_context import DEFAULT_CONTEXT, Batch, Content, Indices, ReadContext, resolve_rows
from shardwright.errors import DamageError, FormatError
from shardwright.format.canonical_json import hash_canonical
from shardwright.format.field import Field
from shardwright.format.walk_shard import hash_file
from shardwright.remote.location import Access
from shardwright.storage.file_set import FileSet
from shardwright.storage.mapped_files import MappedFiles
from shardwright.storage.pread_files import PreadFiles
from shardwright.webdataset.build_index import (
    DEFAULT_INDEXING,
    Indexing,
    check_shards,
    describe_remedy,
    locate_shards,
    open_index,
)
from shardwright.webdataset.columns import Column, Decode, Members, find_complete, plan_columns
from shardwright.webdataset.decode import decode_json_value
from shardwright.webdataset.expand_urls import Urls
from shardwright.webdataset.index_table import APART, TWICE, find_spans
from shardwright.webdataset.members import MemberReader
from shardwright.webdataset.tar import decode_name

Incomplete = Literal["error", "drop"]
SHOWN = 5
SPANNED_ROWS = 1 << 18
"""Rows whose offsets are looked up at a time, to bound the memory for them."""


@dataclass(frozen=True)
class Dropped:
    """An incomplete sample that was dropped: its key, its shard, the offset of its first member, and what is wrong."""

    key: str
    shard: str
    offset: int
    detail: str


class ForeignDataset(SampleSource):
    """WebDataset shards, open for reading, see `ShardDataset.from_webdataset`.

    Attributes:
        index: the index, see `MemberIndex`.
    """

    split = "webdataset"

    def __init__(  # noqa: PLR0913 (all by keyword; `ShardDataset.from_webdataset` is the public form)
        self,
        urls: Urls,
        *,
        decode: Decode = "auto",
        members: Members = None,
        incomplete: Incomplete = "error",
        cache: Any = None,
        decompress: bool = False,
        access: Access = "map",
        indexing: Indexing = DEFAULT_INDEXING,
    ) -> None:
        if incomplete not in ("error", "drop"):
            raise FormatError(f'incomplete is {incomplete!r:.80}; it must be "error" or "drop"')
        self._options = {
            "decode": decode,
            "members": members,
            "incomplete": incomplete,
            "cache": cache,
            "decompress": decompress,
            "access": access,
            "indexing": indexing,
        }
        self._shards = locate_shards(urls, decompress, cache, indexing)
        self.index = open_index(self._shards, cache, indexing)
        check_shards(self._shards, self.index)
        self._columns = plan_columns(self.index, members, decode, indexing.limits)
        self._rows = self._find_rows(incomplete)
        files, sizes = self._shards.files, [shard.bytes for shard in self.index.shards]
        self._files: FileSet = PreadFiles(files, sizes) if access == "pread" else MappedFiles(files, sizes)
        self._reader = MemberReader(self.index, self._shards, self._files)

    @property
    def names(self) -> tuple[str, ...]:
        """The names in a batch beside `key`, in order."""
        return tuple(column.name for column in self._columns)

    @cached_property
    def fields(self) -> Mapping[str, Field]:
        """The fields that are one array in a batch; the other `names` are lists. It depends only on the shards."""
        return {column.name: column.field for column in self._columns if column.field is not None}

    @property
    def classes(self) -> None:
        """None: WebDataset shards name no classes."""
        return None

    @cached_property
    def hash(self) -> str:
        """64 hex digits that identify the bytes and order of the shards, and the samples that are dropped."""
        document: dict[str, Any] = {"shards": [[shard.name, shard.bytes, shard.sha256] for shard in self.index.shards]}
        if self._rows is not None:
            document["rows"] = hash_canonical(self._rows.tolist())
        return hash_canonical(document)

    @property
    def dropped(self) -> Sequence[Dropped]:
        """The incomplete samples that were dropped, in order."""
        if self._rows is None:
            return []
        complete = np.zeros(len(self.index.table), np.bool_)
        complete[self._rows] = True
        return [self._describe_dropped(row) for row in np.flatnonzero(~complete).tolist()]

    def __len__(self) -> int:
        return len(self.index.table) if self._rows is None else len(self._rows)

    def gather(self, indices: Indices, context: ReadContext = DEFAULT_CONTEXT) -> Batch:
        """Return a batch: under `key` a list of str, for each of `fields` an array (batch, *shape), else a list.

        Raises:
            IndexError, TypeError: see `SampleSource.gather`.
            DamageError: a member differs from what was indexed, or cannot be decoded; the message names shard, sample,
                suffix and offset.
        """
        rows = self._resolve_rows(indices)
        batch: Batch = {"key": [decode_name(self.index.table.read_key(row)) for row in rows.tolist()]}
        for column in self._columns:
            if context.fields is None or column.name in context.fields:
                batch[column.name] = self._reader.read_column(rows, column, context)
        return batch

    def meta(self, index: SupportsIndex) -> dict[str, Any]:
        """Return the value of the sample's member `json`, whether or not it is in a batch; {} if there is none.

        A value that is not an object is returned as `{"json": value}`.

        Raises:
            IndexError, DamageError: see `gather`.
        """
        row = int(self._resolve_rows([operator.index(index)])[0])
        column = next((n for n, suffix in enumerate(self.index.suffixes) if suffix.name == "json"), None)
        if column is None or self.index.table.offsets[row, column] < 0:
            return {}
        try:
            value = decode_json_value(self._reader.read_member(row, column))
        except ValueError as error:
            raise self._reader.describe_damage(row, column, str(error)) from error
        return value if isinstance(value, dict) else {"json": value}

    def check_contents(self, name: str) -> None:
        """See `SampleSource.check_contents`."""
        self._find_column(name)

    def read_contents(self, indices: Indices, name: str, context: ReadContext = DEFAULT_CONTEXT) -> Iterator[Content]:
        """See `SampleSource.read_contents`."""
        return self._reader.read_contents(self._resolve_rows(indices), self._find_column(name), context.files)

    def find_sizes(self, name: str) -> NDArray[np.int64]:
        """See `SampleSource.find_sizes`."""
        return self._reader.find_members(self._resolve_rows(np.arange(len(self))), self._find_column(name)).sizes

    def describe_damage(self, row: int, name: str, what: str) -> DamageError:
        """See `SampleSource.describe_damage`."""
        members = self._reader.find_members(self._resolve_rows([row]), self._find_column(name))
        return self._reader.describe_damage(int(members.rows[0]), int(members.columns[0]), what)

    @property
    def keys(self) -> NDArray[np.bytes_]:
        """The keys of the samples in order, (rows,) of bytes as stored, usually UTF-8.

        Keys may repeat: many writers count from zero in each shard.
        """
        table = self.index.table
        keys, ends = table.keys.tobytes(), table.key_ends.tolist()
        rows = range(len(table)) if self._rows is None else self._rows.tolist()
        return np.array([keys[ends[row - 1] if row else 0 : ends[row]] for row in rows], np.bytes_)

    def find_sample(self, key: str) -> int:
        """See `SampleSource.find_sample`; bytes of a key that are not UTF-8 are escaped, as in a batch."""
        keys = self.keys
        found = np.flatnonzero(keys == key.encode("utf-8", "replace"))
        if not len(found) and "\\" in key:
            found = np.flatnonzero([decode_name(other) == key for other in keys.tolist()])
        if not len(found):
            raise KeyError(f"{self!r}: no sample {key!r}")
        return int(found[0])

    def find_shard(self, index: SupportsIndex) -> str:
        """Return the name of the shard that holds a sample: its path relative to the common folder.

        Raises:
            IndexError: the number is out of range.
        """
        row = self._resolve_rows([operator.index(index)])[0]
        return self.index.shards[int(self._reader.find_shards(row))].name

    def cut_blocks(self, size: int) -> NDArray[np.int64]:
        """Return blocks of samples that start in the same `size` bytes of a shard, see `SampleSource.cut_blocks`."""
        blocks, previous = [np.zeros(0, np.int64)], np.full((2, 1), -1)
        for first in range(0, len(self), SPANNED_ROWS):
            rows = self._resolve_rows(np.arange(first, min(first + SPANNED_ROWS, len(self))))
            shards = self._reader.find_shards(rows)
            starts, _ = self._find_spans(rows)
            cells = np.concatenate([previous, [shards, (starts - self._files.starts[shards]) // max(1, size)]], axis=1)
            blocks.append(first + np.flatnonzero((np.diff(cells, axis=1) != 0).any(axis=0)))
            previous = cells[:, -1:]
        return np.concatenate(blocks)

    def open_window(self, rows: NDArray[np.int64]) -> FileSet:
        """See `SampleSource.open_window`; members are checked at each delivery from it."""
        starts, stops = self._find_spans(self._resolve_rows(np.unique(rows)))
        filled = stops > starts
        return self._files.load(starts[filled], (stops - starts)[filled])

    def verify(self) -> list[DamageError]:
        """Read all shards and compare their sha256 with the index; return an error for each that differs."""
        errors = []
        for path, file, shard in zip(self._shards.paths, self._shards.files, self.index.shards, strict=True):
            found = hash_file(file)
            if found != shard.sha256:
                message = f"{path}: its sha256 is {found}, the index says {shard.sha256}{describe_remedy(path, file)}"
                errors.append(DamageError(message, shard=path.name))
        return errors

    def close(self) -> None:
        """Close the files. Values that were returned stay valid; further reads raise."""
        self._files.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self._shards.patterns, self._options, self.hash)

    def __repr__(self) -> str:
        named = ", ".join(self._shards.patterns)
        return f"ForeignDataset({named!r:.200}): {len(self)} samples, {', '.join(self.names)}"

    def _resolve_rows(self, indices: Indices) -> NDArray[np.int64]:
        """Return the rows of the index for these samples."""
        numbers = resolve_rows(indices, len(self), self.split)
        return numbers if self._rows is None else self._rows[numbers]

    def _find_column(self, name: str) -> Column:
        for column in self._columns:
            if column.name == name:
                return column
        raise KeyError(f"{self!r}: no field {name!r}, there are {list(self.names)}")

    def _find_spans(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the addresses at which the first member of each row starts, and the last one ends."""
        base = self._files.starts[self._reader.find_shards(rows)]
        starts, stops = find_spans(self.index.table.offsets[rows], self.index.table.sizes[rows])
        return base + starts, base + stops

    def _find_rows(self, incomplete: Incomplete) -> NDArray[np.int64] | None:
        """Return the rows of the index that are complete samples, or None for all.

        Raises:
            FormatError: samples are incomplete, and `incomplete` is "error"; the message shows the first.
        """
        complete = find_complete(self.index.table, self._columns)
        if complete.all():
            return None
        if incomplete == "drop":
            return np.flatnonzero(complete)
        bad = np.flatnonzero(~complete)
        examples = [self._describe_dropped(row) for row in bad[:SHOWN].tolist()]
        lines = [f"{drop.shard}: {drop.key!r} at byte {drop.offset}: {drop.detail}" for drop in examples]
        offsets = self.index.table.offsets
        counts = [f"{c.name} {(offsets[:, c.index_columns] >= 0).any(axis=1).sum()}" for c in self._columns]
        raise FormatError(
            f"{self._shards.folder}: {len(bad)} of {len(complete)} samples are incomplete "
            f"(members: {', '.join(counts)}):\n"
            + "\n".join(lines + ["…"] * (len(bad) > SHOWN))
            + '\nomit them by incomplete="drop", or name the members that each sample must have by members=[…]'
        )

    def _describe_dropped(self, row: int) -> Dropped:
        table = self.index.table
        missing = [column.name for column in self._columns if (table.offsets[row, column.index_columns] < 0).all()]
        details = [f"it lacks {', '.join(missing)}"] * bool(missing)
        if table.faults[row] & TWICE:
            details.append("two of its members have one suffix")
        if table.faults[row] & APART:
            details.append("members with this key are not consecutive; write the tar with --sort=name")
        shard = int(np.searchsorted(self.index.firsts, row, side="right")) - 1
        start, _ = find_spans(table.offsets[row : row + 1], table.sizes[row : row + 1])
        key = decode_name(table.read_key(row))
        return Dropped(key, self.index.shards[shard].name, int(start[0]), "; ".join(details))


def _reopen(patterns: tuple[str, ...], options: Mapping[str, Any], expected: str) -> ForeignDataset:
    data = ForeignDataset(patterns, **options)
    if data.hash != expected:
        raise DamageError(
            f"{data!r}: its hash is {data.hash}, and {expected} was pickled; restore the shards that were open before"
        )
    return data
