"""Which tasks took the whole process with them when they ran without one of their own: they get one the next time."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.isolate.triage import Call


class Suspects:
    """Tasks that were begun and never ended, over all runs that share the folder: a file each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def has(self, call: Call) -> bool:
        """Whether the process that began the task, of an earlier run, never came to its end."""
        return self._find_path(call).exists()

    @contextmanager
    def watch(self, call: Call) -> Iterator[None]:
        """The task is at work inside; an interrupt, as people send one to what hangs, is no end."""
        path = self._find_path(call)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        try:
            yield
        except Exception:
            self.clear(call)
            raise
        self.clear(call)

    def clear(self, call: Call) -> None:
        """The task has come to its end."""
        self._find_path(call).unlink(missing_ok=True)

    def _find_path(self, call: Call) -> Path:
        return self._folder / hashlib.sha256(call.payload + call.folder.encode()).hexdigest()
