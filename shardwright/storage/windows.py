"""Windows: parts of files that were read ahead, in the order of the disk, into memory of their own.

A map brings what is not in memory a few pages at a time, when they are touched. A window asks for all it holds at once
and in large reads, and keeps it until it is closed; the operating system's own copy may go.
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
from shardwright.storage.gather import pick_rows
from shardwright.storage.read_plan import ReadPiece, ReadRanges, cut_pieces, merge_ranges
from shardwright.storage.window_memory import WindowBuffer, WindowMemory

AHEAD = 32 << 20
"""Bytes that the operating system is told of in advance: without, reading took half as long again."""
READERS = 4
"""Calls under way at once that read past the operating system, which does not read ahead then. One was 15 % slower than
2, and 4 as fast; disks that are far away want more at once."""
SHARED = 4
"""Ranges with gaps of more than one byte in so many are taken for the share of one process among several."""


class Window:
    """A copy of ranges of files, see `shardwright.storage.file_set.FileSet.load`; `load_window` makes it.

    Attributes:
        starts: see `FileSet`.
    """

    checked_once = False

    def __init__(
        self, files: Descriptors, stretches: ReadRanges, memory: WindowBuffer, damaged: Sequence[ReadPiece]
    ) -> None:
        self.starts = files.starts
        self._files = files
        self._stretches = stretches
        self._memory: WindowBuffer | None = memory
        self._damaged = [(piece.place, piece.place + piece.size) for piece in damaged]

    def find(self, starts: NDArray[np.int64], sizes: int | NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether it holds so many bytes from each address: bool (rows,)."""
        found: NDArray[np.bool_] = self._stretches.find(starts, sizes) >= 0
        return found

    def read(self, start: int, size: int) -> bytes:
        """See `FileSet.read`."""
        return self.gather(np.array([start], np.int64), size).tobytes()

    def gather(self, starts: NDArray[np.int64], size: int, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """See `FileSet.gather`.

        Raises:
            IndexError: the window does not hold these bytes.
        """
        memory, places = self._look_up(starts, size)
        return pick_rows(memory.array, places, size, out)

    def read_ranges(self, starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> Sequence[NDArray[np.uint8]]:
        """See `FileSet.read_ranges`.

        Raises:
            IndexError: see `gather`.
        """
        memory, places = self._look_up(starts, sizes)
        ranges = zip(places.tolist(), sizes.tolist(), strict=True)
        return [memory.array[place : place + size].copy() for place, size in ranges]

    def load(self, starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> FileSet:
        """A window holds what it holds."""
        raise TypeError("a window is opened of files, not of a window")

    def close(self) -> None:
        """Let go of the memory; reading is an error from now on."""
        self._memory = None

    def _look_up(
        self, starts: NDArray[np.int64], sizes: int | NDArray[np.int64]
    ) -> tuple[WindowBuffer, NDArray[np.int64]]:
        """Where ranges stand in the window's memory, which whoever closes it meanwhile gives to nobody else as long as
        the result is held."""
        memory = self._memory
        if memory is None:
            raise ValueError("the window is closed")
        places = self._stretches.find(starts, sizes)
        if (places < 0).any():
            start, size = starts[places < 0][0], np.broadcast_to(sizes, places.shape)[places < 0][0]
            raise IndexError(f"{size} bytes at address {start} are not in this window")
        stops = places + sizes
        for start, stop in self._damaged:
            for row in np.flatnonzero((places < stop) & (stops > start)).tolist():
                self._read_again(int(starts[row]), memory.array[places[row] : stops[row]])
        return memory, places

    def _read_again(self, start: int, memory: NDArray[np.uint8]) -> None:
        """Read by itself what lies in a piece that could not be read: it may be whole, or its own error is raised."""
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
        raise TypeError("a window is opened of files, not of a window")

    def close(self) -> None:
        """Close the windows."""
        for window in self._windows:
            window.close()

    def _divide(self, starts: NDArray[np.int64], sizes: int | NDArray[np.int64]) -> Iterator[tuple[Window, slice]]:
        """The window that holds each range: for neighbours that are in one, all of them together."""
        holders = np.stack([window.find(starts, sizes) for window in self._windows])
        missing = ~holders.any(axis=0)
        if missing.any():
            size = np.broadcast_to(sizes, starts.shape)[missing][0]
            raise IndexError(f"{size} bytes at address {starts[missing][0]} are in none of these windows")
        owners = holders.argmax(axis=0)
        # A batch goes on where a window ends, so a window's rows are neighbours in it.
        bounds = [0, *(np.flatnonzero(np.diff(owners)) + 1).tolist(), len(starts)]
        for first, stop in pairwise(bounds):
            if first < stop:
                yield self._windows[owners[first]], slice(first, stop)


def join_windows(windows: Sequence[FileSet]) -> FileSet:
    """One window for several of the same files, for a batch whose rows stand in more than one.

    Raises:
        TypeError: these are no windows of one set of files.
    """
    if len(windows) == 1:
        return windows[0]
    own = [window for window in windows if isinstance(window, Window)]
    if len(own) < len(windows) or not own:
        raise TypeError(f"windows that `load_window` opened are wanted, not {[type(w).__name__ for w in windows]}")
    return JoinedWindows(own)


def load_window(
    files: Descriptors, starts: NDArray[np.int64], sizes: NDArray[np.int64], memory: WindowMemory
) -> Window:
    """Read these ranges, in the order of the disk.

    Files that are larger than memory together are read past the operating system, where it allows that: what it kept
    of them would be gone before it is wanted again, and all else that it keeps with it. That saves the copying too:
    1.4 times as fast, measured. Not so where other processes want what lies between the ranges: they take it from the
    operating system's memory.

    What cannot be read is no error yet, but when it is gathered: the other samples of the window are whole.

    Args:
        files: what they are ranges of.
        starts: int64 (ranges,), addresses, ascending; multiples of 512.
        sizes: int64 (ranges,), bytes; a range may be there twice.
        memory: where the window's memory comes from.

    Raises:
        OSError: a file is there and cannot be opened.
    """
    numbers = files.find_files(starts)
    offsets = starts - files.starts[numbers]
    stretches = merge_ranges(numbers, offsets, starts, sizes)
    pieces = cut_pieces(stretches)
    taken = memory.take(pieces[-1].place + pieces[-1].size if pieces else 0)
    gaps = int((stretches.stops - stretches.starts).sum() - sizes.sum())
    alone = files.exceed_memory and gaps * SHARED <= sizes.sum()
    rest = _read_direct(files, pieces, taken.array) if alone else pieces
    damaged = _read_pieces(files, rest, taken.array)
    if files.exceed_memory and rest:
        _forget(files, merge_ranges(numbers, offsets, starts, sizes, gap=0))
    return Window(files, stretches, taken, damaged)


def _read_direct(files: Descriptors, pieces: Sequence[ReadPiece], memory: NDArray[np.uint8]) -> Sequence[ReadPiece]:
    """Read pieces past the operating system's memory; gives those that it could not read so."""

    def read(piece: ReadPiece) -> bool:
        part = memory[piece.place : piece.place + piece.size].data
        return files.read_direct(piece.file, part, piece.offset) >= piece.needed

    with ThreadPoolExecutor(READERS, thread_name_prefix="shardwright-window") as pool:
        done = list(pool.map(read, pieces))
    return [piece for piece, whole in zip(pieces, done, strict=True) if not whole]


def _read_pieces(files: Descriptors, pieces: Sequence[ReadPiece], memory: NDArray[np.uint8]) -> Sequence[ReadPiece]:
    """Read pieces, with the operating system told ahead; gives those that are damaged."""
    damaged = []
    announced, lead = iter(pieces), 0
    for piece in pieces:
        while lead < AHEAD and (later := next(announced, None)):
            lead += later.needed
            with suppress(DamageError):  # it will be met again
                files.open(later.file).announce(later.offset, later.needed)
        try:
            part = memory[piece.place : piece.place + piece.needed].data
            files.open(piece.file).read_into(part, piece.offset)
        except DamageError:
            damaged.append(piece)
        lead -= piece.needed
    return damaged


def _forget(files: Descriptors, stretches: ReadRanges) -> None:
    """Have the operating system drop its copy of what was wanted.

    Not of the gaps between, which were read too: they are another process's samples, which it wants from memory.
    """
    sizes = (stretches.stops - stretches.starts).tolist()
    for number, offset, size in zip(stretches.files.tolist(), stretches.offsets.tolist(), sizes, strict=True):
        with suppress(DamageError):
            files.open(number).forget(offset, size)
