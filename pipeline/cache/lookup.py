"""Look up many cache keys at once, in arrays: a corpus has millions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.cache.object_store import ObjectStore
from pipeline.cache.pack_index import DamagedError, PackIndex

CacheKeys = NDArray[np.bytes_]
"""Of shape (n,), S32."""

Numbers = NDArray[np.int32]

ABSENT = -1


@dataclass
class LookupResult:
    """The locations of the entries of `requested` keys, which are sorted and distinct.

    Attributes:
        names: of the objects.
        objects: for each key the number of its object, or -1; int32.
        rows: for each key the number of its entry there; int32.
    """

    requested: CacheKeys
    names: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.objects: Numbers = np.full(len(self.requested), ABSENT, np.int32)
        self.rows: Numbers = np.zeros(len(self.requested), np.int32)

    def add(self, name: str, rows: PackIndex) -> None:
        """Note which of the requested entries the object has, in place of earlier locations."""
        where, present = match(self.requested, rows.entries["key"])
        if len(present):
            self.objects[where] = len(self.names)
            self.rows[where] = present
            self.names.append(name)

    @property
    def missing(self) -> NDArray[np.int64]:
        """The indices in `requested` of keys that are in no object."""
        return np.flatnonzero(self.objects == ABSENT)


@dataclass(frozen=True, eq=False)
class EntryLocations:
    """Some cache keys, in any order, and the locations of their entries; part of a task.

    Attributes:
        cache_keys: of shape (n,), S32.
        objects: for each key the index of its object in `names`, or -1; int32.
        rows: for each key the number of its entry there; int32.
        names: of the objects.
    """

    cache_keys: CacheKeys
    objects: Numbers
    rows: Numbers
    names: Sequence[str]

    def encode_key(self, at: int) -> bytes:
        """Return key number `at` as 32 bytes."""
        return encode_key(self.cache_keys, at)

    def find_object(self, at: int) -> str | None:
        """Return the name of the object that has the entry of key number `at`, if any."""
        number = int(self.objects[at])
        return None if number == ABSENT else self.names[number]


def locate_entries(found: LookupResult, indices: Numbers) -> EntryLocations:
    """Return the locations of the requested entries with these indices."""
    objects = found.objects[indices]
    used = np.unique(objects[objects != ABSENT])
    local = np.where(objects == ABSENT, ABSENT, np.searchsorted(used, objects)).astype(np.int32)
    return EntryLocations(
        found.requested[indices], local, found.rows[indices], [found.names[number] for number in used.tolist()]
    )


def find_entries(objects: ObjectStore, lookups: Iterable[LookupResult]) -> list[str]:
    """Look for all requested entries in the rows of all objects; return the names of objects that cannot be used."""
    damaged = []
    for name in objects.list_names():
        try:
            rows = objects.read_rows(name)
        except DamagedError:
            damaged.append(name)
            continue
        for found in lookups:
            found.add(name, rows)
    return damaged


def encode_key(cache_keys: CacheKeys, at: int) -> bytes:
    """Return one of the keys as 32 bytes; NumPy's own item loses the zeros at its end."""
    return bytes(cache_keys[at]).ljust(32, b"\0")


def split_keys(cache_keys: CacheKeys) -> list[bytes]:
    """Return all keys as 32 bytes each."""
    raw = cache_keys.tobytes()
    return [raw[start : start + 32] for start in range(0, len(raw), 32)]


def match(requested: CacheKeys, present: CacheKeys) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices in `requested` (sorted) and in `present` of the keys that are in both."""
    if not len(requested):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    indices = np.minimum(np.searchsorted(requested, present), len(requested) - 1)
    same = requested[indices] == present
    return indices[same], np.flatnonzero(same)
