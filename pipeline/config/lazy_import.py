"""Refer to an object by its module and name, and import the module when the object is first needed.

Tables of names (modalities, encoders, tasks, …) are read wherever params are checked; what the names stand for may need
torch or OpenCV, which is loaded only where it is used. `pipeline.incremental.module_sources` counts the module named in
a `LazyObject("module:Name")` as imported by the file that has the call.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar


@dataclass(frozen=True, slots=True)
class LazyObject:
    """An object of a module, as `package.module:Name`."""

    path: str

    def load(self) -> Any:
        """Import the module and return the object."""
        module, _, name = self.path.partition(":")
        return getattr(import_module(module), name)


T = TypeVar("T")


class LazyTable(Mapping[str, T]):
    """A table of names whose objects are imported when they are first used: `table[name]` gives the object itself.

    Iterating over it gives the names, in the order of the table, and imports nothing.

    Attributes:
        loaded: the objects loaded so far, by name. Tests put others there.
    """

    def __init__(self, rows: Mapping[str, LazyObject]) -> None:
        self._rows = rows
        self.loaded: dict[str, T] = {}

    def __getitem__(self, name: str) -> T:
        if name not in self.loaded:
            self.loaded[name] = self._rows[name].load()
        return self.loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, name: object) -> bool:
        return name in self._rows  # the one of Mapping would load the object
