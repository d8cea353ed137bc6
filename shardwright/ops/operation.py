"""Define the interface of an operation: how the file of a sample becomes values of a batch."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from shardwright.datasets.collate import Allocate, allocate_rows
from shardwright.datasets.read_context import Content
from shardwright.format.field import Field


class Contents(Protocol):
    """The files of a batch, a sample each."""

    def __iter__(self) -> Iterator[Content]: ...

    def warn(self, message: str) -> None:
        """Record that the decoder doubts the last file."""

    def go_back(self, position: int) -> None:
        """Take an error or warning from now on for one of this file, counted from 0, after all were read."""


class Operation(ABC):
    """How the files of one field become values of a batch. Each is a frozen dataclass, so it is known before any file.

    An operation is used by several threads at once, and is sent to processes; it keeps nothing of the samples.

    Attributes:
        version: raised where the same arguments give other values than before, so that a saved state is refused.
        stream: the name of its random numbers, which operations of several fields may share; None is the field's own.
    """

    version: ClassVar[int] = 1
    stream: str | None = None

    @property
    @abstractmethod
    def fields(self) -> Mapping[str, Field | None]:
        """What it gives, by the ending of the name in a batch; "" is the name of the field itself.

        A `Field` has the dtype and shape of one sample, and is one array in a batch; None is a list, or an array whose
        shape differs from batch to batch.
        """

    @property
    def draws(self) -> int:
        """How many random numbers a sample takes; 0 gives the same values in each epoch."""
        return 0

    @abstractmethod
    def decode(self, contents: Contents, draws: NDArray[np.float64], allocate: Allocate) -> dict[str, Any]:
        """Return the values of a batch, by the endings of `fields`.

        Args:
            contents: a file a sample. Each is to be decoded before the next is asked for, since an error is taken for
                one of the last file, and its memory may be used again; or it is copied, see `Contents.go_back`.
            draws: uniform in [0, 1), float64 (batch, draws).
            allocate: see `shardwright.datasets.read_context.ReadContext.allocate`.

        Raises:
            ValueError: a file cannot be decoded; the message says why.
            ModuleNotFoundError: a decoder is not installed; the message says how to install it.
        """

    def describe(self) -> dict[str, Any]:
        """Return all that decides the values, as canonical JSON: a part of what a saved state is checked against."""
        return {**_describe(self), "version": self.version}


class RowOperation(Operation):
    """An operation that gives one array of the same dtype and shape for each sample, written into the batch's row."""

    @property
    @abstractmethod
    def field(self) -> Field:
        """The dtype and shape of a sample."""

    @property
    def fields(self) -> Mapping[str, Field]:
        """The field, under the name of the field that was decoded."""
        return {"": self.field}

    @abstractmethod
    def decode_row(self, content: Content, draws: NDArray[np.float64], out: NDArray[Any]) -> str | None:
        """Decode one file into `out`, an array of the dtype and shape of `field`; return what its decoder warned of.

        Args:
            content: the file.
            draws: float64 (draws,).
            out: C-contiguous; its old values are not cleared.

        Raises:
            ValueError, ModuleNotFoundError: see `decode`.
        """

    def decode(self, contents: Contents, draws: NDArray[np.float64], allocate: Allocate) -> dict[str, Any]:
        """See `Operation.decode`."""
        rows = allocate_rows(self.field, len(draws), allocate)
        for row, content, numbers in zip(rows, contents, draws, strict=True):
            if warning := self.decode_row(content, numbers, row):
                contents.warn(warning)
        return {"": rows}


def _describe(value: Any) -> Any:
    if is_dataclass(value):
        parts = {part.name: _describe(getattr(value, part.name)) for part in fields(value)}
        return {"op": type(value).__name__} | parts
    return [_describe(part) for part in value] if isinstance(value, tuple | list) else value
