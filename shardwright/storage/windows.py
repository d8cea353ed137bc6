"""Read ranges of files ahead, in the order of the disk, into windows: memory apart from the page cache.

A map loads a few pages at a time, when they are first used. A window loads all of its ranges at once in large reads and
keeps them until it is closed; the page cache may drop its copy.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain, pairwise

import numpy as np
from numpy.typing import NDArray

from shardwright.errors import DamageError
from shardwright.storage.descriptors import Descriptors
from shardwright.storage.file_set import FileSet
from shardwright.storage.gather import gather_rows
from shardwright.storage.read_plan import ReadPiece, ReadRanges, cut_pieces, merge_ranges
from shardwright.storage.window_memory import WindowBuffer, WindowMemory

AHEAD = 32 << 20
"""Bytes that are announced to the operating system before they are read: without, reading took half as long again."""
READERS = 4
"""Direct reads at a time, for which the operating system does not read ahead. One was 15 % slower than 2, and 4 as fast
as 2; remote disks need more at a time."""
SHARED = 4
"""Where more than one byte in so many lies in gaps, the ranges are assumed to be one process's share among several."""


class Window:
    """A copy of ranges of files, see `FileSet.load`; created by `load_window`.

    Attributes:
        starts: see `FileSet`.
    """

    checked_once = False

    def __init__(
        self, files: Descriptors, ranges: ReadRanges, memory: WindowBuffer, damaged: Sequence[ReadPiece]
    ) -> None:
        self.starts = files.starts
        self._files = files
        self._ranges = ranges
        self._memory: WindowBuffer | None = memory
        self._damaged = [(piece.memory_offset, piece.memory_offset + piece.size) for piece in damaged]

    def find(self, starts: NDArray[np.int64], sizes: int | NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return whether the window has `sizes` bytes from each address: bool (rows,)."""
        found: NDArray[np.bool_] = self._ranges.find(starts, sizes) >= 0
        return found

    def read(self, start: int, size: int) -> bytes:
        """See `FileSet.read`."""
        return self.gather(np.array([start], np.int64), size).tobytes()

    def gather(self, starts: NDArray[np.int64], size: int, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """See `FileSet.gather`.

        Raises:
            IndexError: the window does not have these bytes.
        """
        memory, offsets = self._find_memory(starts, size)
        return gather_rows(memory.array, offsets, size, out)

    def read_ranges(self, starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> Sequence[NDArray[np.uint8]]:
        """See `FileSet.read_ranges`.

        Raises:
            IndexError: see `gather`.
        """
        memory, offsets = self._find_memory(starts, sizes)
        ranges = zip(offsets.tolist(), sizes.tolist(), strict=True)
        return [memory.array[offset : offset + size].copy() for offset, size in ranges]

    def load(self, starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> FileSet:
        """Raise a TypeError: only files can be loaded."""
        raise TypeError("a window is loaded from files, not from a window")

    def close(self) -> None:
        """Release the memory; reading is an error from now on."""
        self._memory = None

    def _find_memory(
        self, starts: NDArray[np.int64], sizes: int | NDArray[np.int64]
    ) -> tuple[WindowBuffer, NDArray[np.int64]]:
        """Return the window's memory and the offsets of ranges in it.

        As long as the result is held no other window gets this memory, even if another thread closes this one.
        """
        memory = self._memory
        if memory is None:
            raise ValueError("the window is closed")
        offsets = self._ranges.find(starts, sizes)
        if (offsets < 0).any():
            start, size = starts[offsets < 0][0], np.broadcast_to(sizes, offsets.shape)[offsets < 0][0]
            raise IndexError(f"{size} bytes at address {start} are not in this window")
        stops = offsets + sizes
        for start, stop in self._damaged:
            for row in np.flatnonzero((offsets < stop) & (stops > start)).tolist():
                self._read_again(int(starts[row]), memory.array[offsets[row] : stops[row]])
        return memory, offsets

    def _read_again(self, start: int, memory: NDArray[np.uint8]) -> None:
        """Read a range of a damaged piece by itself: it may be readable, or its own error is raised."""
        number = int(self._files.find_files(np.array([start]))[0])
        with self._files.lease(number) as file:
            file.read_into(memory.data, start - int(self.starts[number]))


class JoinedWindows:
    """Several windows of the same files as one."""

    checked_once = False

    def __init__(self, windows: Sequence[Window]) -> None:
        self.starts = windows[0].starts
        self._windows = windows

    def read(self, start: int, size: int) -> bytes:
        """See `FileSet.read`."""
        return self.gather(np.array([start], np.int64), size).tobytes()

    def gather(self, starts: NDArray[np.int64], size: int, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """See `Window.gather`."""
        rows = np.empty((len(starts), size), np.uint8) if out is None else out
        for window, part in self._divide(starts, size):
            found = window.gather(starts[part], size, None if out is None else rows[part])
            if out is None:
                rows[part] = found
        return rows

    def read_ranges(self, starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> Sequence[NDArray[np.uint8]]:
        """See `Window.read_ranges`."""
        parts = [window.read_ranges(starts[part], sizes[part]) for window, part in self._divide(starts, sizes)]
        return list(chain.from_iterable(parts))

    def load(self, starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> FileSet:
        """See `Window.load`."""
        raise TypeError("a window is loaded from files, not from a window")

    def close(self) -> None:
        """Close the windows."""
        for window in self._windows:
            window.close()

    def _divide(self, starts: NDArray[np.int64], sizes: int | NDArray[np.int64]) -> Iterator[tuple[Window, slice]]:
        """Yield each run of ranges that are in the same window: the window and their slice."""
        holders = np.stack([window.find(starts, sizes) for window in self._windows])
        missing = ~holders.any(axis=0)
        if missing.any():
            size = np.broadcast_to(sizes, starts.shape)[missing][0]
            raise IndexError(f"{size} bytes at address {starts[missing][0]} are in none of these windows")
        owners = holders.argmax(axis=0)
        # A batch continues where a window ends, so the rows of a window are adjacent in it.
        bounds = [0, *(np.flatnonzero(np.diff(owners)) + 1).tolist(), len(starts)]
        for first, stop in pairwise(bounds):
            if first < stop:
                yield self._windows[owners[first]], slice(first, stop)


def join_windows(windows: Sequence[FileSet]) -> FileSet:
    """Join windows of the same files to one, for a batch whose rows are in several.

    Raises:
        TypeError: one is not a `Window`.
    """
    if len(windows) == 1:
        return windows[0]
    loaded = [window for window in windows if isinstance(window, Window)]
    if len(loaded) < len(windows) or not loaded:
        raise TypeError(f"windows are {[type(w).__name__ for w in windows]}; they must all come from `load_window`")
    return JoinedWindows(loaded)


def load_window(
    files: Descriptors, starts: NDArray[np.int64], sizes: NDArray[np.int64], memory: WindowMemory
) -> Window:
    """Read ranges in the order of the disk.

    Where all files together are larger than memory, they are read directly from the disk if possible: the page cache
    would drop them before they are read again, and other files with them. It also saves a copy: 1.4 times as fast,
    measured. Not so where other processes read the gaps between the ranges: they find them in the page cache.

    Bytes that cannot be read raise their error when they are gathered: the other samples of the window are intact.

    Args:
        files: with these ranges.
        starts: int64 (ranges,), addresses, ascending; multiples of 512.
        sizes: int64 (ranges,), bytes; a range may occur more than once.
        memory: the pool that the window's memory is taken from.

    Raises:
        OSError: a file exists and cannot be opened.
    """
    numbers = files.find_files(starts)
    offsets = starts - files.starts[numbers]
    ranges = merge_ranges(numbers, offsets, starts, sizes)
    pieces = cut_pieces(ranges)
    taken = memory.take(pieces[-1].memory_offset + pieces[-1].size if pieces else 0)
    gaps = int((ranges.stops - ranges.starts).sum() - sizes.sum())
    alone = files.exceed_memory and gaps * SHARED <= sizes.sum()
    rest = _read_direct(files, pieces, taken.array) if alone else pieces
    damaged = _read_pieces(files, rest, taken.array)
    if files.exceed_memory and rest:
        _forget(files, merge_ranges(numbers, offsets, starts, sizes, gap=0))
    return Window(files, ranges, taken, damaged)


def _read_direct(files: Descriptors, pieces: Sequence[ReadPiece], memory: NDArray[np.uint8]) -> Sequence[ReadPiece]:
    """Read pieces directly from the disk; return those that could not be read so."""

    def read(piece: ReadPiece) -> bool:
        part = memory[piece.memory_offset : piece.memory_offset + piece.size].data
        return files.read_direct(piece.file, part, piece.offset) >= piece.needed

    with ThreadPoolExecutor(READERS, thread_name_prefix="shardwright-window") as pool:
        done = list(pool.map(read, pieces))
    return [piece for piece, whole in zip(pieces, done, strict=True) if not whole]


def _read_pieces(files: Descriptors, pieces: Sequence[ReadPiece], memory: NDArray[np.uint8]) -> Sequence[ReadPiece]:
    """Read pieces, each announced to the operating system in advance; return those that are damaged."""
    damaged = []
    announced, lead = iter(pieces), 0
    for piece in pieces:
        while lead < AHEAD and (later := next(announced, None)):
            lead += later.needed
            with suppress(DamageError):  # reading it raises it again
                files.open(later.file).announce(later.offset, later.needed)
        try:
            part = memory[piece.memory_offset : piece.memory_offset + piece.needed].data
            files.open(piece.file).read_into(part, piece.offset)
        except DamageError:
            damaged.append(piece)
        lead -= piece.needed
    return damaged


def _forget(files: Descriptors, ranges: ReadRanges) -> None:
    """Drop the requested ranges from the page cache.

    The gaps between them, which were read too, stay: they are the samples of another process, which will read them.
    """
    sizes = (ranges.stops - ranges.starts).tolist()
    for number, offset, size in zip(ranges.files.tolist(), ranges.offsets.tolist(), sizes, strict=True):
        with suppress(DamageError):
            files.open(number).forget(offset, size)
