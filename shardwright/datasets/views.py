"""Views of a source: some of its fields, some of its samples, or what a function makes of them.

They read through, and copy nothing of the shards. What a view holds stands in this order from the shards up, in
whichever order it was asked for: samples first, so that meta is looked at where it is and a block is one place on disk;
then transforms and selections as they came.
"""

import operator
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from shardwright.datasets.base import DEFAULT_CONTEXT, Batch, Indices, ReadContext, SampleSource, allocate, number_rows
from shardwright.datasets.collate import collate
from shardwright.datasets.sample_rng import make_generator
from shardwright.errors import FormatError
from shardwright.format.canonical_json import hash_canonical
from shardwright.format.field import Field
from shardwright.format.index import decode_key
from shardwright.storage.file_set import FileSet

Function = Callable[[dict[str, Any], np.random.Generator], Mapping[str, Any]]


class View(SampleSource):
    """A source that reads another one, sample by sample the same; closing it closes that."""

    def __init__(self, base: SampleSource) -> None:
        self._base = base
        self.split = base.split
        self.transforms = base.transforms

    @property
    def fields(self) -> Mapping[str, Field]:
        """See `SampleSource.fields`."""
        return self._base.fields

    @property
    def names(self) -> tuple[str, ...] | None:
        """See `SampleSource.names`."""
        return self._base.names

    @property
    def classes(self) -> tuple[str, ...] | None:
        """See `SampleSource.classes`."""
        return self._base.classes

    @property
    def hash(self) -> str:
        """That of the base."""
        return self._base.hash

    @property
    def keys(self) -> NDArray[np.bytes_]:
        """See `SampleSource.keys`."""
        return self._base.keys

    def __len__(self) -> int:
        return len(self._base)

    def count_rows(self) -> int:
        """See `SampleSource.count_rows`."""
        return self._base.count_rows()

    def draw(self, positions: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.int64]:
        """See `SampleSource.draw`."""
        return self._base.draw(positions, seed, epoch)

    def list_rows(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """See `SampleSource.list_rows`."""
        return self._base.list_rows(positions)

    @property
    def wants_windows(self) -> bool:
        """See `SampleSource.wants_windows`."""
        return self._base.wants_windows

    def take(self, rows: Indices) -> SampleSource:
        """See `SampleSource.take`."""
        return self._stand_on(self._base.take(rows))

    def meta(self, index: SupportsIndex) -> dict[str, Any]:
        """See `SampleSource.meta`."""
        return self._base.meta(index)

    def find_shard(self, index: SupportsIndex) -> str | None:
        """See `SampleSource.find_shard`."""
        return self._base.find_shard(index)

    def cut_blocks(self, size: int) -> NDArray[np.int64]:
        """See `SampleSource.cut_blocks`."""
        return self._base.cut_blocks(size)

    def open_window(self, rows: NDArray[np.int64]) -> FileSet:
        """See `SampleSource.open_window`."""
        return self._base.open_window(rows)

    def cached(self) -> SampleSource:
        """See `SampleSource.cached`."""
        return super().cached() if self.fixed else self._stand_on(self._base.cached())

    def close(self) -> None:
        """Close the base."""
        self._base.close()

    @abstractmethod
    def _stand_on(self, base: SampleSource) -> SampleSource:
        """The same view of another source."""


class Subset(View):
    """Some samples of a source.

    Args:
        base: a source whose epoch is its rows, each once.
        rows: int64 (any,), ascending, each once.

    Raises:
        IndexError, TypeError: see `SampleSource.gather`.
        ValueError: the rows do not ascend.
    """

    def __init__(self, base: SampleSource, rows: Indices) -> None:
        super().__init__(base)
        self._rows = check_ascending(rows, base)
        digest = sha256(self._rows.astype("<i8", copy=False).tobytes()).hexdigest()
        self._hash = hash_canonical({"rows": digest, "of": base.hash})

    @property
    def hash(self) -> str:
        """That of the base's hash and the rows."""
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

    def draw(self, positions: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.int64]:
        """See `SampleSource.draw`."""
        return SampleSource.draw(self, positions, seed, epoch)

    def list_rows(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """See `SampleSource.list_rows`."""
        return SampleSource.list_rows(self, positions)

    def take(self, rows: Indices) -> SampleSource:
        """See `SampleSource.take`."""
        return Subset(self._base, self._rows[check_ascending(rows, self)])

    def gather(self, indices: Indices, reading: ReadContext = DEFAULT_CONTEXT) -> Batch:
        """See `SampleSource.gather`."""
        return self._base.gather(self._find_rows(indices), reading)

    def read_samples(self, indices: Indices, reading: ReadContext = DEFAULT_CONTEXT) -> list[dict[str, Any]]:
        """See `SampleSource.read_samples`."""
        return self._base.read_samples(self._find_rows(indices), reading)

    def meta(self, index: SupportsIndex) -> dict[str, Any]:
        """See `SampleSource.meta`."""
        return self._base.meta(self._find_rows([operator.index(index)])[0])

    def find_shard(self, index: SupportsIndex) -> str | None:
        """See `SampleSource.find_shard`."""
        return self._base.find_shard(self._find_rows([operator.index(index)])[0])

    def cut_blocks(self, size: int) -> NDArray[np.int64]:
        """The blocks of the base, as far as they hold samples of this view."""
        starts: NDArray[np.int64] = np.unique(np.searchsorted(self._rows, self._base.cut_blocks(size)))
        return starts[starts < len(self)]

    def open_window(self, rows: NDArray[np.int64]) -> FileSet:
        """See `SampleSource.open_window`; nothing but these samples is read."""
        return self._base.open_window(self._rows[rows])

    def __repr__(self) -> str:
        return f"Subset of {len(self)} samples of {self._base!r}"

    def _find_rows(self, indices: Indices) -> NDArray[np.int64]:
        return self._rows[number_rows(indices, len(self), self.split)]

    def _stand_on(self, base: SampleSource) -> SampleSource:
        return Subset(base, self._rows)


class SelectedFields(View):
    """Some fields of a source, in an order of its own. See `SampleSource.select`.

    Raises:
        KeyError, ValueError: see `SampleSource.select`.
    """

    def __init__(self, base: SampleSource, fields: Sequence[str]) -> None:
        super().__init__(base)
        if isinstance(fields, str):
            raise ValueError(f"fields must be a list of names, this is {fields!r}")
        self._names = tuple(fields)
        if len(set(self._names)) < len(self._names):
            raise ValueError(f"a field is named twice in {list(self._names)}")
        if base.names is not None:
            self._check_names(base.names)
        self._hash = hash_canonical({"fields": list(self._names), "of": base.hash})

    @property
    def fields(self) -> Mapping[str, Field]:
        """Those of the base that were selected, see `SampleSource.fields`."""
        fields = self._base.fields
        return {name: fields[name] for name in self._names if name in fields}

    @property
    def names(self) -> tuple[str, ...]:
        """The names that were selected."""
        return self._names

    @property
    def hash(self) -> str:
        """That of the base's hash and the names."""
        return self._hash

    def select(self, fields: Sequence[str]) -> SampleSource:
        """See `SampleSource.select`."""
        narrowed = SelectedFields(self, fields)
        return SelectedFields(self._base, narrowed.names)

    def gather(self, indices: Indices, reading: ReadContext = DEFAULT_CONTEXT) -> Batch:
        """See `SampleSource.gather`; nothing but these fields is read."""
        wanted = self._narrow(reading)
        batch = self._base.gather(indices, replace(reading, fields=wanted))
        return self._pick(batch, wanted) if batch["key"] else batch

    def read_samples(self, indices: Indices, reading: ReadContext = DEFAULT_CONTEXT) -> list[dict[str, Any]]:
        """See `SampleSource.read_samples`."""
        wanted = self._narrow(reading)
        samples = self._base.read_samples(indices, replace(reading, fields=wanted))
        return [self._pick(sample, wanted) for sample in samples]

    def __repr__(self) -> str:
        return f"{list(self._names)} of {self._base!r}"

    def _narrow(self, reading: ReadContext) -> tuple[str, ...]:
        """What is left where the reader wants less still."""
        asked = self._names if reading.fields is None else reading.fields
        return tuple(name for name in asked if name in self._names)

    def _pick(self, values: dict[str, Any], wanted: Sequence[str]) -> dict[str, Any]:
        self._check_names([name for name in values if name != "key"], wanted)
        return {name: values[name] for name in ("key", *wanted)}

    def _check_names(self, there: Sequence[str], wanted: Sequence[str] | None = None) -> None:
        for name in self._names if wanted is None else wanted:
            if name not in there:
                raise KeyError(f"{self._base!r}: no field {name!r}, there are {list(there)}")

    def _stand_on(self, base: SampleSource) -> SampleSource:
        return SelectedFields(base, self._names)


class Transformed(View):
    """What a function makes of the samples of a source. See `SampleSource.with_transform`."""

    def __init__(self, base: SampleSource, function: Function) -> None:
        super().__init__(base)
        if not callable(function):
            raise TypeError(f"a transform is a function (sample, rng) -> dict, this is {type(function).__name__}")
        self.transforms = base.transforms + 1
        self._function = function

    @property
    def fields(self) -> Mapping[str, Field]:
        """None: what the function returns nobody promises."""
        return {}

    @property
    def names(self) -> None:
        """None: only reading tells."""
        return None

    def gather(self, indices: Indices, reading: ReadContext = DEFAULT_CONTEXT) -> Batch:
        """What the function returns for these samples, see `shardwright.datasets.collate`.

        Raises:
            FormatError: the results do not fit into a batch.
            Exception: see `SampleSource.with_transform` and `SampleSource.gather`.
        """
        return {"key": []} | collate(self.read_samples(indices, reading), reading.allocate)

    def read_samples(self, indices: Indices, reading: ReadContext = DEFAULT_CONTEXT) -> list[dict[str, Any]]:
        """See `SampleSource.read_samples`; each function of a chain gets what the one before returned."""
        rows = number_rows(indices, self.count_rows(), self.split)
        # All is read, as nobody knows what the function looks at; and into fresh memory, as it may keep it.
        samples = self._base.read_samples(rows, replace(reading, fields=None, allocate=allocate))
        results = [self._apply(sample, row, reading) for row, sample in zip(rows.tolist(), samples, strict=True)]
        if reading.fields is None:
            return results
        wanted = ("key", *reading.fields)
        return [{name: value for name, value in result.items() if name in wanted} for result in results]

    def __repr__(self) -> str:
        return f"{getattr(self._function, '__name__', type(self._function).__name__)} of {self._base!r}"

    def _apply(self, sample: dict[str, Any], row: int, reading: ReadContext) -> dict[str, Any]:
        """The function's result, with the key in front."""
        key = sample["key"]
        try:
            result = self._function(sample, make_generator(reading.seed, reading.epoch, key, self.transforms - 1))
            if not isinstance(result, Mapping):
                raise TypeError(f"a transform must return a dict, this one returned {type(result).__name__}")
            if result.get("key", key) != key:
                raise FormatError(f"a transform must leave the key as it is, this one made {result['key']!r} of it")
        except Exception as error:
            shard = self.find_shard(row)
            error.add_note(f"in transform {self!r:.200}, on sample {key!r}" + (f" of shard {shard}" if shard else ""))
            raise
        return {"key": key, **result}

    def _stand_on(self, base: SampleSource) -> SampleSource:
        return Transformed(base, self._function)


def check_ascending(rows: Indices, source: SampleSource) -> NDArray[np.int64]:
    """Row numbers of a source, int64 (rows,).

    Raises:
        IndexError, TypeError: see `SampleSource.gather`.
        ValueError: they do not ascend.
    """
    numbers = number_rows(rows, source.count_rows(), source.split)
    if (np.diff(numbers) < 1).any():
        raise ValueError("rows must ascend, each once; numpy.unique(rows) makes them so")
    return numbers


def find_matches(source: SampleSource, predicate: Callable[[dict[str, Any]], bool]) -> NDArray[np.int64]:
    """The rows whose meta the predicate holds for, int64, ascending. See `SampleSource.filter`.

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
        error.add_note(
            f"in the filter, on sample {decode_key(source.keys[row])!r}" + (f" of shard {shard}" if shard else "")
        )
        raise
