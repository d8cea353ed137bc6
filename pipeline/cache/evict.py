"""Keeps the cache small: what stands twice goes, and beyond a limit what was used longest ago.

A pack is of no use once the file is there that its features were computed for; what is left of such packs (verdicts,
and what items were parsed to) is put together into few. All this happens at the end of a stage and only if no other
stage holds the cache: nobody loses what he is about to read.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from pipeline.cache.entry_reader import EntryReader
from pipeline.cache.lookup import CacheKeys, match, split_keys
from pipeline.cache.object_store import PACK, ROWS, ObjectStore
from pipeline.cache.pack_index import DamagedError, Entry, PackIndex

MAX_PACK_BYTES = 4 << 20
MAX_PACK_ENTRIES = 1 << 13
"""Of packs that are put together, which are in memory meanwhile: 4 MB and some 500 bytes an entry."""

SMALL_BYTES = 1 << 20
"""Packs below this are put together with others, or each run of a few items would leave one more."""


@dataclass
class ObjectUse:
    """What a run did with the cache.

    Attributes:
        published: objects that the run's outputs are; none of their entries is needed elsewhere.
        touched: objects that had something that the run wanted.
        damaged: objects in which something turned out not to be as it was written.
    """

    published: set[str] = field(default_factory=set)
    touched: set[str] = field(default_factory=set)
    damaged: set[str] = field(default_factory=set)


def evict(objects: ObjectStore, use: ObjectUse, limit: int) -> int:
    """Remove what is of no use, then what was used longest ago until `limit` bytes are kept.

    Gives how many bytes of what this run used had to go; 0, having done nothing, where another stage is at work.
    """
    with objects.claim() as alone:
        if not alone:
            return 0
        _remove_strays(objects)
        kept = _merge_packs(objects, use) | use.published
        for name in kept:
            _touch(objects, name)
        return sum(size for name, size in _remove_oldest(objects, limit) if name in kept)


def _remove_strays(objects: ObjectStore) -> None:
    """Objects without rows, and rows without their object: of runs that were killed."""
    names = {path.name for path in objects.folder.iterdir() if path.name[0] != "."}
    whole = {name for name in names if f"{name}{ROWS}" in names}
    for name in {name.removesuffix(ROWS) for name in names} - whole:
        objects.remove(name)


def _merge_packs(objects: ObjectStore, use: ObjectUse) -> set[str]:
    """Remove what stands elsewhere; gives the objects that are left of those that the run wanted something of."""
    have = _collect_prints(objects, use.published)
    kept, waiting = set(), dict[str, CacheKeys]()
    superseded = False
    for name in sorted((use.touched | use.damaged) - use.published):
        try:
            rows = objects.read_rows(name)
        except DamagedError:
            objects.remove(name)
            continue
        left = _find_left(rows, have)
        if not len(left):
            objects.remove(name)
        elif name in use.damaged or (name.endswith(PACK) and _is_waste(rows, left)):
            waiting[name] = left
            superseded |= name in use.damaged or len(left) < len(rows.entries)
        else:
            kept.add(name)
    if superseded or len(waiting) > 1:
        written = set(_write_packs(objects, waiting))
        for name in waiting.keys() - written:
            objects.remove(name)
        return kept | written
    return kept | set(waiting)


def _collect_prints(objects: ObjectStore, names: Iterable[str]) -> CacheKeys:
    """The fingerprints of all entries of these objects, sorted; one that is in several is there several times."""
    prints = bytearray()
    for name in sorted(names):
        with suppress(DamagedError):
            prints += objects.read_rows(name).entries["fingerprint"].tobytes()
    joined = np.frombuffer(prints, "S32")
    joined.sort()
    return joined


def _find_left(rows: PackIndex, have: CacheKeys) -> CacheKeys:
    """The fingerprints of an object that are in no published one."""
    prints = np.ascontiguousarray(rows.entries["fingerprint"])
    left = np.ones(len(prints), bool)
    left[match(have, prints)[1]] = False
    return prints[left]


def _is_waste(rows: PackIndex, left: CacheKeys) -> bool:
    """Whether a pack is small and has room, or most of its bytes stand elsewhere."""
    if rows.size < SMALL_BYTES and len(rows.entries) < MAX_PACK_ENTRIES:
        return True
    places = [row for row, _ in _find_rows(rows, left)]
    sizes = [int(rows.pieces["size"][e["first"] : e["first"] + e["count"]].sum()) for e in rows.entries[places]]
    return 2 * sum(sizes) < rows.size


def _write_packs(objects: ObjectStore, waiting: dict[str, CacheKeys]) -> Iterator[str]:
    """Write what is left of these objects, as far as it is whole, into as few packs as can be; gives their names."""
    batch: dict[bytes, Entry] = {}
    size = 0
    with EntryReader(objects) as reader:
        for name, left in waiting.items():
            for row, fingerprint in _find_rows(objects.read_rows(name), left):
                try:
                    entry = reader.read(name, row, fingerprint)
                except DamagedError:
                    continue
                batch[fingerprint] = entry
                size += sum(map(len, entry.pieces))
                if size > MAX_PACK_BYTES or len(batch) == MAX_PACK_ENTRIES:
                    yield objects.write_pack(list(batch.values()))
                    batch, size = {}, 0
    if batch:
        yield objects.write_pack(list(batch.values()))


def _find_rows(rows: PackIndex, prints: CacheKeys) -> Iterator[tuple[int, bytes]]:
    """Where the entries of these fingerprints stand among the rows of their object."""
    places = np.searchsorted(rows.entries["fingerprint"], prints)
    yield from zip(places.tolist(), split_keys(prints), strict=True)


def _touch(objects: ObjectStore, name: str) -> None:
    """Note that an object was used: by the time of its rows, for the object itself may be an output's second name."""
    with suppress(FileNotFoundError):
        os.utime(objects.folder / f"{name}{ROWS}")


def _remove_oldest(objects: ObjectStore, limit: int) -> Iterator[tuple[str, int]]:
    """Remove objects until those that are left have at most `limit` bytes; gives the names and sizes of the others."""
    sizes, times = {}, {}
    for name in objects.list_names():
        rows, whole = objects.folder / f"{name}{ROWS}", objects.find_path(name)
        sizes[name] = rows.stat().st_size + whole.stat().st_size
        times[name] = rows.stat().st_mtime_ns
    total = sum(sizes.values())
    for name in sorted(sizes, key=lambda name: (times[name], name)):
        if total <= limit:
            return
        objects.remove(name)
        total -= sizes[name]
        yield name, sizes[name]
