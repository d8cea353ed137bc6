"""Read files with system calls, so that a truncated shard is an exception and does not end the process.

It costs a call a row where a map costs none. A file may have been replaced between two reads: a set has more files than
stay open, and they are opened again by name; and others may write to an open file. The crc32 in the index detects that;
but bytes that were checked before may not be the same any more.
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
    """Files that are read by `preadv`; a `FileSet`.

    `checked_once` is True until a file is found to have been replaced or written to since it was opened (another
    device, inode or mtime, as far as the file system records them). From then on it is False, and every delivery is
    checked.

    Raises:
        DamageError: a file is missing or has another size; the message names it.
    """

    def __init__(self, paths: Sequence[Path], sizes: Sequence[int]) -> None:
        self.checked_once = True
        room = np.array([size + -size % BLOCK for size in sizes], np.int64)
        self.starts: NDArray[np.int64] = np.cumsum(room) - room
        self._identities = [_read_identity(path, size) for path, size in zip(paths, sizes, strict=True)]
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

    def release_idle(self) -> None:
        """See `Descriptors.release_idle`."""
        self._descriptors.release_idle()

    def close(self) -> None:
        """See `FileSet.close`."""
        self._descriptors.close()
        self._memory.clear()

    def _fill(self, parts: Sequence[memoryview], starts: NDArray[np.int64]) -> None:
        """Fill each part with the bytes from its address."""
        numbers = self._descriptors.find_files(starts)
        offsets = starts - self.starts[numbers]
        order = np.argsort(starts)  # forwards, and one file at a time: it is released before the next is opened
        groups = np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1) if len(order) else []
        if self._descriptors.exceed_memory:  # so that the disk reads several rows at a time
            for group in groups:
                file = self._descriptors.open(int(numbers[group[0]]))
                for number, offset in zip(group.tolist(), offsets[group].tolist(), strict=True):
                    file.announce(offset, len(parts[number]))
        for group in groups:
            file = self._descriptors.open(int(numbers[group[0]]))
            for number, offset in zip(group.tolist(), offsets[group].tolist(), strict=True):
                file.read_into(parts[number], offset)
            # After reading: callers look at `checked_once` once they have the bytes.
            if file.identify() != self._identities[file.number]:
                self.checked_once = False


def _read_identity(path: Path, size: int) -> tuple[int, int, int]:
    descriptor, found = open_whole_file(path, size)
    os.close(descriptor)
    return identify(found)
