"""Collate samples into a batch, and merge batches into one."""

import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardwright.datasets.read_context import Batch, allocate
from shardwright.errors import FormatError
from shardwright.format.field import Field

Allocate = Callable[[int, int], NDArray[np.uint8] | None]
NUMERIC = "biufc"
"""NumPy's kinds of dtype that become one array."""


def collate(samples: Iterable[Mapping[str, Any]], allocate: Allocate = allocate, rows: int | None = None) -> Batch:
    """Return one batch of samples that have the same names, in the order of the first sample.

    Each sample is copied into its row before the next is requested: an iterator needs to hold one at a time.

    ==================================================  ==============================================================
    in each sample                                      in the batch
    ==================================================  ==============================================================
    an array, a NumPy scalar                            an array (batch, *shape), its dtype kept, in native byte order
    a Python bool, int or float                         an array (batch,) of bool, int64 or float64, as PyTorch's own
                                                        collate makes of them
    a PyTorch tensor                                    `torch.stack` of them
    anything else: text, bytes, None, dicts, lists,     a list
    arrays of text or of objects
    ==================================================  ==============================================================

    Values are never converted to fit each other: the result depends on the value alone, not on the rest of the batch.

    Args:
        samples: dicts with `key`, by which errors name them. An empty sequence gives an empty dict.
        allocate: allocates memory for arrays, see `shardwright.datasets.read_context.ReadContext.allocate`.
        rows: the number of samples, where an iterator gives them.

    Raises:
        FormatError: a sample lacks a name that another one has, or the values of a name differ in kind, dtype or shape:
            the message has the name, two samples' keys and what differs. Or an int is outside of int64.
    """
    count = len(samples) if isinstance(samples, Sequence) else rows
    assert count is not None  # the caller of an iterator knows it
    names: list[str] = []
    columns: dict[str, _Column] = {}
    first_key = "?"
    for row, sample in enumerate(samples):
        if row == 0:
            names, first_key = list(sample), sample.get("key", "?")
            columns = {name: _Column(name, count, first_key, allocate) for name in names}
        if sample.keys() != columns.keys():
            raise _describe_names(first_key, names, sample.get("key", "?"), sample)
        for column in columns.values():
            column.add(row, sample)
    return {name: column.finish() for name, column in columns.items()}


def merge(parts: Iterable[tuple[NDArray[np.int64], Batch]], rows: int, allocate: Allocate = allocate) -> Batch:
    """Copy several batches into one; each is released before the next is requested.

    Args:
        parts: batches with at least one sample, each with the positions (samples,) of its samples in the result; all
            positions together are 0 … rows-1, each once.
        rows: samples in the result.
        allocate: see `collate`.

    Raises:
        FormatError: the batches differ in names, or in the kind, dtype or shape of one; the message names it and two
            samples' keys.
    """
    merged: Batch = {}
    first = 0
    for at, batch in parts:
        if merged:
            _check_compatible(merged, first, batch)
        else:
            merged, first = {name: _allocate_like(values, rows, allocate) for name, values in batch.items()}, int(at[0])
        for name, target in merged.items():
            _fill(target, at, batch[name])
        del batch
    return merged


def allocate_rows(field: Field, count: int, allocate: Allocate) -> NDArray[Any]:
    """Return memory for the rows of a field: (count, *shape) of its dtype, with any values."""
    dtype = np.dtype(field.dtype)
    memory = allocate(count, field.nbytes)
    if memory is None:
        return np.empty((count, *field.shape), dtype)
    return memory.view(dtype).reshape(count, *field.shape)


def _check_compatible(merged: Batch, filled: int, batch: Batch) -> None:
    """Check that a batch can be merged into one whose sample at `filled` is present.

    Raises:
        FormatError: see `merge`.
    """
    if batch.keys() != merged.keys():
        raise _describe_names(merged["key"][filled], merged, batch["key"][0], batch)
    for name, values in batch.items():
        if _describe_batch(values) != _describe_batch(merged[name]):
            raise FormatError(
                f"{name!r} is {_describe_batch(merged[name])} in sample {merged['key'][filled]!r} and "
                f"{_describe_batch(values)} in {batch['key'][0]!r}; all sources of a mix must have one dtype and shape"
            )


def _allocate_like(first: Any, rows: int, allocate: Allocate) -> Any:
    """Return a list, tensor or array for `rows` values of the kind of `first`."""
    if isinstance(first, list):
        return [None] * rows
    if is_tensor(first):
        return first.new_empty((rows, *first.shape[1:]))
    size = first.dtype.itemsize * math.prod(first.shape[1:])
    memory = allocate(rows, size) if size else None
    if memory is None:
        return np.empty((rows, *first.shape[1:]), first.dtype)
    return memory.view(first.dtype).reshape(rows, *first.shape[1:])


def _fill(target: Any, at: NDArray[np.int64], values: Any) -> None:
    if isinstance(target, list):
        for position, value in zip(at.tolist(), values, strict=True):
            target[position] = value
    else:
        target[at] = values


def _describe_batch(values: Any) -> str:
    """Describe what the values of one name must share over all batches."""
    if isinstance(values, list):
        return "a value in a list"
    return f"{'a tensor' if is_tensor(values) else 'an array'} {values.dtype} {tuple(values.shape[1:])}"


class _Column:
    """The values of one name: an array that is filled row by row, tensors to stack, or a list."""

    def __init__(self, name: str, rows: int, first_key: str, allocate: Allocate) -> None:
        self._name = name
        self._rows = rows
        self._first_key = first_key
        self._allocate = allocate
        self._kind = ""  # what must be the same in all samples
        self._array: NDArray[Any] | None = None
        self._values: list[Any] = []

    def add(self, row: int, sample: Mapping[str, Any]) -> None:
        """Add the value of a sample.

        Raises:
            FormatError: see `collate`.
        """
        value = _unify(self._name, sample)
        kind = _describe(value)
        if row == 0:
            self._kind = kind
            if isinstance(value, np.ndarray):
                self._array = self._make_array(value)
        elif kind != self._kind:
            raise FormatError(
                f"{self._name!r} is {self._kind} in sample {self._first_key!r} and {kind} in {sample.get('key')!r}; "
                "all must be the same: pad, crop or convert it in the transform, or wrap it in a list there, which "
                "gives a list in the batch"
            )
        if self._array is not None:
            self._array[row] = value
        else:
            self._values.append(sample[self._name] if value is None else value)

    def finish(self) -> Any:
        """Return the values of all samples."""
        if self._array is not None:
            return self._array
        if not is_tensor(self._values[0]) or self._kind == _describe(None):
            return self._values
        import torch

        return torch.stack(self._values)

    def _make_array(self, value: NDArray[Any]) -> NDArray[Any]:
        memory = self._allocate(self._rows, value.nbytes) if value.nbytes else None
        if memory is None:
            return np.empty((self._rows, *value.shape), value.dtype)
        return memory.view(value.dtype).reshape(self._rows, *value.shape)


def _unify(name: str, sample: Mapping[str, Any]) -> Any:
    """Return the value as a native array or tensor if a batch of it is one, None if it is a list."""
    value = sample[name]
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        return array.astype(array.dtype.newbyteorder("="), copy=False) if array.dtype.kind in NUMERIC else None
    if isinstance(value, bool | float):
        return np.array(value)
    if isinstance(value, int):
        try:
            return np.array(value, np.int64)
        except OverflowError as error:
            raise FormatError(
                f"{name!r} of sample {sample.get('key')!r} is {value!r:.80}; an int must be in the range of int64"
            ) from error
    return value if is_tensor(value) else None


def _describe(value: Any) -> str:
    """Describe what must be the same in all samples; a tensor always differs from an array."""
    if value is None:
        return "neither a number nor an array"
    return f"{'a tensor' if is_tensor(value) else 'an array'} {value.dtype} {tuple(value.shape)}"


def is_tensor(value: object) -> bool:
    """Return whether a value is a PyTorch tensor, without importing PyTorch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _describe_names(key: str, names: Iterable[str], other_key: str, other_names: Iterable[str]) -> FormatError:
    """Return the error for two samples of which one lacks a name that the other has."""
    surplus, missing = set(names) - set(other_names), set(other_names) - set(names)
    if not surplus:
        key, other_key, surplus = other_key, key, missing
    return FormatError(
        f"sample {key!r} has {min(surplus, key=str)!r} and sample {other_key!r} lacks it; all must have the same "
        "names, with None for a missing value if the others are neither numbers nor arrays"
    )
