"""Define the view of a source in which values of varying length form batches by declared layouts."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardwright.datasets.base import SampleSource
from shardwright.datasets.collate import collate
from shardwright.datasets.decoded import Decoded
from shardwright.datasets.read_context import DEFAULT_CONTEXT, Batch, Indices, ReadContext, allocate, resolve_rows
from shardwright.datasets.views import View
from shardwright.errors import FormatError
from shardwright.format.canonical_json import hash_canonical
from shardwright.format.field import Field
from shardwright.ops.layouts import BatchLayout
from shardwright.ops.operation import Operation

LENGTH = "_length"
"""Ending of the name that has the lengths."""


def decode_fields(data: SampleSource, operations: "Mapping[str, Operation | BatchLayout]") -> SampleSource:
    """Return a view with the operations, and the layouts of what they give. See `SampleSource.decode`."""
    layouts = {name: layout for name, layout in operations.items() if isinstance(layout, BatchLayout)}
    inner = {name: layout.operation for name, layout in layouts.items()}
    decoding = {name: inner.get(name, operations[name]) for name in operations}
    decoding = {name: operation for name, operation in decoding.items() if operation is not None}
    decoded = Decoded(data, decoding) if decoding or not layouts else data  # type: ignore[arg-type]  # it checks them
    return Collated(decoded, layouts) if layouts else decoded


class Collated(View):
    """Values of varying length in batches by layouts, see `shardwright.ops.layouts`.

    A single sample, and what a transform of this view gets, has its values without padding: they do not depend on the
    rest of a batch.

    Args:
        base: the source. Each name is a list of arrays there, or one array with the lengths under `<name>_length`.
        layouts: by the name of the field.

    Raises:
        KeyError, FormatError: see `SampleSource.decode`.
    """

    def __init__(self, base: SampleSource, layouts: Mapping[str, BatchLayout]) -> None:
        super().__init__(base)
        self.is_mapped, self.is_collated = False, True
        self._layouts = dict(layouts)
        _check_layouts(base, layouts)
        described = {name: layout.describe() for name, layout in layouts.items()}
        self._hash = hash_canonical({"layouts": described, "of": base.hash})

    @property
    def fields(self) -> Mapping[str, Field]:
        """The fields of the base without those that have a layout: their shape differs from batch to batch."""
        added = {name + LENGTH: Field("int64", ()) for name in self._layouts} if self._base.names is not None else {}
        return {name: field for name, field in (added | dict(self._base.fields)).items() if name not in self._layouts}

    @property
    def names(self) -> tuple[str, ...] | None:
        """The names of the base, and `<name>_length` where it lacks them."""
        return None if self._base.names is None else self._add_lengths(self._base.names)

    @property
    def hash(self) -> str:
        """The hash of the base's hash and the layouts."""
        return self._hash

    def decode(self, **operations: "Operation | BatchLayout") -> SampleSource:
        """See `SampleSource.decode`; the layouts stay outermost."""
        if twice := sorted(operations.keys() & self._layouts.keys()):
            raise FormatError(f"{self!r}: {twice[0]!r} has a layout already; name one for it")
        return Collated(decode_fields(self._base, operations), self._layouts)

    def gather(self, indices: Indices, context: ReadContext = DEFAULT_CONTEXT) -> Batch:
        """See `SampleSource.gather`.

        Raises:
            FormatError: the values are no arrays, differ in dtype or shape after the first axis, or are shorter than
                their length; the message names the sample.
        """
        batch = self._read(self._gather_base(indices, self._widen(context)), context)
        for name, layout in self._layouts.items():
            if name in batch and batch["key"]:
                lengths = batch[name + LENGTH]
                padding = field.padding if (field := self._base.fields.get(name)) else None
                try:
                    batch[name] = layout.arrange(batch[name], lengths, padding or 0, context.allocate)
                except ValueError as error:
                    raise FormatError(f"{name!r} of sample {batch['key'][lengths.argmax()]!r}: {error}") from error
        return self._pick(batch, context)

    def read_samples(self, indices: Indices, context: ReadContext = DEFAULT_CONTEXT) -> list[dict[str, Any]]:
        """See `SampleSource.read_samples`; each sample has its own length."""
        rows = resolve_rows(indices, self.count_rows(), self.split)
        samples = self._base.read_samples(rows, self._widen(context))
        for sample in samples:
            batch = self._read({name: [value] for name, value in sample.items()}, context)
            for name in self._layouts.keys() & sample.keys():
                length = batch[name + LENGTH]
                sample |= {name: batch[name][0][: length[0]], name + LENGTH: length[0]}
        return [self._pick(sample, context) for sample in samples]

    def cached(self) -> SampleSource:
        """Return the same layouts of the cached base."""
        return self._rebase(self._base.cached())

    def __repr__(self) -> str:
        return f"{', '.join(self._layouts)} arranged of {self._base!r}"

    def _add_lengths(self, names: tuple[str, ...]) -> tuple[str, ...]:
        added = (part for name in names for part in (name, name + LENGTH) if part == name or name in self._layouts)
        return tuple(dict.fromkeys(added))

    def _widen(self, context: ReadContext) -> ReadContext:
        """Return the context that reads the values with their lengths."""
        if context.fields is None:
            return context
        known = self._base.names
        owners = {name + LENGTH: name for name in self._layouts if known is not None and name + LENGTH not in known}
        names = self._add_lengths(tuple(owners.get(name, name) for name in context.fields))
        return replace(context, fields=tuple(name for name in names if known is None or name in known))

    def _gather_base(self, indices: Indices, context: ReadContext) -> Batch:
        """Return the batch of the base; what a transform returns forms none where its lengths differ."""
        if self._base.names is not None:
            names = self._base.names if context.fields is None else context.fields
            rest = tuple(name for name in names if name not in self._layouts)
            batch = self._base.gather(indices, replace(context, fields=rest))
            arranged = tuple(name for name in names if name in self._layouts)
            # Into fresh memory: the batch gets a copy.
            values = (
                self._base.gather(indices, replace(context, fields=arranged, allocate=allocate)) if arranged else {}
            )
            return {name: {**values, **batch}[name] for name in ("key", *names)}
        samples = self._base.read_samples(indices, context)
        others = [{name: sample[name] for name in sample if name not in self._layouts} for sample in samples]
        lists = {name: [sample[name] for sample in samples] for name in samples[0]} if samples else {}
        return lists | {"key": []} | collate(others, context.allocate)

    def _read(self, batch: Batch, context: ReadContext) -> Batch:
        """Return the batch with the lengths of each name, checked: int64 (batch,)."""
        for name in self._layouts.keys() & batch.keys():
            rows, keys = batch[name], batch["key"]
            _check_rows(name, rows, keys)
            lengths = np.asarray(batch.get(name + LENGTH, [len(row) for row in rows])).astype(np.int64)
            for key, row, length in zip(keys, rows, lengths.tolist(), strict=True):
                if not 0 <= length <= len(row):
                    raise FormatError(f"{name + LENGTH!r} of sample {key!r} is {length}; it has {len(row)} values")
            batch[name + LENGTH] = lengths
        return batch

    def _pick(self, batch: dict[str, Any], context: ReadContext) -> dict[str, Any]:
        requested = ("key", *self._add_lengths(tuple(name for name in batch if name != "key")))
        return {name: batch[name] for name in requested if context.fields is None or name in ("key", *context.fields)}

    def _rebase(self, base: SampleSource) -> SampleSource:
        return Collated(base, self._layouts)


def _check_layouts(base: SampleSource, layouts: Mapping[str, BatchLayout]) -> None:
    """Check that a source has values of varying length under these names, as far as it knows its names.

    Raises:
        KeyError, FormatError: see `SampleSource.decode`.
    """
    names = base.names
    if names is None:
        return
    for name in layouts:
        if name not in names:
            raise KeyError(f"{base!r}: no field {name!r}, there are {list(names)}")
        if name in base.fields and name + LENGTH not in base.fields:
            raise FormatError(
                f"{base!r}: {name!r} is one array in all samples, and there is no field {name + LENGTH!r}; leave "
                "the layout out, or select that field too"
            )


def _check_rows(name: str, rows: list[Any] | NDArray[Any], keys: list[str]) -> None:
    """Check that the values of a batch can be arranged.

    Raises:
        FormatError: see `Collated.gather`.
    """
    if isinstance(rows, np.ndarray) and rows.ndim > 1:
        return
    first: Any = rows[0] if len(rows) else None
    for key, row in zip(keys, rows, strict=True):
        if not isinstance(row, np.ndarray) or not row.ndim or row.dtype.kind not in "biufc":
            raise FormatError(f"{name!r} of sample {key!r} is {row!r:.60}; a layout needs an array of numbers")
        if row.dtype != first.dtype or row.shape[1:] != first.shape[1:]:
            raise FormatError(
                f"{name!r} is {first.dtype} {first.shape} in sample {keys[0]!r} and {row.dtype} {row.shape} in "
                f"{key!r}; they may differ in the first axis alone"
            )
