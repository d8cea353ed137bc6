"""Find the length of every sample before any is read for training: from a field, or from the sizes in the index."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardwright.datasets.base import SampleSource
from shardwright.datasets.read_context import ReadContext
from shardwright.errors import FormatError

READ_ROWS = 1 << 16
"""Samples whose lengths are gathered at a time."""


def find_lengths(data: SampleSource, by: "str | NDArray[Any]") -> NDArray[np.int64]:
    """Return the length of each row: int64 (rows,).

    Args:
        data: the source whose rows are measured.
        by: a field that has one integer a sample, such as `audio_length`, which is read once; a name without such a
            field, whose files are measured in bytes, from the index; or an array (rows,) of integers.

    Raises:
        KeyError: there is no such name.
        FormatError: `by` is an array of another shape or dtype, or has a length below 0.
        DamageError: see `SampleSource.gather`.
    """
    if isinstance(by, str):
        field = data.fields.get(by)
        if field is not None and field.shape == () and np.dtype(field.dtype).kind in "iu":
            found = _read_field(data, by)
        else:
            found = data.find_sizes(by)
    else:
        found = np.asarray(by)
    if found.shape != (data.count_rows(),) or (found.size and found.dtype.kind not in "iu"):
        raise FormatError(f"lengths are {found.dtype} {found.shape}; they must be integers ({data.count_rows()},)")
    if len(found) and found.min() < 0:
        raise FormatError(f"length {found.min()} of row {found.argmin()} must be at least 0")
    return found.astype(np.int64, copy=False)


def check_each_row_once(data: SampleSource, purpose: str) -> None:
    """Check that an epoch of a source has each row once.

    Raises:
        FormatError: it, or a source of a mix, is drawn by weights; the message has `purpose`.
    """
    try:
        data.list_rows(np.arange(len(data)))  # all, for the sources of a mix
    except FormatError as error:
        raise FormatError(f"{data!r} is drawn by weights, so an epoch has some samples twice; {purpose}") from error


def _read_field(data: SampleSource, name: str) -> NDArray[np.int64]:
    context, count = ReadContext(fields=(name,)), data.count_rows()
    starts = range(0, count, READ_ROWS)
    parts = [data.gather(np.arange(at, min(at + READ_ROWS, count)), context)[name] for at in starts]
    return np.concatenate(parts).astype(np.int64) if parts else np.zeros(0, np.int64)
