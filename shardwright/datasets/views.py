"""Define views of a source: a selection of its fields, a subset of its samples, or a transform of each.

Views read from their base, and copy nothing of the shards. In whichever order they are requested, subsets are applied
nearest to the shards, so that metadata is read directly and blocks stay contiguous on disk; transforms and selections
follow in the order of the calls.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from shardwright.datasets.base import SampleSource
from shardwright.datasets.read_context import DEFAULT_CONTEXT, Batch, Content, Indices, ReadContext
from shardwright.errors import DamageError
from shardwright.format.canonical_json import hash_canonical
from shardwright.format.field import Field
from shardwright.storage.file_set import FileSet


class View(SampleSource):
    """A source that reads from a base, by default the same samples; closing it closes the base."""

    def __init__(self, base: SampleSource) -> None:
        self._base = base
        self.split = base.split
        self.transforms = base.transforms
        self.is_mapped = base.is_mapped
        self.is_decoding = base.is_decoding
        self.is_collated = base.is_collated

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

    def find_sizes(self, name: str) -> NDArray[np.int64]:
        """See `SampleSource.find_sizes`; a file has its size also where it is decoded or transformed."""
        return self._base.find_sizes(name)

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
        whole = self.fixed and not self.is_collated
        return super().cached() if whole else self._rebase(self._base.cached())

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
