"""Refer to an object by its module and name, and import the module when the object is first needed.

Tables of names (modalities, encoders, tasks, …) are read wherever params are checked; what the names stand for may need
torch or OpenCV, which is loaded only where it is used. `pipeline.incremental.module_sources` counts the module named in
a `LazyObject("module:Name")` as imported by the file that has the call. A user's own rows are found by
`pipeline.config.plugins`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar

from pipeline.config.plugins import is_plugin, load_plugin
from pipeline.errors import ParamsError


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

    Iterating over it gives the names, in the order of the table, and imports nothing. A name of the form
    `plugins/<file>.py:<Name>` gives that object, though it is no row.

    Attributes:
        loaded: the objects loaded so far, by name. Tests put others there.
    """

    def __init__(self, rows: Mapping[str, LazyObject | T], row_type: LazyObject | None = None) -> None:
        """Args: `rows`, by name; `row_type`, which plugins must be instances of, callables by default."""
        self._rows = rows
        self._row_type = row_type
        self.loaded: dict[str, T] = {}

    def __getitem__(self, name: str) -> T:
        if name not in self.loaded:
            self.loaded[name] = self._load(name)
        return self.loaded[name]

    def _load(self, name: str) -> T:
        if name not in self._rows and is_plugin(name):
            return self._load_plugin(name)
        row = self._rows[name]
        loaded: T = row.load() if isinstance(row, LazyObject) else row
        return loaded

    def _load_plugin(self, name: str) -> T:
        plugin: T = load_plugin(name)
        if self._row_type is None:
            if callable(plugin):
                return plugin
            wanted = "a class or a function"
        else:
            if isinstance(plugin, self._row_type.load()):
                return plugin
            wanted = f"a {self._row_type.path.partition(':')[2]}"
        raise ParamsError(f"params.yaml names {name}, which is a {type(plugin).__name__}; it must be {wanted}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, name: object) -> bool:
        return name in self._rows  # the one of Mapping would load the object
