"""Plan the reads of a window: merge ranges that are close together, and cut them into pieces.

Pieces start and end at whole pages of their file and of the window's memory: the page cache has pages anyway, and
direct reads from the disk need them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PAGE = 4096
"""Bytes of a page of memory on most machines, and a multiple of the sector of nearly all disks."""
GAP = 64 << 10
"""The largest gap between two ranges that are merged: at 1 GB/s reading it takes the 60 microseconds of a request."""
PIECE = 4 << 20
"""Bytes that one call reads; from 1 to 16 MiB there is no difference."""


@dataclass(frozen=True)
class ReadRanges:
    """Merged ranges, each in one file and read without a gap; all int64 (ranges,), ascending.

    Attributes:
        files: the numbers of the files.
        starts, stops: addresses.
        offsets: of the starts in their files.
        memory_offsets: of the starts in the window's memory; equal to `offsets` modulo a page.
    """

    files: NDArray[np.int64]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    offsets: NDArray[np.int64]
    memory_offsets: NDArray[np.int64]

    def find(self, starts: NDArray[np.int64], sizes: int | NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the offset in the window's memory of `sizes` bytes from each address, int64 (rows,); -1 for none."""
        if not len(self.starts):
            return np.full(len(starts), -1)
        numbers = np.searchsorted(self.starts, starts, side="right") - 1
        inside = (numbers >= 0) & (starts + sizes <= self.stops[numbers])
        return np.where(inside, starts - self.starts[numbers] + self.memory_offsets[numbers], -1)


@dataclass(frozen=True)
class ReadPiece:
    """The bytes that one call reads.

    Attributes:
        file: its number.
        offset: in the file, a multiple of a page.
        memory_offset: in the window's memory, a multiple of a page.
        size: in bytes, whole pages.
        needed: in bytes, without the unused end of the last page; the file may end there.
    """

    file: int
    offset: int
    memory_offset: int
    size: int
    needed: int


def merge_ranges(
    files: NDArray[np.int64],
    offsets: NDArray[np.int64],
    starts: NDArray[np.int64],
    sizes: NDArray[np.int64],
    gap: int = GAP,
) -> ReadRanges:
    """Merge ranges of the same file that are at most `gap` bytes apart.

    Args:
        files: int64 (ranges,), the number of each range's file.
        offsets: int64 (ranges,), of the starts in their files.
        starts: int64 (ranges,), addresses, ascending; ranges may occur more than once.
        sizes: int64 (ranges,), bytes.
        gap: in bytes.
    """
    stops = starts + sizes
    apart = (np.diff(files) != 0) | (starts[1:] - stops[:-1] > gap)
    firsts = np.flatnonzero(np.append(True, apart)[: len(starts)])
    lasts = np.append(firsts[1:], len(starts))[: len(firsts)] - 1
    begins = offsets[firsts]
    ends = begins + stops[lasts] - starts[firsts]
    room = ends + -ends % PAGE - (begins - begins % PAGE)
    memory_offsets = np.cumsum(room) - room + begins % PAGE
    return ReadRanges(files[firsts], starts[firsts], stops[lasts], begins, memory_offsets)


def cut_pieces(ranges: ReadRanges) -> Sequence[ReadPiece]:
    """Cut ranges into pieces of at most `PIECE` bytes, in their order."""
    columns = (ranges.files, ranges.offsets, ranges.memory_offsets, ranges.stops - ranges.starts)
    pieces = []
    for file, offset, memory_offset, size in zip(*(column.tolist() for column in columns), strict=True):
        head = offset % PAGE
        for at in range(-head, size, PIECE):
            needed = min(PIECE, size - at)
            pieces.append(ReadPiece(file, offset + at, memory_offset + at, needed + -needed % PAGE, needed))
    return pieces
