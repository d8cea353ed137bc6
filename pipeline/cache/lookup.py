"""Looks up many fingerprints at once, in arrays: a corpus has millions."""

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
    """Where the entries of `wanted` (sorted, none twice) are.

    Attributes:
        names: of the objects.
        objects: for each fingerprint the number of its object, or -1; int32.
        rows: for each the number of its entry there; int32.
    """

    wanted: CacheKeys
    names: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.objects: Numbers = np.full(len(self.wanted), ABSENT, np.int32)
        self.rows: Numbers = np.zeros(len(self.wanted), np.int32)

    def add(self, name: str, rows: PackIndex) -> None:
        """Note which of the wanted entries the object has, in place of what was noted before."""
        where, present = match(self.wanted, rows.entries["fingerprint"])
        if len(present):
            self.objects[where] = len(self.names)
            self.rows[where] = present
            self.names.append(name)

    @property
    def missing(self) -> NDArray[np.int64]:
        """The places in `wanted` of what is not there."""
        return np.flatnonzero(self.objects == ABSENT)


@dataclass(frozen=True, eq=False)
class EntryLocations:
    """Some fingerprints, in any order, and where their entries are: what a task is told.

    Attributes:
        prints: of shape (n,), S32.
        objects: for each its object's place in `names`, or -1; int32.
        rows: for each the number of its entry there; int32.
        names: of the objects.
    """

    prints: CacheKeys
    objects: Numbers
    rows: Numbers
    names: Sequence[str]

    def encode_key(self, at: int) -> bytes:
        """The fingerprint at place `at`."""
        return encode_key(self.prints, at)

    def find_object(self, at: int) -> str | None:
        """The name of the object that has the entry at place `at`, if any."""
        number = int(self.objects[at])
        return None if number == ABSENT else self.names[number]


def place_entries(found: LookupResult, places: Numbers) -> EntryLocations:
    """What was found of the entries at these places."""
    objects = found.objects[places]
    used = np.unique(objects[objects != ABSENT])
    local = np.where(objects == ABSENT, ABSENT, np.searchsorted(used, objects)).astype(np.int32)
    return EntryLocations(
        found.wanted[places], local, found.rows[places], [found.names[number] for number in used.tolist()]
    )


def find_entries(objects: ObjectStore, wanted: Iterable[LookupResult]) -> list[str]:
    """Look for all that is wanted in the rows of all objects; gives the names of those that cannot be used."""
    damaged = []
    for name in objects.list_names():
        try:
            rows = objects.read_rows(name)
        except DamagedError:
            damaged.append(name)
            continue
        for found in wanted:
            found.add(name, rows)
    return damaged


def encode_key(prints: CacheKeys, at: int) -> bytes:
    """One of the fingerprints as 32 bytes; NumPy's own item loses the zeros at its end."""
    return bytes(prints[at]).ljust(32, b"\0")


def split_keys(prints: CacheKeys) -> list[bytes]:
    """All of the fingerprints as 32 bytes each."""
    raw = prints.tobytes()
    return [raw[start : start + 32] for start in range(0, len(raw), 32)]


def match(wanted: CacheKeys, present: CacheKeys) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places in `wanted` (sorted) and in `present` of the fingerprints that are in both."""
    if not len(wanted):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    places = np.minimum(np.searchsorted(wanted, present), len(wanted) - 1)
    same = wanted[places] == present
    return places[same], np.flatnonzero(same)
