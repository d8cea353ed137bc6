"""Define the view of a source whose fields are decoded by declared operations."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from shardwright.datasets.base import SampleSource
from shardwright.datasets.read_context import DEFAULT_CONTEXT, Batch, Content, Indices, ReadContext, resolve_rows
from shardwright.datasets.views import View
from shardwright.errors import FormatError
from shardwright.format.canonical_json import hash_canonical
from shardwright.format.field import RESERVED, Field
from shardwright.ops.draws import draw_uniform
from shardwright.ops.operation import Operation

LOGGER = logging.getLogger("shardwright")


class Decoded(View):
    """Fields of a source, decoded by operations. See `SampleSource.decode`.

    Args:
        base: a source that has the files of these fields.
        operations: by the name of the field.

    Raises:
        KeyError, TypeError, FormatError: see `SampleSource.decode`.
    """

    def __init__(self, base: SampleSource, operations: Mapping[str, Operation]) -> None:
        super().__init__(base)
        for name, operation in operations.items():
            if not isinstance(operation, Operation):
                raise TypeError(f"{name} is {operation!r:.80}; it must be an operation, such as ops.Image(…)")
            base.check_contents(name)
        self.transforms = base.transforms + any(operation.draws for operation in operations.values())
        self.is_mapped, self.is_decoding = False, True
        self._operations = dict(operations)
        self._doubted: set[tuple[int, str]] = set()
        self._outputs = {
            source: {source + ending: field for ending, field in operations[source].fields.items()}
            if source in operations
            else {source: base.fields.get(source)}
            for source in base.names or ()
        }
        names = [name for outputs in self._outputs.values() for name in outputs]
        if twice := sorted(name for name in {*names} if names.count(name) > 1 or name in RESERVED):
            raise FormatError(f"a batch would have {twice[0]!r} twice; name the members otherwise, by members={{…}}")
        described = {name: operation.describe() for name, operation in operations.items()}
        self._hash = hash_canonical({"operations": described, "of": base.hash})

    @property
    def fields(self) -> Mapping[str, Field]:
        """The fields of the base, and those that the operations give in one dtype and shape."""
        outputs = (output for outputs in self._outputs.values() for output in outputs.items())
        return {name: field for name, field in outputs if field is not None}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the base, those of decoded fields with what their operations add."""
        return tuple(name for outputs in self._outputs.values() for name in outputs)

    @property
    def hash(self) -> str:
        """The hash of the base's hash and the operations."""
        return self._hash

    @property
    def doubted(self) -> tuple[tuple[int, str], ...]:
        """The row and field of each file whose decoder warned of damage, as far as this process has read."""
        return tuple(sorted(self._doubted))

    def cached(self) -> SampleSource:
        """Return a view that keeps decoded samples in memory; where they differ from epoch to epoch, this one."""
        return super().cached() if self.fixed else self

    def gather(self, indices: Indices, context: ReadContext = DEFAULT_CONTEXT) -> Batch:
        """See `SampleSource.gather`.

        Raises:
            DamageError: a file differs from what was written, or cannot be decoded.
            ModuleNotFoundError: a decoder is not installed.
        """
        rows = resolve_rows(indices, self.count_rows(), self.split)
        requested = self.names if context.fields is None else context.fields
        stored = tuple(name for name in self._outputs if name not in self._operations and name in requested)
        batch = self._base.gather(rows, replace(context, fields=stored))
        for name in self._operations:
            if not self._outputs[name].keys().isdisjoint(requested):
                batch |= self._decode(name, rows, batch["key"], context)
        return {name: batch[name] for name in ("key", *self.names) if name == "key" or name in requested}

    def check_contents(self, name: str) -> None:
        """See `SampleSource.check_contents`; fields that are decoded already are refused."""
        if name in self._operations:
            raise FormatError(f"{self!r}: {name!r} is decoded already; name one operation for it")
        self._base.check_contents(name)

    def __repr__(self) -> str:
        return f"{', '.join(self._operations)} decoded of {self._base!r}"

    def _decode(self, name: str, rows: NDArray[np.int64], keys: list[str], context: ReadContext) -> Batch:
        """Return what one operation gives, by the names in the batch."""
        operation = self._operations[name]
        stream = name if operation.stream is None else operation.stream
        draws = draw_uniform(context.seed, context.epoch, stream, keys, operation.draws)
        contents = _Files(self._base.read_contents(rows, name, context))
        try:
            values = operation.decode(contents, draws, context.allocate)
        except ValueError as error:
            raise self._base.describe_damage(int(rows[contents.position]), name, str(error)) from error
        for position, message in contents.warnings:
            self._warn(int(rows[position]), name, message)
        return {name + ending: value for ending, value in values.items()}

    def _warn(self, row: int, name: str, message: str) -> None:
        """Log a file that its decoder doubts, once."""
        if (row, name) not in self._doubted:
            self._doubted.add((row, name))
            LOGGER.warning("%s", self._base.describe_damage(row, name, f"decoded, with a warning: {message}"))

    def _rebase(self, base: SampleSource) -> SampleSource:
        return Decoded(base, self._operations)


class _Files:
    """The files of one field of a batch, one after another; errors and warnings are of the last one."""

    def __init__(self, contents: Iterator[Content]) -> None:
        self._contents = contents
        self.position = -1
        self.warnings: list[tuple[int, str]] = []

    def __iter__(self) -> Iterator[Content]:
        for content in self._contents:
            self.position += 1
            yield content

    def warn(self, message: str) -> None:
        """See `shardwright.ops.operation.Contents`."""
        self.warnings.append((self.position, message))

    def go_back(self, position: int) -> None:
        """See `shardwright.ops.operation.Contents`."""
        self.position = position
