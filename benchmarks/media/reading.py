"""What a reader is given, and what it gives back."""

import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.media.sets import SETS, FileSet

WORKERS = 2
"""Threads, or worker processes, of every reader; machines of two cores are what anybody can rent."""
BUFFERED = 1000
"""Samples in shuffle buffers, where a reader has one: what the documentation of webdataset and HF datasets uses."""

Epoch = Callable[[], Iterable[int]]
"""Reads an epoch in an order of its own, and gives the number of samples of each batch, once the batch is there."""


@dataclass(frozen=True)
class Reading:
    """A medium's files, in one form: tars, or what another format makes of them."""

    medium: str
    folder: Path

    @property
    def files(self) -> FileSet:
        """The medium."""
        return SETS[self.medium]

    @property
    def tokenizer(self) -> Path:
        """The tokenizer beside the tars of texts."""
        return self.folder.parent / "tars" / "tokenizer.json"


def read_members(paths: Iterable[str], suffix: str) -> Iterator[bytes]:
    """Yield the files with a suffix in tars."""
    for path in paths:
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(suffix) and (file := tar.extractfile(member)):
                    yield file.read()
