"""Keep columns of numbers, a row a sample, in files while they grow, and map the files when they are complete."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ColumnFiles:
    """A file for each column, open to be written.

    They are written, not mapped, so that a full disk is an error with a message: the kernel kills a process that writes
    to a map for which there is no space.

    Attributes:
        files: by the column's name.
        dtypes: of the columns; one with a shape has that shape for each sample.
    """

    files: Mapping[str, IO[bytes]]
    dtypes: Mapping[str, np.dtype[Any]]

    def append(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Append the rows of a batch, (batch, …) by column. Values are cast to the columns' types, unchecked."""
        assert arrays.keys() == self.dtypes.keys(), "a task computes the columns that it lists"
        for name, array in arrays.items():
            assert array.shape[1:] == self.dtypes[name].shape, name
            self.files[name].write(np.ascontiguousarray(array, self.dtypes[name].base).data)

    def map(self) -> dict[str, NDArray[Any]]:
        """Return the columns, (samples, …) by name, as read-only maps of the files; they outlive the files' names."""
        return {name: self._map_column(name) for name in self.files}

    def _map_column(self, name: str) -> NDArray[Any]:
        file, dtype = self.files[name], self.dtypes[name]
        file.flush()
        samples = file.tell() // dtype.itemsize
        if samples == 0:  # there are no maps of no bytes
            return np.zeros((0, *dtype.shape), dtype.base)
        return np.asarray(np.memmap(file.name, dtype.base, "r", shape=(samples, *dtype.shape)))


@contextmanager
def open_columns(folder: Path, dtypes: Mapping[str, np.dtype[Any]]) -> Iterator[ColumnFiles]:
    """Make a file for each column in `folder`, which exists."""
    with ExitStack() as stack:
        files = {name: stack.enter_context((folder / name).open("xb")) for name in dtypes}
        yield ColumnFiles(files, dtypes)
