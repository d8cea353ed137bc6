"""Store the bytes of items in tars: a hundred files between two stages instead of a hundred thousand.

A `BlobLocation` is where an item's bytes are; tables have it as three columns.
"""

import os
from collections import OrderedDict
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from shardwright.format.tar import BLOCK, END, count_padding, encode_header

MAX_TAR_BYTES = 256 << 20  # of content: small enough to copy a tar, large enough for few tars
_PADDING = bytes(BLOCK)
WRITE_BYTES = 1 << 20  # that are collected before a tar is written to
MAX_OPEN = 64  # tars that a reader keeps open: 16 GB of content


@dataclass(frozen=True, slots=True)
class BlobLocation:
    """A range of bytes of `tar`, which is relative to the data folder: `2_ingested/items-000000.tar`."""

    tar: str
    offset: int
    size: int

    @property
    def tar_name(self) -> str:
        """Return the tar's name in its folder."""
        return self.tar.rpartition("/")[2]


class TarLayout:
    """Plans the locations of members that are appended to `<prefix>-000000.tar`, `-000001.tar`, … in their order.

    `stage_folder` is the name of their folder under the data folder once it is published; every `BlobLocation` begins
    with it.
    """

    def __init__(self, stage_folder: str, prefix: str) -> None:
        self._start = f"{stage_folder}/{prefix}"
        self._number = 0
        self._end = 0

    def add(self, size: int) -> BlobLocation:
        """Return the location of the next member's content, after its header."""
        if self._end and self._end + size > MAX_TAR_BYTES:
            self._number, self._end = self._number + 1, 0
        location = BlobLocation(f"{self._start}-{self._number:06d}.tar", self._end + BLOCK, size)
        self._end = location.offset + size + count_padding(size)
        return location


class TarWriter:
    """Writes members to one tar; a context manager. A tar without members is not created."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self._end = 0

    def write(self, name: str, data: bytes) -> int:
        """Append a member, and return the offset of its content."""
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("xb", buffering=WRITE_BYTES)
        write_member(self._file, name, data)
        offset = self._end + BLOCK
        self._end = offset + len(data) + count_padding(len(data))
        return offset

    def __enter__(self) -> "TarWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if self._file is not None:
            self._file.write(END)
            self._file.close()


class TarStore:
    """Appends members to tars in `folder`, see `TarLayout`."""

    def __init__(self, folder: Path, stage_folder: str, prefix: str) -> None:
        self._folder = folder
        self._layout = TarLayout(stage_folder, prefix)
        self._tar = ""
        self._tars = ExitStack()
        self._writer: TarWriter | None = None

    def write(self, name: str, data: bytes) -> BlobLocation:
        """Append a member, and return the location of its content."""
        location = self._layout.add(len(data))
        if self._writer is None or location.tar != self._tar:
            self._tars.close()
            self._writer = self._tars.enter_context(TarWriter(self._folder / location.tar_name))
            self._tar = location.tar
        self._writer.write(name, data)
        return location

    def __enter__(self) -> "TarStore":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._tars.close()


def write_member(file: IO[bytes], name: str, data: bytes) -> None:
    """Append a member to a tar."""
    file.write(encode_header(name, len(data)))
    file.write(data)
    file.write(_PADDING[: count_padding(len(data))])


def copy_members(source: Path, target: Path, members: NDArray[np.int64]) -> None:
    """Write a tar with some members of another one.

    Args:
        source: the tar.
        target: the new tar; replaced.
        members: int64 (n, 2), the offset and size of each one's content, in the order of the offsets.
    """
    starts = members[:, 0] - BLOCK
    ends = members[:, 0] + members[:, 1] + -members[:, 1] % BLOCK
    breaks = np.flatnonzero(starts[1:] != ends[:-1]) + 1
    with source.open("rb") as old, target.open("wb") as new:
        for first, last in zip([0, *breaks], [*breaks, len(members)], strict=True):
            old.seek(starts[first])
            left = int(ends[last - 1] - starts[first])
            while left:
                chunk = old.read(min(left, WRITE_BYTES))
                new.write(chunk)
                left -= len(chunk)
        new.write(END)


class TarReader:
    """Reads bytes by their `BlobLocation` below the data folder; keeps recently used tars open."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._open: OrderedDict[str, int] = OrderedDict()

    def read(self, location: BlobLocation) -> bytes:
        """Return the bytes at `location`.

        Raises:
            InputError: the tar is missing or ends before them.
        """
        descriptor = self._find(location.tar)
        content = os.pread(descriptor, location.size, location.offset)
        while len(content) < location.size:  # a call returns at most 2 GiB
            more = os.pread(descriptor, location.size - len(content), location.offset + len(content))
            if not more:
                end = location.offset + location.size
                raise InputError(
                    f"{self._data / location.tar} is truncated: it ends before byte {end}; run `dvc repro` again"
                )
            content += more
        return content

    def forget(self, location: BlobLocation) -> None:
        """Tell the system that these bytes will not be read again soon, so that their page cache can be freed."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._find(location.tar), location.offset, location.size, os.POSIX_FADV_DONTNEED)

    def _find(self, tar: str) -> int:
        if tar in self._open:
            self._open.move_to_end(tar)
            return self._open[tar]
        if len(self._open) == MAX_OPEN:
            os.close(self._open.popitem(last=False)[1])
        try:
            self._open[tar] = os.open(self._data / tar, os.O_RDONLY)
        except OSError:
            raise InputError(f"{self._data / tar} cannot be opened: run `dvc repro` again") from None
        return self._open[tar]

    def close(self) -> None:
        """Close the open tars."""
        while self._open:
            os.close(self._open.popitem()[1])

    def __enter__(self) -> "TarReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_location(row: dict[str, Any]) -> BlobLocation:
    """Return the `BlobLocation` in a row's columns `tar`, `offset` and `size`."""
    return BlobLocation(row["tar"], row["offset"], row["size"])
