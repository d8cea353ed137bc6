"""The bytes of items, in tars: a hundred files between two stages instead of a hundred thousand.

A `Place` says where an item's bytes are; tables carry it as three columns.
"""

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from pipeline.errors import InputError
from shardwright.tar import END, count_padding, encode_header

MAX_TAR_BYTES = 256 << 20  # of content; keeps a tar small enough to copy and large enough to be few


@dataclass(frozen=True, slots=True)
class Place:
    """Where bytes lie: `tar` is below the data folder (`2_ingested/items-000000.tar`), offset and size in bytes."""

    tar: str
    offset: int
    size: int


class TarStore:
    """Appends members to `<folder>/<prefix>-000000.tar`, `-000001.tar`, … in the order they come.

    `stage_folder` is the folder's name under the data folder once it is published; it goes into each `Place`.
    """

    def __init__(self, folder: Path, stage_folder: str, prefix: str) -> None:
        self._folder = folder
        self._stage_folder = stage_folder
        self._prefix = prefix
        self._file: IO[bytes] | None = None
        self._count = 0

    def write(self, name: str, data: bytes) -> Place:
        """Append a member and say where its content went."""
        if self._file is not None and self._file.tell() + len(data) > MAX_TAR_BYTES:
            self._finish()
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = (self._folder / f"{self._prefix}-{self._count:06d}.tar").open("xb")
        self._file.write(encode_header(name, len(data)))
        place = Place(f"{self._stage_folder}/{self._prefix}-{self._count:06d}.tar", self._file.tell(), len(data))
        self._file.write(data)
        self._file.write(bytes(count_padding(len(data))))
        return place

    def _finish(self) -> None:
        if self._file is not None:
            self._file.write(END)
            self._file.close()
            self._file = None
            self._count += 1

    def __enter__(self) -> "TarStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finish()


class TarReader:
    """Reads bytes by their `Place`, below the data folder. Keeps the last tar open: items are read in stored order."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._name = ""
        self._file: IO[bytes] | None = None

    def read(self, place: Place) -> bytes:
        """The bytes at `place`.

        Raises:
            InputError: the tar is missing or ends before them.
        """
        if self._file is None or place.tar != self._name:
            self.close()
            try:
                self._file = (self._data / place.tar).open("rb")
            except OSError:
                raise InputError(f"{self._data / place.tar} cannot be opened: run `dvc repro` again") from None
            self._name = place.tar
        self._file.seek(place.offset)
        content = self._file.read(place.size)
        if len(content) != place.size:
            raise InputError(f"{self._data / place.tar} ends before byte {place.offset + place.size}: it was cut")
        return content

    def close(self) -> None:
        """Close the tar that is open, if any."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> "TarReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_place(row: dict[str, Any]) -> Place:
    """The `Place` in a table's columns `tar`, `offset`, `size`."""
    return Place(row["tar"], row["offset"], row["size"])
