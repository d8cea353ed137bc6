"""Store the bytes of items in tars: a hundred files between two stages instead of a hundred thousand.

A `BlobLocation` is where an item's bytes are; tables have it as three columns.
"""

import os
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from pipeline.errors import InputError
from shardwright.format.tar import BLOCK, END, count_padding, encode_header

MAX_TAR_BYTES = 256 << 20  # of content: small enough to copy a tar, large enough for few tars
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


class TarStore:
    """Appends members to tars in `folder`, see `TarLayout`."""

    def __init__(self, folder: Path, stage_folder: str, prefix: str) -> None:
        self._folder = folder
        self._layout = TarLayout(stage_folder, prefix)
        self._tar = ""
        self._file: IO[bytes] | None = None

    def write(self, name: str, data: bytes) -> BlobLocation:
        """Append a member, and return the location of its content."""
        location = self._layout.add(len(data))
        if self._file is None or location.tar != self._tar:
            self._finish()
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = (self._folder / location.tar_name).open("xb")
            self._tar = location.tar
        write_member(self._file, name, data)
        return location

    def _finish(self) -> None:
        if self._file is not None:
            self._file.write(END)
            self._file.close()
            self._file = None

    def __enter__(self) -> "TarStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finish()


def write_member(file: IO[bytes], name: str, data: bytes) -> None:
    """Append a member to a tar."""
    file.write(encode_header(name, len(data)))
    file.write(data)
    file.write(bytes(count_padding(len(data))))


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
