"""Define the protocol for reading the bytes of a split's shards by address, the files one after another.

Implementations: a memory map (`mapped_files`), system calls, for files that others may truncate (`pread_files`), cached
copies of remote files (`shardwright.remote.leased_files`), and windows that were read ahead (`windows`). All return the
same bytes for the same address.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

ALIGNMENT = 64
"""Arrays in a shard start at multiples of this: a tar block has 512 bytes, the NPY header a multiple of 64."""


class FileSet(Protocol):
    """The bytes of several files by address.

    Attributes:
        starts: the address of each file's first byte, int64 (files,); multiples of 512.
        checked_once: whether bytes need to be checked only once: True for a map and for files that stay open, False
            where a later read may return other bytes.
    """

    starts: NDArray[np.int64]
    checked_once: bool

    def read(self, start: int, size: int) -> bytes:
        """Return a copy of `size` bytes from `start`.

        Raises:
            DamageError: the file was truncated.
        """

    def gather(self, starts: NDArray[np.int64], size: int, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Return a copy of `size` bytes from each of `starts`: uint8 (rows, size), in `out` where that is given.

        Args:
            starts: int64 (rows,), addresses in any order; multiples of 64.
            size: bytes a row, at least 1.
            out: uint8 (rows, size), C-ordered; becomes the result.

        Raises:
            DamageError: a file was truncated.
        """

    def read_ranges(self, starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> Sequence[NDArray[np.uint8]]:
        """Return the bytes of ranges of different sizes, each uint8 (size,), read-only: a map does not copy them.

        Args:
            starts: int64 (ranges,), addresses in any order; multiples of 64.
            sizes: int64 (ranges,), bytes.

        Raises:
            DamageError: a file was truncated.
        """

    def load(self, starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> "FileSet":
        """Read ranges in the order of the disk; return a window, which has these bytes in memory at the same addresses.

        Reading other addresses of the window is an IndexError. Its `checked_once` is False. Bytes that cannot be read
        are a DamageError when they are gathered.

        Args:
            starts: int64 (ranges,), addresses, ascending, multiples of 512; ranges may touch and do not overlap.
            sizes: int64 (ranges,), bytes; no range extends beyond the end of its file.

        Raises:
            OSError: a file exists and cannot be opened.
        """

    def close(self) -> None:
        """Release the files; reading them is an error from now on."""
