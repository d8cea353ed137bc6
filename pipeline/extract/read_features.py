"""Read features from the item cache; compute those that are missing or damaged."""

import hashlib
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.incremental.entry_reader import EntryReader
from pipeline.incremental.feature_entries import Fields, compute_entry
from pipeline.incremental.growing_pack import GrowingPack
from pipeline.incremental.lookup import EntryLocations
from pipeline.incremental.object_store import ObjectStore
from pipeline.incremental.pack_index import DamagedError, Entry
from pipeline.incremental.verdicts import decode_rejection
from pipeline.config.params import Params
from pipeline.errors import InputError
from pipeline.extract.aligned_samples import AlignedPart, Tables, format_origin
from pipeline.modalities.modality import MediaItem
from pipeline.modalities.table import MODALITIES
from pipeline.runtime.stopwatch import clock
from pipeline.tables.blob_store import TarReader
from pipeline.tables.drops import Rejection

ITEM_BYTES = 256 << 20
"""Memory assumed for a task that computes: libraries, and the largest item that is likely."""


@dataclass(frozen=True)
class ExtractFolders:
    """Folders of a run: data, tables, item cache and work."""

    data: Path
    tables: Tables
    cache: Path
    work: Path

    @property
    def objects(self) -> ObjectStore:
        """The object store of the item cache."""
        return ObjectStore(self.cache, self.work)


@dataclass(frozen=True)
class Extractor:
    """One modality with its params and its fields in order."""

    modality: str
    params: Params
    fields: Fields

    def count_bytes(self) -> int:
        """Return the bytes of one feature's arrays with their headers."""
        return sum(len(field.header) + field.nbytes for field in self.fields.values())

    def prepare(self) -> None:
        """Load what the features need.

        Raises:
            ParamsError, InputError: something is missing.
        """
        MODALITIES[self.modality].prepare(self.params)

    def compute(self, item: MediaItem, cache_key: bytes) -> Entry:
        """Compute the feature of an item as a cache entry."""
        return compute_entry(MODALITIES[self.modality], item, self.params, self.fields, cache_key)


class FeatureReader:
    """Reads features; a context manager.

    Attributes:
        computed: how many features `read` had to compute.
        damaged: names of the damaged objects.
        stored: cache keys of computed features that are in the cache already.
    """

    def __init__(self, folders: ExtractFolders, extractors: Mapping[str, Extractor]) -> None:
        self._extractors = extractors
        self._stack = ExitStack()
        self._items = self._stack.enter_context(TarReader(folders.data))
        self._objects = folders.objects
        self._entries = self._stack.enter_context(EntryReader(self._objects))
        self._fresh: dict[bytes, Entry] = {}
        self._pack: GrowingPack | None = None
        self.computed = 0
        self.damaged: set[str] = set()
        self.stored: set[bytes] = set()

    def read(self, modality: str, locations: EntryLocations, at: int, part: AlignedPart) -> Entry | Rejection:
        """Return the feature at position `at`, which is that of `part`, or its rejection.

        Raises:
            InputError: the feature must be computed, and the item's bytes are damaged.
        """
        cache_key = locations.encode_key(at)
        if cache_key in self._fresh:
            return _open_verdict(self._fresh[cache_key])
        try:
            with clock("read cache"):
                entry = self._entries.read_at(locations, at)
            if entry is not None:
                return _open_verdict(entry)
        except DamagedError:
            self.damaged.add(locations.find_object(at) or "")
        self.computed += 1
        return _open_verdict(self.compute(modality, cache_key, part))

    def prepare(self, modality: str) -> None:
        """See `Extractor.prepare`."""
        self._extractors[modality].prepare()

    def compute(self, modality: str, cache_key: bytes, part: AlignedPart) -> Entry:
        """Compute the feature of a part, whose cache key is given, and remember it.

        Raises:
            InputError: the item's bytes are damaged.
        """
        entry = self._extractors[modality].compute(self.read_item(part), cache_key)
        self._fresh[cache_key] = entry
        if self._pack is not None:
            self._pack.add([entry])
        return entry

    def __contains__(self, cache_key: bytes) -> bool:
        """Return whether this reader, or an earlier try of its task, computed the feature."""
        return cache_key in self._fresh

    def resume(self, keys: bytes) -> None:
        """Load what earlier tries of the task with these keys computed, and store what this one computes for the next
        try, should this one not reach `store_computed`."""
        self._pack = self._stack.enter_context(GrowingPack(self._objects, keys))
        self._fresh |= self._pack.finished

    def release(self, cache_key: bytes) -> None:
        """Forget a computed feature that is stored elsewhere."""
        self._fresh.pop(cache_key, None)

    def forget_earlier(self, keys: bytes) -> None:
        """Discard what earlier tries of the task with these keys computed."""
        with GrowingPack(self._objects, keys) as pack:
            pack.discard()

    def store_computed(self) -> None:
        """Store the computed features that are not in the cache yet."""
        if self._pack is not None:
            self._pack.finish()
            return
        entries = [entry for cache_key, entry in self._fresh.items() if cache_key not in self.stored]
        if entries:
            self._objects.write_pack(entries)

    def read_item(self, part: AlignedPart) -> MediaItem:
        """Return the item of a part, see the function `read_item`."""
        return read_item(part, self._items)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


def _open_verdict(entry: Entry) -> Entry | Rejection:
    return decode_rejection(entry) if entry.rejected else entry


def read_item(part: AlignedPart, reader: TarReader) -> MediaItem:
    """Return the item of a part, with its bytes.

    Raises:
        InputError: the bytes differ from those that were cleaned; the message names the tar and the item.
    """
    with clock("read bytes"):
        data = reader.read(part.location)
        sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != part.sha256:
        named = format_origin(part.origin)
        raise InputError(f"{part.location.tar} is damaged at item {named}: remove the file and run `dvc repro` again")
    return MediaItem(data, part.media_type, part.orientation, part.start, part.end)
