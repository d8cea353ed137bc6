"""Files that are read with system calls: a shard that somebody truncates is an exception, not the end of the process.

It costs a call a row where a map costs nothing. What is read may be another file's by now: a set has more files than
stay open, and they are opened again by name; and anybody may write to a file that is open. The crc32 in the index
decides, as ever; only what was checked before is not known to be whole any more.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shardwright.storage.descriptors import Descriptors, identify, open_whole_file
from shardwright.storage.file_set import FileSet
from shardwright.storage.window_memory import WindowMemory
from shardwright.storage.windows import load_window

BLOCK = 512


class PreadFiles:
    """Files, read by `preadv`.

    See `shardwright.storage.file_set.FileSet` for what it does. `checked_once` is True until a file is seen that is not
    the one
    which was there at opening, or was written to since: another device, inode or time of change, as far as the file
    system tells. Then it is False for good, and every delivery is checked.

    Raises:
        DamageError: a file is missing or has another size; the message names it.
    """

    def __init__(self, paths: Sequence[Path], sizes: Sequence[int]) -> None:
        self.checked_once = True
        room = np.array([size + -size % BLOCK for size in sizes], np.int64)
        self.starts: NDArray[np.int64] = np.cumsum(room) - room
        self._known = [_look_at(path, size) for path, size in zip(paths, sizes, strict=True)]
        self._descriptors = Descriptors(paths, sizes, self.starts)
        self._memory = WindowMemory()

    def read(self, start: int, size: int) -> bytes:
        """See `FileSet.read`."""
        return self.gather(np.array([start], np.int64), size).tobytes()

    def gather(self, starts: NDArray[np.int64], size: int, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """See `FileSet.gather`."""
        rows = np.empty((len(starts), size), np.uint8) if out is None else out
        memory = rows.reshape(-1).data
        self._fill([memory[at : at + size] for at in range(0, len(memory), size)], starts)
        return rows

    def read_ranges(self, starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> Sequence[NDArray[np.uint8]]:
        """See `FileSet.read_ranges`."""
        contents = [np.empty(size, np.uint8) for size in sizes.tolist()]
        self._fill([content.data for content in contents], starts)
        return contents

    def load(self, starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> FileSet:
        """See `FileSet.load`."""
        return load_window(self._descriptors, starts, sizes, self._memory)

    def close(self) -> None:
        """Let go of the files; reading them is an error from now on."""
        self._descriptors.close()
        self._memory.clear()

    def _fill(self, parts: Sequence[memoryview], starts: NDArray[np.int64]) -> None:
        """Fill each part with the bytes from its address on."""
        numbers = self._descriptors.find_files(starts)
        offsets = starts - self.starts[numbers]
        order = np.argsort(starts)  # forwards, and one file at a time: it is let go before the next is opened
        groups = np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1) if len(order) else []
        if self._descriptors.exceed_memory:  # else a row that has to come from the disk waits for the one before
            for group in groups:
                file = self._descriptors.open(int(numbers[group[0]]))
                for number, offset in zip(group.tolist(), offsets[group].tolist(), strict=True):
                    file.announce(offset, len(parts[number]))
        for group in groups:
            file = self._descriptors.open(int(numbers[group[0]]))
            for number, offset in zip(group.tolist(), offsets[group].tolist(), strict=True):
                file.read_into(parts[number], offset)
            # Looked at afterwards: whoever checks these bytes asks for `checked_once` when they are here.
            if file.identify() != self._known[file.number]:
                self.checked_once = False


def _look_at(path: Path, size: int) -> tuple[int, int, int]:
    descriptor, found = open_whole_file(path, size)
    os.close(descriptor)
    return identify(found)
