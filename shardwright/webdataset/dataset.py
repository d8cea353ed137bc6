"""Foreign shards: WebDataset tars that anybody wrote, read like our own, by an index that is built once."""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from shardwright.datasets.base import DEFAULT_CONTEXT, Batch, Indices, ReadContext, SampleSource, number_rows
from shardwright.errors import DamageError, FormatError
from shardwright.format.canonical_json import hash_canonical
from shardwright.format.field import Field
from shardwright.format.walk_shard import hash_file
from shardwright.remote.location import Access
from shardwright.storage.file_set import FileSet
from shardwright.storage.mapped_files import MappedFiles
from shardwright.storage.pread_files import PreadFiles
from shardwright.webdataset.build_index import DEFAULT_INDEXING, HINT, Indexing, check_shards, open_index
from shardwright.webdataset.columns import Decode, Members, find_whole, plan_columns
from shardwright.webdataset.decode import decode_json_value
from shardwright.webdataset.expand_urls import Urls, list_shards
from shardwright.webdataset.index_table import APART, TWICE, find_spans
from shardwright.webdataset.members import MemberReader
from shardwright.webdataset.tar import decode_name

Incomplete = Literal["error", "drop"]
SHOWN = 5
SPANNED_ROWS = 1 << 18
"""Rows whose place is looked up at a time, so that the memory for it stays small."""


@dataclass(frozen=True)
class Dropped:
    """A sample that is left out since it is not whole: its key, its shard, where its first member starts, and why."""

    key: str
    shard: str
    offset: int
    why: str


class ForeignDataset(SampleSource):
    """See `ShardDataset.from_webdataset`.

    Attributes:
        index: the index, see `ForeignIndex`.
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
        access: Access = "map",
        indexing: Indexing = DEFAULT_INDEXING,
    ) -> None:
        if incomplete not in ("error", "drop"):
            raise FormatError(f'incomplete is {incomplete!r:.80}, "error" or "drop" is wanted')
        self._options = {
            "decode": decode,
            "members": members,
            "incomplete": incomplete,
            "cache": cache,
            "access": access,
            "indexing": indexing,
        }
        self._shards = list_shards(urls)
        self.index = open_index(self._shards, cache, indexing)
        check_shards(self._shards, self.index)
        self._columns = plan_columns(self.index, members, decode, indexing.limits)
        self._rows = self._find_rows(incomplete)
        paths, sizes = self._shards.paths, [shard.bytes for shard in self.index.shards]
        self._files: FileSet = PreadFiles(paths, sizes) if access == "pread" else MappedFiles(paths, sizes)
        self._reader = MemberReader(self.index, paths, self._files)

    @property
    def names(self) -> tuple[str, ...]:
        """What a batch has beside `key`, in its order."""
        return tuple(column.name for column in self._columns)

    @cached_property
    def fields(self) -> Mapping[str, Field]:
        """What a batch has as one array; the others of `names` are lists. It depends on the shards alone."""
        return {column.name: column.field for column in self._columns if column.field is not None}

    @property
    def classes(self) -> None:
        """None: foreign shards name no classes."""
        return None

    @cached_property
    def hash(self) -> str:
        """64 hex digits that name the bytes and the order of the shards, and which samples are left out."""
        document: dict[str, Any] = {"shards": [[shard.name, shard.bytes, shard.sha256] for shard in self.index.shards]}
        if self._rows is not None:
            document["rows"] = hash_canonical(self._rows.tolist())
        return hash_canonical(document)

    @property
    def dropped(self) -> Sequence[Dropped]:
        """The samples that are left out since they are not whole, in their order."""
        if self._rows is None:
            return []
        kept = np.zeros(len(self.index.table), np.bool_)
        kept[self._rows] = True
        return [self._explain(row) for row in np.flatnonzero(~kept).tolist()]

    def __len__(self) -> int:
        return len(self.index.table) if self._rows is None else len(self._rows)

    def gather(self, indices: Indices, reading: ReadContext = DEFAULT_CONTEXT) -> Batch:
        """A batch: under `key` a list of str, for each of `fields` an array (batch, *shape), else a list of values.

        Raises:
            IndexError, TypeError: see `SampleSource.gather`.
            DamageError: a member is not what was indexed, or cannot be decoded; the message names shard, sample, suffix
                and offset.
        """
        rows = self._number_rows(indices)
        batch: Batch = {"key": [decode_name(self.index.table.read_key(row)) for row in rows.tolist()]}
        for column in self._columns:
            if reading.fields is None or column.name in reading.fields:
                batch[column.name] = self._reader.read_column(rows, column, reading)
        return batch

    def meta(self, index: SupportsIndex) -> dict[str, Any]:
        """The value of the sample's member `json`, whether or not a batch has it; {} where there is none.

        A value that is no object stands under `json`.

        Raises:
            IndexError, DamageError: see `gather`.
        """
        row = int(self._number_rows([operator.index(index)])[0])
        place = next((n for n, suffix in enumerate(self.index.suffixes) if suffix.name == "json"), None)
        if place is None or self.index.table.offsets[row, place] < 0:
            return {}
        try:
            value = decode_json_value(self._reader.read_member(row, place))
        except ValueError as error:
            raise self._reader.blame(row, place, str(error)) from error
        return value if isinstance(value, dict) else {"json": value}

    @property
    def keys(self) -> NDArray[np.bytes_]:
        """The samples' keys in order, (rows,) of bytes, UTF-8 where the shards have them so.

        Keys may repeat: many writers count from zero in each shard.
        """
        table = self.index.table
        keys, ends = table.keys.tobytes(), table.key_ends.tolist()
        rows = range(len(table)) if self._rows is None else self._rows.tolist()
        return np.array([keys[ends[row - 1] if row else 0 : ends[row]] for row in rows], np.bytes_)

    def find_sample(self, key: str) -> int:
        """See `SampleSource.find_sample`; what is not UTF-8 in a key is written as escapes, as a batch has it."""
        keys = self.keys
        found = np.flatnonzero(keys == key.encode("utf-8", "replace"))
        if not len(found) and "\\" in key:
            found = np.flatnonzero([decode_name(other) == key for other in keys.tolist()])
        if not len(found):
            raise KeyError(f"{self!r}: no sample {key!r}")
        return int(found[0])

    def find_shard(self, index: SupportsIndex) -> str:
        """The name of the shard that holds a sample, its path from the common folder on.

        Raises:
            IndexError: there is no such sample.
        """
        row = self._number_rows([operator.index(index)])[0]
        return self.index.shards[int(self._reader.find_shards(row))].name

    def cut_blocks(self, size: int) -> NDArray[np.int64]:
        """Blocks of samples that begin in the same `size` bytes of a shard, see `SampleSource.cut_blocks`."""
        blocks, previous = [np.zeros(0, np.int64)], np.full((2, 1), -1)
        for first in range(0, len(self), SPANNED_ROWS):
            rows = self._number_rows(np.arange(first, min(first + SPANNED_ROWS, len(self))))
            shards = self._reader.find_shards(rows)
            starts, _ = self._find_spans(rows)
            place = np.concatenate([previous, [shards, (starts - self._files.starts[shards]) // max(1, size)]], axis=1)
            blocks.append(first + np.flatnonzero((np.diff(place, axis=1) != 0).any(axis=0)))
            previous = place[:, -1:]
        return np.concatenate(blocks)

    def open_window(self, rows: NDArray[np.int64]) -> FileSet:
        """See `SampleSource.open_window`; each delivery from it is checked."""
        starts, stops = self._find_spans(self._number_rows(np.unique(rows)))
        filled = stops > starts
        return self._files.load(starts[filled], (stops - starts)[filled])

    def verify(self) -> list[DamageError]:
        """Read all shards and compare their sha256 with the index: an error for each that differs."""
        errors = []
        for path, shard in zip(self._shards.paths, self.index.shards, strict=True):
            found = hash_file(path)
            if found != shard.sha256:
                message = f"{path}: its sha256 is {found}, the index says {shard.sha256}; {HINT}"
                errors.append(DamageError(message, shard=path.name))
        return errors

    def close(self) -> None:
        """Let go of the files. What was delivered stays; reading more is an error."""
        self._files.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self._shards.patterns, self._options, self.hash)

    def __repr__(self) -> str:
        named = ", ".join(self._shards.patterns)
        return f"ForeignDataset({named!r:.200}): {len(self)} samples, {', '.join(self.names)}"

    def _number_rows(self, indices: Indices) -> NDArray[np.int64]:
        """The rows of the index that these samples have."""
        numbers = number_rows(indices, len(self), self.split)
        return numbers if self._rows is None else self._rows[numbers]

    def _find_spans(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The addresses where the first member of each row starts, and where the last one ends."""
        base = self._files.starts[self._reader.find_shards(rows)]
        starts, stops = find_spans(self.index.table.offsets[rows], self.index.table.sizes[rows])
        return base + starts, base + stops

    def _find_rows(self, incomplete: Incomplete) -> NDArray[np.int64] | None:
        """The rows of the index that are whole samples, or None for all.

        Raises:
            FormatError: there are others, and `incomplete` is "error"; the message shows the first.
        """
        whole = find_whole(self.index.table, self._columns)
        if whole.all():
            return None
        if incomplete == "drop":
            return np.flatnonzero(whole)
        bad = np.flatnonzero(~whole)
        examples = [self._explain(row) for row in bad[:SHOWN].tolist()]
        lines = [f"{drop.shard}: {drop.key!r} at byte {drop.offset}: {drop.why}" for drop in examples]
        have = [f"{c.name} {(self.index.table.offsets[:, c.places] >= 0).any(axis=1).sum()}" for c in self._columns]
        raise FormatError(
            f"{self._shards.folder}: {len(bad)} of {len(whole)} samples are not whole (there are {', '.join(have)}):\n"
            + "\n".join(lines + ["…"] * (len(bad) > SHOWN))
            + '\nincomplete="drop" leaves them out, members=[…] says which members each sample must have'
        )

    def _explain(self, row: int) -> Dropped:
        table = self.index.table
        missing = [column.name for column in self._columns if (table.offsets[row, column.places] < 0).all()]
        why = [f"lacks {', '.join(missing)}"] * bool(missing)
        if table.faults[row] & TWICE:
            why.append("two of its members have one suffix")
        if table.faults[row] & APART:
            why.append("members with this key stand apart from each other, see tar --sort=name")
        shard = int(np.searchsorted(self.index.firsts, row, side="right")) - 1
        start, _ = find_spans(table.offsets[row : row + 1], table.sizes[row : row + 1])
        key = decode_name(table.read_key(row))
        return Dropped(key, self.index.shards[shard].name, int(start[0]), "; ".join(why))


def _reopen(patterns: tuple[str, ...], options: Mapping[str, Any], wanted: str) -> ForeignDataset:
    data = ForeignDataset(patterns, **options)
    if data.hash != wanted:
        raise DamageError(f"{data!r}: these are not the shards that were open before, its hash is {data.hash}")
    return data
