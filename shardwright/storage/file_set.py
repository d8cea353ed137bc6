"""Files side by side in one range of addresses: what a split reads its bytes through.

There are several ways to the bytes of the same shards: a memory map (`shardwright.storage.mapped_files`), reads of a
file that
others may cut meanwhile, a local copy of what is far away, or a window that was read ahead. All give the same answers
at the same addresses.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

ALIGNMENT = 64
"""Arrays in a shard start at multiples of this: a tar block is 512 bytes, the NPY header 128 or more."""


class FileSet(Protocol):
    """Bytes by address.

    Attributes:
        starts: the address that each file starts at, int64 (files,); multiples of 512.
        checked_once: whether bytes that were checked stay checked: True for a map and for files that stay open,
            False where every reading may bring other bytes.
    """

    starts: NDArray[np.int64]
    checked_once: bool

    def read(self, start: int, size: int) -> bytes:
        """A copy of `size` bytes from `start`.

        Raises:
            DamageError: the file has become shorter.
        """

    def gather(self, starts: NDArray[np.int64], size: int, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """A copy of `size` bytes from each of `starts`: uint8 (rows, size), in `out` where that is given.

        Args:
            starts: int64 (rows,), any order; multiples of 64.
            size: bytes a row, at least 1.
            out: uint8 (rows, size), C-ordered; it becomes the result.

        Raises:
            DamageError: a file has become shorter.
        """

    def read_ranges(self, starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> Sequence[NDArray[np.uint8]]:
        """The bytes of ranges of different sizes, each uint8 (size,), to be read only: from a map without a copy.

        Args:
            starts: int64 (ranges,), any order; multiples of 64.
            sizes: int64 (ranges,), bytes.

        Raises:
            DamageError: a file has become shorter.
        """

    def load(self, starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> "FileSet":
        """A window: a copy of these ranges, read in the order of the disk, that answers at the same addresses.

        Reading it anywhere else is an IndexError. Its `checked_once` is False.

        Args:
            starts: int64 (ranges,), ascending, multiples of 512; ranges may touch and do not overlap.
            sizes: int64 (ranges,), bytes; no range reaches over the end of its file.

        What cannot be read is a DamageError when it is gathered.

        Raises:
            OSError: a file is there and cannot be opened.
        """

    def close(self) -> None:
        """Let go of the files; reading them is an error from now on."""
