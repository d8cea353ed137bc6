"""What is asked of a source of samples: which rows, how they are read, and what a batch is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardwright.errors import FormatError
from shardwright.storage.file_set import FileSet

Content = bytes | NDArray[np.uint8]
"""A whole file, checked against its checksum; only to be read."""
Indices = Sequence[int] | NDArray[np.int64]
Batch = dict[str, Any]
"""By name: an array (batch, *shape) for a field, a list for values without a fixed shape, a list of str for `key`."""


def allocate(rows: int, size: int) -> NDArray[np.uint8] | None:
    """Return None: the reader allocates fresh memory."""
    return None


def refuse_omission(position: int) -> None:
    """Raise: what reads single samples has nothing to put in the place of one that is left out.

    Raises:
        FormatError: always.
    """
    raise FormatError("the transform returned None; only a Loader can leave samples out, see `with_transform`")


@dataclass(frozen=True)
class ReadContext:
    """How a batch is read.

    Attributes:
        fields: the names to read, in their order, or None for all.
        seed, epoch: what the random numbers of a transform depend on, beside the sample.
        files: a window that holds the bytes of these samples, or None for the dataset's own files.
        allocate: returns uint8 (rows, size) to write rows of a field into, or None for fresh memory.
        omit: called with the position, among the requested, of each sample that a transform left out. Another sample's
            result is in its place then.
    """

    fields: tuple[str, ...] | None = None
    seed: int = 0
    epoch: int = 0
    files: FileSet | None = None
    allocate: Callable[[int, int], NDArray[np.uint8] | None] = allocate
    omit: Callable[[int], None] = refuse_omission


DEFAULT_CONTEXT = ReadContext()


def split_batch(batch: Batch) -> list[dict[str, Any]]:
    """Return the samples of a batch: an array for each field, other values unchanged."""
    return [
        {
            name: np.asarray(values[row]) if isinstance(values, np.ndarray) else values[row]
            for name, values in batch.items()
        }
        for row in range(len(batch["key"]))
    ]


def resolve_rows(indices: Indices, count: int, name: str) -> NDArray[np.int64]:
    """Return row numbers from 0, int64 (rows,), of indices that may count from the end.

    Raises:
        IndexError: an index is out of range for `count` samples; the message has `name`.
        TypeError: the indices are not integers.
    """
    rows = np.asarray(indices)
    if rows.size and (rows.dtype.kind not in "iu" or rows.ndim != 1):
        raise TypeError(f"indices are {rows.dtype} {rows.shape}; they must be a list or 1-d array of integers")
    rows = rows.astype(np.int64, copy=False)
    outside = (rows < -count) | (rows >= count)
    if outside.any():
        raise IndexError(f"index {rows[outside][0]} is out of range for split {name!r}, which has {count} samples")
    return np.where(rows < 0, rows + count, rows)
