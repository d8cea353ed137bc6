"""Define views of a source: a selection of its fields, a subset of its samples, or a transform of each.

Views read from their base, and copy nothing of the shards. In whichever order they are requested, subsets are applied
nearest to the shards, so that metadata is read directly and blocks stay contiguous on disk; transforms and selections
follow in the order of the calls.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from shardwright.datasets.base import (
    DEFAULT_CONTEXT,
    Batch,
    Content,
    Indices,
    ReadContext,
    SampleSource,
    allocate,
    resolve_rows,
)
from shardwright.datasets.collate import collate
from shardwright.datasets.sample_rng import make_generator
from shardwright.errors import DamageError, FormatError
from shardwright.format.canonical_json import hash_canonical
from shardwright.format.field import Field
from shardwright.storage.file_set import FileSet

Function = Callable[[dict[str, Any], np.random.Generator], Mapping[str, Any]]


class View(SampleSource):
    """A source that reads from a base, by default the same samples; closing it closes the base."""

    def __init__(self, base: SampleSource) -> None:
        self._base = base
        self.split = base.split
        self.transforms = base.transforms
        self.is_mapped = base.is_mapped
        self.is_decoding = base.is_decoding

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
        """The hash of the base."""
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

    def shuffle_rows(self, positions: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.int64]:
        """See `SampleSource.shuffle_rows`."""
        return self._base.shuffle_rows(positions, seed, epoch)

    def list_rows(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """See `SampleSource.list_rows`."""
        return self._base.list_rows(positions)

    @property
    def wants_windows(self) -> bool:
        """See `SampleSource.wants_windows`."""
        return self._base.wants_windows

    def take(self, rows: Indices) -> SampleSource:
        """See `SampleSource.take`."""
        return self._rebase(self._base.take(rows))

    def meta(self, index: SupportsIndex) -> dict[str, Any]:
        """See `SampleSource.meta`."""
        return self._base.meta(index)

    def check_contents(self, name: str) -> None:
        """See `SampleSource.check_contents`."""
        self._base.check_contents(name)

    def read_contents(self, indices: Indices, name: str, context: ReadContext = DEFAULT_CONTEXT) -> Iterator[Content]:
        """See `SampleSource.read_contents`."""
        self.check_contents(name)
        return self._base.read_contents(indices, name, context)

    def describe_damage(self, row: int, name: str, what: str) -> DamageError:
        """See `SampleSource.describe_damage`."""
        return self._base.describe_damage(row, name, what)

    def find_key(self, index: SupportsIndex) -> str:
        """See `SampleSource.find_key`."""
        return self._base.find_key(index)

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
        return super().cached() if self.fixed else self._rebase(self._base.cached())

    def close(self) -> None:
        """Close the base."""
        self._base.close()

    @abstractmethod
    def _rebase(self, base: SampleSource) -> SampleSource:
        """Return the same view of another source."""


class SelectedFields(View):
    """A selection of the fields of a source, in the requested order. See `SampleSource.select`.

    Raises:
        KeyError, ValueError: see `SampleSource.select`.
    """

    def __init__(self, base: SampleSource, fields: Sequence[str]) -> None:
        super().__init__(base)
        if isinstance(fields, str):
            raise ValueError(f"fields is {fields!r}; it must be a list of names, such as [{fields!r}]")
        self._names = tuple(fields)
        if len(set(self._names)) < len(self._names):
            raise ValueError(f"fields is {list(self._names)}; each name must be there once")
        if base.names is not None:
            self._check_names(base.names)
        self._hash = hash_canonical({"fields": list(self._names), "of": base.hash})

    @property
    def fields(self) -> Mapping[str, Field]:
        """The fields of the base that were selected, see `SampleSource.fields`."""
        fields = self._base.fields
        return {name: fields[name] for name in self._names if name in fields}

    @property
    def names(self) -> tuple[str, ...]:
        """The selected names."""
        return self._names

    @property
    def hash(self) -> str:
        """The hash of the base's hash and the names."""
        return self._hash

    def select(self, fields: Sequence[str]) -> SampleSource:
        """See `SampleSource.select`."""
        narrowed = SelectedFields(self, fields)
        return SelectedFields(self._base, narrowed.names)

    def gather(self, indices: Indices, context: ReadContext = DEFAULT_CONTEXT) -> Batch:
        """See `SampleSource.gather`; only these fields are read."""
        names = self._narrow(context)
        batch = self._base.gather(indices, replace(context, fields=names))
        return self._pick(batch, names) if batch["key"] else batch

    def read_samples(self, indices: Indices, context: ReadContext = DEFAULT_CONTEXT) -> list[dict[str, Any]]:
        """See `SampleSource.read_samples`."""
        names = self._narrow(context)
        samples = self._base.read_samples(indices, replace(context, fields=names))
        return [self._pick(sample, names) for sample in samples]

    def check_contents(self, name: str) -> None:
        """See `SampleSource.check_contents`."""
        self._check_names(self._names, [name])
        self._base.check_contents(name)

    def __repr__(self) -> str:
        return f"{list(self._names)} of {self._base!r}"

    def _narrow(self, context: ReadContext) -> tuple[str, ...]:
        """Return the selected names that the caller requests."""
        requested = self._names if context.fields is None else context.fields
        return tuple(name for name in requested if name in self._names)

    def _pick(self, values: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
        self._check_names([name for name in values if name != "key"], names)
        return {name: values[name] for name in ("key", *names)}

    def _check_names(self, available: Sequence[str], names: Sequence[str] | None = None) -> None:
        for name in self._names if names is None else names:
            if name not in available:
                raise KeyError(f"{self._base!r}: no field {name!r}, there are {list(available)}")

    def _rebase(self, base: SampleSource) -> SampleSource:
        return SelectedFields(base, self._names)


class Transformed(View):
    """The results of a function for each sample of a source. See `SampleSource.with_transform`."""

    def __init__(self, base: SampleSource, function: Function) -> None:
        super().__init__(base)
        if not callable(function):
            raise TypeError(
                f"function is {type(function).__name__}; a transform must be a function (sample, rng) -> dict"
            )
        self.transforms = base.transforms + 1
        self.is_mapped = False
        self._function = function

    @property
    def fields(self) -> Mapping[str, Field]:
        """An empty mapping: nothing is known about the results of the function."""
        return {}

    @property
    def names(self) -> None:
        """None: the names are known only after context."""
        return None

    def gather(self, indices: Indices, context: ReadContext = DEFAULT_CONTEXT) -> Batch:
        """Return the results of the function for these samples, see `shardwright.datasets.collate`.

        Raises:
            FormatError: the results do not form a batch.
            Exception: see `SampleSource.with_transform` and `SampleSource.gather`.
        """
        return {"key": []} | collate(self.read_samples(indices, context), context.allocate)

    def read_samples(self, indices: Indices, context: ReadContext = DEFAULT_CONTEXT) -> list[dict[str, Any]]:
        """See `SampleSource.read_samples`; each function of a chain gets the result of the one before."""
        rows = resolve_rows(indices, self.count_rows(), self.split)
        # All fields are read, since the function may use any; into fresh memory, since it may keep them.
        samples = self._base.read_samples(rows, replace(context, fields=None, allocate=allocate))
        results = [self._apply(sample, row, context) for row, sample in zip(rows.tolist(), samples, strict=True)]
        if context.fields is None:
            return results
        requested = ("key", *context.fields)
        return [{name: value for name, value in result.items() if name in requested} for result in results]

    def check_contents(self, name: str) -> None:
        """Refuse: a function's results are no files.

        Raises:
            FormatError: always.
        """
        SampleSource.check_contents(self, name)

    def __repr__(self) -> str:
        return f"{getattr(self._function, '__name__', type(self._function).__name__)} of {self._base!r}"

    def _apply(self, sample: dict[str, Any], row: int, context: ReadContext) -> dict[str, Any]:
        """Return the function's result, with the key first."""
        key = sample["key"]
        try:
            result = self._function(sample, make_generator(context.seed, context.epoch, key, self.transforms - 1))
            if not isinstance(result, Mapping):
                raise TypeError(f"the transform returned {type(result).__name__}; it must return a dict")
            if result.get("key", key) != key:
                raise FormatError(
                    f"the transform changed the key to {result['key']!r}; it must leave the key unchanged"
                )
        except Exception as error:
            shard = self.find_shard(row)
            error.add_note(f"in transform {self!r:.200}, on sample {key!r}" + (f" of shard {shard}" if shard else ""))
            raise
        return {"key": key, **result}

    def _rebase(self, base: SampleSource) -> SampleSource:
        return Transformed(base, self._function)
