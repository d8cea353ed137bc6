"""Choose how values of varying length form a batch: padded to its longest, or one after another."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from shardwright.datasets.collate import Allocate
from shardwright.datasets.ragged import RaggedArray
from shardwright.ops.operation import Operation

Rows = Sequence[NDArray[Any]] | NDArray[Any]
"""Of each sample an array of at least its length; all have one dtype, and one shape after the first axis."""


@dataclass(frozen=True)
class BatchLayout(ABC):
    """How the values of a field form a batch.

    Attributes:
        operation: gives these values, as arrays of any length, or as one array with the lengths under
            `<name>_length`; None takes the values that the source has, in the same forms.
    """

    operation: Operation | None = None

    def __post_init__(self) -> None:
        if self.operation is not None and not isinstance(self.operation, Operation):
            raise TypeError(f"operation is {self.operation!r:.80}; it must be an operation, such as ops.Tokens(…)")

    @abstractmethod
    def arrange(self, rows: Rows, lengths: NDArray[np.int64], padding: float, allocate: Allocate) -> Any:
        """Return the values of a batch with at least one sample.

        Args:
            rows: see `Rows`.
            lengths: int64 (batch,); what follows in a row is padding.
            padding: the value that the source pads this field with, or 0.
            allocate: see `shardwright.datasets.read_context.ReadContext.allocate`.

        Raises:
            ValueError: a sample is too long; the message says how to go on.
        """

    def describe(self) -> dict[str, Any]:
        """Return all that decides the arrangement, as canonical JSON."""
        parts = {name: value for name, value in vars(self).items() if name != "operation"}
        return {"layout": type(self).__name__, **parts}


@dataclass(frozen=True)
class Pad(BatchLayout):
    """One array (batch, longest, *shape), with `<name>_length`: what a sample lacks follows its own values.

    Args:
        operation: see `BatchLayout`.
        to: "batch" for the longest sample of each batch; or a length for all batches.
        value: to pad with; None is the value that the field or the operation declares, or 0.
        multiple: the longest is rounded up to a multiple of it, so that compiled models see few shapes.

    Raises:
        TypeError, ValueError: an argument is not allowed.
    """

    to: int | Literal["batch"] = "batch"
    value: float | None = None
    multiple: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.to != "batch" and (type(self.to) is not int or self.to < 1):
            raise ValueError(f'to is {self.to!r}; it must be "batch" or a length of at least 1')
        if type(self.multiple) is not int or self.multiple < 1:
            raise ValueError(f"multiple is {self.multiple!r}; it must be at least 1")

    def arrange(self, rows: Rows, lengths: NDArray[np.int64], padding: float, allocate: Allocate) -> NDArray[Any]:
        """See `BatchLayout.arrange`."""
        longest = int(lengths.max())
        if self.to != "batch" and longest > self.to:
            raise ValueError(f"it has length {longest}, over to={self.to} of ops.Pad; raise it, or cut the values")
        width = longest if self.to == "batch" else self.to
        width = -(-width // self.multiple) * self.multiple
        padded = _allocate((len(rows), width, *rows[0].shape[1:]), rows[0].dtype, allocate)
        for row, length, target in zip(rows, lengths.tolist(), padded, strict=True):
            target[:length] = row[:length]
            target[length:] = padding if self.value is None else self.value
        return padded


@dataclass(frozen=True)
class Ragged(BatchLayout):
    """A `RaggedArray`: no padding at all, for attention over sequences of varying length."""

    def arrange(self, rows: Rows, lengths: NDArray[np.int64], padding: float, allocate: Allocate) -> RaggedArray:
        """See `BatchLayout.arrange`."""
        offsets = np.append(0, np.cumsum(lengths))
        values = _allocate((int(offsets[-1]), *rows[0].shape[1:]), rows[0].dtype, allocate)
        for row, start, stop in zip(rows, offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
            values[start:stop] = row[: stop - start]
        return RaggedArray(values, offsets)


def _allocate(shape: tuple[int, ...], dtype: np.dtype[Any], allocate: Allocate) -> NDArray[Any]:
    """Return memory of this shape, with any values."""
    size = math.prod(shape) * dtype.itemsize
    memory = allocate(1, size) if size else None
    return np.empty(shape, dtype) if memory is None else memory.view(dtype).reshape(shape)
