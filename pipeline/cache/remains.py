"""What a task had finished when an item cost its process its life: in the cache, and listed where its next try looks.

A task that nothing happens to stores what it computed once, at the end. One that runs again stores as it goes, so that
of many bad items in it each costs little more than itself.
"""

import hashlib
import time
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress

from pipeline.cache.find import split_prints
from pipeline.cache.objects import Objects
from pipeline.cache.reader import EntryReader
from pipeline.cache.rows import DamagedError, Entry
from pipeline.isolate.items import UNTOUCHED
from pipeline.records import Rejection

LOSS = 0.05
"""Seconds of work that a death costs at most, of a task that runs again. To store a pack takes 1 ms."""


class Remains:
    """The entries that one task computes, on their way into the cache.

    Args:
        prints: the fingerprints of all of them: which task it is, over all its tries.
        lost: the items that are; a task that has none was not tried before.

    Attributes:
        again: whether it was.
    """

    def __init__(self, objects: Objects, prints: bytes, lost: Collection[Rejection]) -> None:
        self.again = bool(lost)
        self._objects = objects
        self._list = objects.work / f"remains-{hashlib.sha256(prints).hexdigest()[:32]}"
        self._packs: dict[str, list[bytes]] = {}
        self._waiting: list[Entry] = []
        self._stored = time.monotonic()
        if self.again and UNTOUCHED not in lost:
            self._find_packs()
        self._finished = {each for prints in self._packs.values() for each in prints}

    def _find_packs(self) -> None:
        with suppress(FileNotFoundError):
            for name in self._list.read_text(encoding="ascii").split():
                with suppress(DamagedError):
                    self._packs[name] = split_prints(self._objects.read_rows(name).entries["fingerprint"])

    def __contains__(self, fingerprint: bytes) -> bool:
        """Whether an earlier try stored the entry."""
        return fingerprint in self._finished

    def read(self) -> list[Entry]:
        """All that earlier tries stored, but what is damaged."""
        entries = []
        with EntryReader(self._objects) as reader:
            for name, prints in self._packs.items():
                for row, fingerprint in enumerate(prints):
                    with suppress(DamagedError):
                        entries.append(reader.read(name, row, fingerprint))
        return entries

    def add(self, entries: Iterable[Entry]) -> None:
        """Take what was computed from one item."""
        self._waiting += entries
        if self.again and time.monotonic() - self._stored > LOSS:
            self.store()

    def store(self) -> Sequence[str]:
        """Store what is not stored yet; the names of all packs of the task."""
        if self._waiting:
            name = self._objects.write_pack(self._waiting)
            self._packs[name] = []
            if self.again:
                with self._list.open("a", encoding="ascii") as file:
                    file.write(f"{name}\n")
            self._waiting.clear()
        self._stored = time.monotonic()
        return list(self._packs)
