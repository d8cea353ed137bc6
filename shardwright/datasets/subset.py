"""Define the view of some samples of a source, by their numbers or by what their metadata says."""

import operator
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from shardwright.datasets.base import SampleSource
from shardwright.datasets.read_context import DEFAULT_CONTEXT, Batch, Content, Indices, ReadContext, resolve_rows
from shardwright.datasets.views import View
from shardwright.errors import DamageError
from shardwright.format.canonical_json import hash_canonical
from shardwright.storage.file_set import FileSet


class Subset(View):
    """A subset of the samples of a source.

    Args:
        base: a source whose epoch has each row exactly once.
        rows: int64 (any,), ascending, each once.

    Raises:
        IndexError, TypeError: see `SampleSource.gather`.
        ValueError: the rows are not strictly ascending.
    """

    def __init__(self, base: SampleSource, rows: Indices) -> None:
        super().__init__(base)
        self._rows = check_ascending(rows, base)
        digest = sha256(self._rows.astype("<i8", copy=False).tobytes()).hexdigest()
        self._hash = hash_canonical({"rows": digest, "of": base.hash})

    @property
    def hash(self) -> str:
        """The hash of the base's hash and the rows."""
        return self._hash

    @property
    def keys(self) -> NDArray[np.bytes_]:
        """See `SampleSource.keys`."""
        return self._base.keys[self._rows]

    def __len__(self) -> int:
        return len(self._rows)

    def count_rows(self) -> int:
        """See `SampleSource.count_rows`."""
        return len(self)

    def shuffle_rows(self, positions: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.int64]:
        """See `SampleSource.shuffle_rows`."""
        return SampleSource.shuffle_rows(self, positions, seed, epoch)

    def list_rows(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """See `SampleSource.list_rows`."""
        return SampleSource.list_rows(self, positions)

    def take(self, rows: Indices) -> SampleSource:
        """See `SampleSource.take`."""
        return Subset(self._base, self._rows[check_ascending(rows, self)])

    def gather(self, indices: Indices, context: ReadContext = DEFAULT_CONTEXT) -> Batch:
        """See `SampleSource.gather`."""
        return self._base.gather(self._find_rows(indices), context)

    def read_samples(self, indices: Indices, context: ReadContext = DEFAULT_CONTEXT) -> list[dict[str, Any]]:
        """See `SampleSource.read_samples`."""
        return self._base.read_samples(self._find_rows(indices), context)

    def meta(self, index: SupportsIndex) -> dict[str, Any]:
        """See `SampleSource.meta`."""
        return self._base.meta(self._find_rows([operator.index(index)])[0])

    def read_contents(self, indices: Indices, name: str, context: ReadContext = DEFAULT_CONTEXT) -> Iterator[Content]:
        """See `SampleSource.read_contents`."""
        return self._base.read_contents(self._find_rows(indices), name, context)

    def find_sizes(self, name: str) -> NDArray[np.int64]:
        """See `SampleSource.find_sizes`."""
        return self._base.find_sizes(name)[self._rows]

    def describe_damage(self, row: int, name: str, what: str) -> DamageError:
        """See `SampleSource.describe_damage`."""
        return self._base.describe_damage(int(self._find_rows([row])[0]), name, what)

    def find_key(self, index: SupportsIndex) -> str:
        """See `SampleSource.find_key`."""
        return self._base.find_key(self._find_rows([operator.index(index)])[0])

    def find_shard(self, index: SupportsIndex) -> str | None:
        """See `SampleSource.find_shard`."""
        return self._base.find_shard(self._find_rows([operator.index(index)])[0])

    def cut_blocks(self, size: int) -> NDArray[np.int64]:
        """Return the blocks of the base that contain samples of this view."""
        starts: NDArray[np.int64] = np.unique(np.searchsorted(self._rows, self._base.cut_blocks(size)))
        return starts[starts < len(self)]

    def open_window(self, rows: NDArray[np.int64]) -> FileSet:
        """See `SampleSource.open_window`; only these samples are read."""
        return self._base.open_window(self._rows[rows])

    def __repr__(self) -> str:
        return f"Subset of {len(self)} samples of {self._base!r}"

    def _find_rows(self, indices: Indices) -> NDArray[np.int64]:
        return self._rows[resolve_rows(indices, len(self), self.split)]

    def _rebase(self, base: SampleSource) -> SampleSource:
        return Subset(base, self._rows)


def check_ascending(rows: Indices, source: SampleSource) -> NDArray[np.int64]:
    """Return the row numbers of a source, int64 (rows,), after a check that they ascend.

    Raises:
        IndexError, TypeError: see `SampleSource.gather`.
        ValueError: they are not strictly ascending.
    """
    numbers = resolve_rows(rows, source.count_rows(), source.split)
    if (np.diff(numbers) < 1).any():
        raise ValueError(
            "rows do not ascend or repeat; they must be strictly ascending, as numpy.unique(rows) returns them"
        )
    return numbers


def find_matches(source: SampleSource, predicate: Callable[[dict[str, Any]], bool]) -> NDArray[np.int64]:
    """Return the rows whose metadata satisfies the predicate, int64, ascending. See `SampleSource.filter`.

    Raises:
        DamageError, Exception: see `SampleSource.filter`.
    """
    rows = range(source.count_rows())
    return np.fromiter((row for row in rows if _matches(source, row, predicate)), np.int64)


def _matches(source: SampleSource, row: int, predicate: Callable[[dict[str, Any]], bool]) -> bool:
    meta = source.meta(row)
    try:
        return bool(predicate(meta))
    except Exception as error:
        shard = source.find_shard(row)
        error.add_note(f"in the filter, on sample {source.find_key(row)!r}" + (f" of shard {shard}" if shard else ""))
        raise
