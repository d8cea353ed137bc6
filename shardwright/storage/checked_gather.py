"""Gather members with the crc32 of each: their first, checked delivery.

The crc32 is that of the bytes in the result, not of those in the file, which may change between two reads.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shardwright.format.checksum import compute_crc32
from shardwright.storage.file_set import FileSet
from shardwright.storage.mapped_files import MappedFiles

LARGE_ROW = 1 << 15
"""Bytes of a row of a map from which it is copied and checked by itself, while it is in the core's own cache, where a
crc32 of 150 kB takes 2.5 microseconds, else 8. Smaller rows are copied in one call, which is cheaper than one a row."""


@dataclass(frozen=True)
class CheckedRows:
    """Members that were gathered, and the crc32 of those that were to be checked.

    Attributes:
        values: uint8 (rows, size), the contents of all members after their heads.
        rows: int64 (checked,), the numbers of the rows that were to be checked.
        heads: uint8 (checked, head), the first bytes of their contents.
        crc32: uint32 (checked,), of their whole contents.
    """

    values: NDArray[np.uint8]
    rows: NDArray[np.int64]
    heads: NDArray[np.uint8]
    crc32: NDArray[np.uint32]

    def have_head(self, head: bytes) -> bool:
        """Return whether all heads are these bytes."""
        return self.heads.tobytes() == head * len(self.heads)


def gather_checked(
    files: FileSet,
    starts: NDArray[np.int64],
    sizes: tuple[int, int],
    unchecked: NDArray[np.bool_],
    out: NDArray[np.uint8] | None = None,
) -> CheckedRows:
    """Gather members of one size.

    Args:
        files: with these members.
        starts: int64 (rows,), the addresses of their contents, as for `FileSet.gather`.
        sizes: bytes of the head of each, a multiple of 64 or 0, and of the values after it.
        unchecked: bool (rows,), the members to check; all are, if the files are not `checked_once`.
        out: see `FileSet.gather`.

    Raises:
        DamageError: a file was truncated.
    """
    head, size = sizes
    if isinstance(files, MappedFiles) and size >= LARGE_ROW and unchecked.any():
        return _copy_rows(files, starts, sizes, np.flatnonzero(unchecked), out)
    values = files.gather(starts + head, size, out)
    # After reading: a read may find that a file was replaced.
    rows = np.flatnonzero(unchecked) if files.checked_once else np.arange(len(starts))
    heads, before = _gather_heads(files, starts[rows], head)
    memory, ends = values.reshape(-1).data, ((rows + 1) * size).tolist()
    found = [compute_crc32(memory[end - size : end], crc32) for end, crc32 in zip(ends, before, strict=True)]
    return CheckedRows(values, rows, heads, np.array(found, np.uint32))


def _copy_rows(
    files: MappedFiles,
    starts: NDArray[np.int64],
    sizes: tuple[int, int],
    rows: NDArray[np.int64],
    out: NDArray[np.uint8] | None,
) -> CheckedRows:
    head, size = sizes
    values = np.empty((len(starts), size), np.uint8) if out is None else out
    heads, before = _gather_heads(files, starts[rows], head)
    pending = dict(zip(rows.tolist(), before, strict=True))
    found = []
    for number, content in enumerate(files.read_ranges(starts + head, np.full(len(starts), size))):
        row = values[number]
        row[:] = content
        if number in pending:
            found.append(compute_crc32(row, pending[number]))
    return CheckedRows(values, rows, heads, np.array(found, np.uint32))


def _gather_heads(files: FileSet, starts: NDArray[np.int64], size: int) -> tuple[NDArray[np.uint8], list[int]]:
    """Return the heads of members, uint8 (members, size), and the crc32 of each; as a rule all are the same bytes."""
    if not len(starts) or not size:
        return np.empty((len(starts), size), np.uint8), [0] * len(starts)
    heads = files.gather(starts, size)
    first = heads[0].tobytes()
    if heads.tobytes() == first * len(heads):
        return heads, [compute_crc32(first)] * len(heads)
    return heads, [compute_crc32(head) for head in heads]
