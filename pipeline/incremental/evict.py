"""Evict entries that are stored twice, and least-recently-used objects above the size limit.

A pack is not needed any more once the file exists that its features were computed for; the remaining entries of such
packs (verdicts, and parsed texts) are merged into few packs. This happens at the end of a stage, and only if no other
stage holds the cache, so that no stage loses what it is about to read.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.incremental.entry_reader import EntryReader
from pipeline.incremental.key_words import view_words
from pipeline.incremental.object_store import PACK, ROWS, ObjectStore
from pipeline.incremental.pack_index import Array, DamagedError, Entry

CacheKeys = NDArray[np.bytes_]
"""Of shape (n,), S32."""

KeyStarts = NDArray[np.uint64]
"""The first 8 bytes of cache keys: a quarter of the memory, a tenth of the time to sort. Were two keys to share them,
an entry would be removed that is stored nowhere else, and computed again."""

MAX_PACK_BYTES = 4 << 20
MAX_PACK_ENTRIES = 1 << 13
"""Limits of merged packs, which are in memory meanwhile: 4 MB and some 500 bytes an entry."""

SMALL_BYTES = 1 << 20
"""Packs below this are merged with others, or each run of a few items would leave one more."""


@dataclass
class ObjectUse:
    """A run's use of the cache.

    Attributes:
        published: objects that are outputs of the run; their entries are needed nowhere else.
        touched: objects that had an entry that the run requested.
        damaged: objects with an entry that differs from what was written.
    """

    published: set[str] = field(default_factory=set)
    touched: set[str] = field(default_factory=set)
    damaged: set[str] = field(default_factory=set)


def evict(objects: ObjectStore, use: ObjectUse, limit: int) -> int:
    """Remove duplicate entries, then the least recently used objects until `limit` bytes remain.

    Returns how many bytes of what this run used were removed; 0, having done nothing, if another stage holds the cache.
    """
    with objects.claim() as alone:
        if not alone:
            return 0
        _remove_strays(objects)
        kept = _merge_packs(objects, use) | use.published
        for name in kept:
            _touch(objects, name)
        return sum(size for name, size in _remove_oldest(objects, limit) if name in kept)


def describe_eviction(evicted: int) -> list[str]:
    """Return the summary note on bytes of what this run used that were removed, if any."""
    if not evicted:
        return []
    return [f"{evicted / 1e9:.1f} GB that this run used were evicted from the item cache: raise run.cache_bytes"]


def _remove_strays(objects: ObjectStore) -> None:
    """Remove objects without rows and rows without their object, left by runs that were killed."""
    names = {path.name for path in objects.folder.iterdir() if path.name[0] != "."}
    whole = {name for name in names if f"{name}{ROWS}" in names}
    for name in {name.removesuffix(ROWS) for name in names} - whole:
        objects.remove(name)


def _merge_packs(objects: ObjectStore, use: ObjectUse) -> set[str]:
    """Remove entries that are stored elsewhere; return the remaining objects of those that the run used."""
    published = _collect_starts(objects, use.published)
    kept, waiting = set(), dict[str, CacheKeys]()
    superseded = False
    for name in sorted((use.touched | use.damaged) - use.published):
        try:
            entries = objects.read_entries(name)
            left = _find_left(entries, published)
            waste = name.endswith(PACK) and _is_waste(objects, name, len(entries), left)
        except DamagedError:
            objects.remove(name)
            continue
        if not len(left):
            objects.remove(name)
        elif name in use.damaged or waste:
            waiting[name] = left
            superseded |= name in use.damaged or len(left) < len(entries)
        else:
            kept.add(name)
    if superseded or len(waiting) > 1:
        written = set(_write_packs(objects, waiting))
        for name in waiting.keys() - written:
            objects.remove(name)
        return kept | written
    return kept | set(waiting)


def _collect_starts(objects: ObjectStore, names: Iterable[str]) -> KeyStarts:
    """Return the starts of the keys of all entries of these objects, sorted; one that is in several comes several
    times."""
    collected = [np.empty(0, np.uint64)]
    for name in names:
        with suppress(DamagedError):
            collected.append(_read_starts(objects.read_entries(name)["key"]))
    joined = np.concatenate(collected)
    joined.sort()
    return joined


def _read_starts(cache_keys: CacheKeys) -> KeyStarts:
    return view_words(cache_keys)[:, 0].copy()


def _find_left(entries: Array, published: KeyStarts) -> CacheKeys:
    """Return the keys of an object that are in no published one."""
    cache_keys = np.ascontiguousarray(entries["key"])
    if not len(published):
        return cache_keys
    starts = _read_starts(cache_keys)
    at = np.minimum(np.searchsorted(published, starts), len(published) - 1)
    left: CacheKeys = cache_keys[published[at] != starts]
    return left


def _is_waste(objects: ObjectStore, name: str, count: int, left: CacheKeys) -> bool:
    """Return whether a pack of `count` entries is small and has room, or most of its bytes are stored elsewhere.

    Raises:
        DamagedError: its rows are damaged.
    """
    size = objects.find_path(name).stat().st_size
    if size < SMALL_BYTES and count < MAX_PACK_ENTRIES:
        return True
    if len(left) == count:
        return False
    rows = objects.read_rows(name)
    entries = rows.entries[np.searchsorted(rows.entries["key"], left)]
    ends = np.append(0, np.cumsum(rows.pieces["size"], dtype=np.int64))
    first = entries["first"].astype(np.int64)
    return bool(2 * (ends[first + entries["count"]] - ends[first]).sum() < size)


def _write_packs(objects: ObjectStore, waiting: dict[str, CacheKeys]) -> Iterator[str]:
    """Write the undamaged entries left in these objects into as few packs as possible; yield their names."""
    batch: dict[bytes, Entry] = {}
    size = 0
    with EntryReader(objects) as reader:
        for name, left in waiting.items():
            for row, key in _find_rows(objects.read_entries(name), left):
                try:
                    entry = reader.read(name, row, key)
                except DamagedError:
                    continue
                batch[key] = entry
                size += sum(map(len, entry.pieces))
                if size > MAX_PACK_BYTES or len(batch) == MAX_PACK_ENTRIES:
                    yield objects.write_pack(list(batch.values()))
                    batch, size = {}, 0
    if batch:
        yield objects.write_pack(list(batch.values()))


def _find_rows(entries: Array, cache_keys: CacheKeys) -> Iterator[tuple[int, bytes]]:
    """Yield the row number of each of these keys in its object, and the key."""
    numbers = np.searchsorted(entries["key"], cache_keys)
    yield from zip(numbers.tolist(), split_keys(cache_keys), strict=True)


def split_keys(cache_keys: CacheKeys) -> list[bytes]:
    """Return all keys as 32 bytes each; NumPy's own items lose the zeros at their end."""
    raw = cache_keys.tobytes()
    return [raw[start : start + 32] for start in range(0, len(raw), 32)]


def _touch(objects: ObjectStore, name: str) -> None:
    """Note that an object was used, by the time of its rows: the object itself may be an output under a second name."""
    with suppress(FileNotFoundError):
        os.utime(objects.folder / f"{name}{ROWS}")


def _remove_oldest(objects: ObjectStore, limit: int) -> Iterator[tuple[str, int]]:
    """Remove objects until the rest has at most `limit` bytes; yield the names and sizes of those removed."""
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
