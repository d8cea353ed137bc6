"""Compute the mean and standard deviation of fields: one pass a shard, joined in shard order, equal on any workers.

Pixels are summed exactly, in integers; floats by the update of Chan, Golub and LeVeque ("Updating Formulae and a
Pairwise Algorithm for Computing Sample Variances", 1979), which does not cancel where the mean is large.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardwright.format.field import Field
from shardwright.format.manifest import Statistics

Array = NDArray[Any]

_MOST_PLANES = 4
"""Channels that `cv2.split` supports in every release."""


@dataclass(frozen=True)
class FieldMoments:
    """Moments of columns of values: number of rows, mean and sum of squared deviations of each column; float64."""

    count: int
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]

    def add(self, other: "FieldMoments") -> "FieldMoments":
        """Return the moments of both together."""
        count = self.count + other.count
        if count == 0:
            return self
        difference = other.mean - self.mean
        mean = self.mean + difference * (other.count / count)
        squares = self.squares + other.squares + difference**2 * (self.count * other.count / count)
        return FieldMoments(count, mean, squares)

    def describe(self) -> Statistics:
        """Return the manifest's statistics; the standard deviation is that of the population (divided by the count)."""
        deviation = np.sqrt(self.squares / max(self.count, 1))
        return Statistics(tuple(self.mean.tolist()), tuple(deviation.tolist()), self.count)


def has_moments(field: Field) -> bool:
    """Return whether a field has statistics: uint8 and float fields of two or more axes, never ids or lengths."""
    return len(field.shape) > 1 and (field.dtype == "uint8" or field.dtype.startswith("float"))


def encode_moments(moments: FieldMoments) -> bytes:
    """Return moments as float64: the count, the means, the squares."""
    values = (moments.mean, moments.squares)
    return struct.pack("<d", moments.count) + b"".join(each.astype("<f8", copy=False).tobytes() for each in values)


def sum_records(records: Sequence[bytes], fields: Mapping[str, Field]) -> dict[str, FieldMoments]:
    """Return the moments, of those of these fields that have any, of all records together, added one by one.

    Args:
        records: each what `encode_moments` gave for each field in turn, and zeros.
        fields: of the records.
    """
    columns = {name: field.shape[-1] for name, field in fields.items() if has_moments(field)}
    width = sum(1 + 2 * count for count in columns.values())
    table = np.frombuffer(b"".join(record[: 8 * width] for record in records), "<f8").reshape(-1, width or 1)
    sums, start = {}, 0
    for name, count in columns.items():
        means, squares = table[:, start + 1 :][:, :count], table[:, start + 1 + count :][:, :count]
        sums[name] = _sum_moments(table[:, start].astype(np.int64).tolist(), means, squares)
        start += 1 + 2 * count
    return sums


def _sum_moments(counts: Sequence[int], means: Array, squares: Array) -> FieldMoments:
    """Return what `FieldMoments.add` makes of these, to the last bit, in a fifth of its time.

    Args:
        counts: of each record.
        means, squares: (records, columns).
    """
    total, mean, around = 0, np.zeros(means.shape[1]), np.zeros(means.shape[1])
    for row, count in enumerate(counts):
        if count:
            before, total = total, total + count
            difference = means[row] - mean
            mean = mean + difference * (count / total)
            around = around + squares[row] + difference**2 * (before * count / total)
    return FieldMoments(total, mean, around)


def measure(array: Array) -> FieldMoments:
    """Return the moments of an array over all axes but the last."""
    rows = array.reshape(-1, array.shape[-1])
    if len(rows) == 0:
        return FieldMoments(0, np.zeros(array.shape[-1]), np.zeros(array.shape[-1]))
    if array.dtype == np.uint8:
        return _measure_bytes(array)
    values = rows.astype(np.float64)
    mean = values.mean(axis=0)
    return FieldMoments(len(rows), mean, np.square(values - mean).sum(axis=0))


def _measure_bytes(array: Array) -> FieldMoments:
    """Return exact integer sums by plane with OpenCV: 0.03 ms for 224 × 224 × 3; BLAS takes 0.08, NumPy's `sum` 0.17.

    OpenCV's norm may pass through a square root, which leaves it within 0.1 of the integer, so it is rounded.
    """
    import cv2

    columns = array.shape[-1]
    count = array.size // columns
    grid = array.reshape(-1, array.shape[-2], columns)
    planes = cv2.split(grid) if columns <= _MOST_PLANES else np.ascontiguousarray(np.moveaxis(grid, -1, 0))
    sums = [round(cv2.sumElems(plane)[0]) for plane in planes]
    squares = [round(cv2.norm(plane, cv2.NORM_L2SQR)) for plane in planes]
    around = [(count * square - total * total) / count for total, square in zip(sums, squares, strict=True)]
    return FieldMoments(count, np.array([total / count for total in sums]), np.array(around))
