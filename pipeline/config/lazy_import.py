"""Refer to an object by its module and name, and import the module when the object is first needed.

Tables of names (modalities, encoders, tasks, …) are read wherever params are checked; what the names stand for may need
torch or OpenCV, which is loaded only where it is used. `pipeline.cache.module_sources` counts the module named in a
`LazyObject("module:Name")` as imported by the file that has the call.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True, slots=True)
class LazyObject:
    """An object of a module, as `package.module:Name`."""

    path: str

    def load(self) -> Any:
        """Import the module and return the object."""
        module, _, name = self.path.partition(":")
        return getattr(import_module(module), name)
