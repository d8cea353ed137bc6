"""Wrap files so that writes fail or write other bytes, as on a faulty disk."""

from collections.abc import Callable, Iterable
from typing import Any


class WrappedFile:
    """A file that passes the data to be written, and the real file, to `write`."""

    def __init__(self, file: Any, write: Callable[[Any, bytes], int]) -> None:
        self._file = file
        self._write = write

    def write(self, data: bytes) -> int:
        return self._write(self._file, data)

    def writelines(self, lines: Iterable[bytes]) -> None:
        for line in lines:
            self.write(line)

    def __enter__(self) -> "WrappedFile":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
