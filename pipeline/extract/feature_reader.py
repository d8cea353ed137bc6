"""Read features in a task: from the item cache; what is missing or damaged there is computed."""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Self

from pipeline.extract.extractor import ExtractFolders, Extractor
from pipeline.extract.samples import SamplePart
from pipeline.incremental.entry_reader import EntryReader
from pipeline.incremental.growing_pack import GrowingPack
from pipeline.incremental.pack_index import DamagedError, Entry
from pipeline.incremental.rejections import decode_rejection
from pipeline.runtime.stopwatch import clock
from pipeline.tables.blob_store import TarReader
from pipeline.tables.columns import Row
from pipeline.tables.drops import Rejection


class FeatureReader:
    """Reads features; a context manager.

    Args:
        folders: of the run.
        names: of the objects of the cache, by number.
        task: identifies the task over all its tries.

    Attributes:
        pack: what this task, or an earlier try of it, computed.
        computed: how many features `read` had to compute.
        damaged: names of the damaged objects.
    """

    def __init__(self, folders: ExtractFolders, names: Mapping[int, str], task: bytes) -> None:
        self._stack = ExitStack()
        self._names = names
        self._items = self._stack.enter_context(TarReader(folders.data))
        self._objects = folders.objects
        self._entries = self._stack.enter_context(EntryReader(self._objects))
        self.pack = self._stack.enter_context(GrowingPack(self._objects, task))
        self.computed = 0
        self.damaged: set[str] = set()

    def compute(self, extractor: Extractor, row: Row, cache_key: bytes) -> Entry:
        """Compute the feature of an item.

        Raises:
            InputError: the item's bytes are damaged.
        """
        return extractor.compute(row, cache_key, self._items)

    def read(self, extractor: Extractor, part: SamplePart) -> Entry | Rejection:
        """Return the feature of a part, or its rejection.

        Raises:
            InputError: the feature must be computed, and the item's bytes are damaged.
        """
        entry = self._find(part)
        if entry is None:
            self.computed += 1
            entry = self.compute(extractor, part.item, part.key)
            self.pack.add(entry)
        return decode_rejection(entry) if entry.rejected else entry

    def _find(self, part: SamplePart) -> Entry | None:
        if part.key in self.pack:
            return self.pack.read(part.key)
        if part.object is None:
            return None
        name = self._names[part.object]
        try:
            with clock("read cache"):
                return self._entries.read(name, part.row, part.key)
        except DamagedError:
            self.damaged.add(name)
            return None

    def store(self, published: frozenset[bytes]) -> None:
        """Store what was computed, except what is in a published object: the features with these keys."""
        left = self.pack.keys() - published
        if left == self.pack.keys():
            self.pack.finish()
            return
        if left:  # rejections, and features of samples that were dropped: few
            self._objects.write_pack([self.pack.read(key) for key in sorted(left)])
        self.pack.discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()
