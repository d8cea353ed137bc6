"""Which reads bring a window: ranges that lie together become stretches, cut into pieces. Pure arithmetic.

Pieces begin and end at whole pages of their file, and at whole pages of the window's memory. The operating system keeps
files in pages anyway, and to read past it, straight from the disk, needs them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PAGE = 4096
"""Of memory on most machines, and no less than the sector of nearly all disks."""
GAP = 64 << 10
"""Bytes between two ranges that are read through: at 1 GB/s they take the 60 microseconds of another request."""
PIECE = 4 << 20
"""Bytes that are read by one call; from 1 to 16 MiB there is no difference."""


@dataclass(frozen=True)
class ReadRanges:
    """What is read without a break, each from one file: int64 (stretches,) all, ascending.

    Attributes:
        files: the numbers of the files.
        starts, stops: addresses.
        offsets: in the file, of the start.
        places: in the window's memory, of the start; equal to the offset modulo a page.
    """

    files: NDArray[np.int64]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    offsets: NDArray[np.int64]
    places: NDArray[np.int64]

    def find(self, starts: NDArray[np.int64], sizes: int | NDArray[np.int64]) -> NDArray[np.int64]:
        """Where so many bytes from each address stand in the window's memory, or -1: int64 (rows,)."""
        if not len(self.starts):
            return np.full(len(starts), -1)
        numbers = np.searchsorted(self.starts, starts, side="right") - 1
        inside = (numbers >= 0) & (starts + sizes <= self.stops[numbers])
        return np.where(inside, starts - self.starts[numbers] + self.places[numbers], -1)


@dataclass(frozen=True)
class ReadPiece:
    """What is read by one call.

    Attributes:
        file: its number.
        offset: where the piece begins in the file, a multiple of a page.
        place: where it goes in the window's memory, a multiple of a page.
        size: bytes of whole pages.
        needed: bytes without those of the last page that nobody asked for; the file may end before.
    """

    file: int
    offset: int
    place: int
    size: int
    needed: int


def merge_ranges(
    files: NDArray[np.int64],
    offsets: NDArray[np.int64],
    starts: NDArray[np.int64],
    sizes: NDArray[np.int64],
    gap: int = GAP,
) -> ReadRanges:
    """The stretches that hold these ranges: those of one file at most `gap` bytes apart become one.

    Args:
        files: int64 (ranges,), the number of the file of each.
        offsets: int64 (ranges,), where each starts in its file.
        starts: int64 (ranges,), addresses, ascending; equal ones are one range.
        sizes: int64 (ranges,), bytes.
    """
    stops = starts + sizes
    apart = (np.diff(files) != 0) | (starts[1:] - stops[:-1] > gap)
    firsts = np.flatnonzero(np.append(True, apart)[: len(starts)])
    lasts = np.append(firsts[1:], len(starts))[: len(firsts)] - 1
    begins = offsets[firsts]
    ends = begins + stops[lasts] - starts[firsts]
    room = ends + -ends % PAGE - (begins - begins % PAGE)
    places = np.cumsum(room) - room + begins % PAGE
    return ReadRanges(files[firsts], starts[firsts], stops[lasts], begins, places)


def cut_pieces(stretches: ReadRanges) -> Sequence[ReadPiece]:
    """The calls that read the stretches, in their order."""
    columns = (stretches.files, stretches.offsets, stretches.places, stretches.stops - stretches.starts)
    pieces = []
    for file, offset, place, size in zip(*(column.tolist() for column in columns), strict=True):
        head = offset % PAGE
        for at in range(0, head + size, PIECE):
            needed = min(PIECE, head + size - at)
            pieces.append(ReadPiece(file, offset - head + at, place - head + at, needed + -needed % PAGE, needed))
    return pieces
