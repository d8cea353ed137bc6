"""Features from the item cache; and what the cache does not have, or what is damaged there, computed anew."""

import hashlib
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.cache.entry_reader import EntryReader
from pipeline.cache.feature_entries import Fields, compute_entry
from pipeline.cache.growing_pack import GrowingPack
from pipeline.cache.lookup import EntryLocations
from pipeline.cache.object_store import ObjectStore
from pipeline.cache.pack_index import DamagedError, Entry
from pipeline.cache.verdicts import decode_rejection
from pipeline.config.params import Params
from pipeline.errors import InputError
from pipeline.extract.aligned_samples import AlignedPart, Tables, name_origin
from pipeline.modalities.modality import MediaItem
from pipeline.modalities.table import MODALITIES
from pipeline.runtime.stopwatch import clock
from pipeline.tables.blob_store import TarReader
from pipeline.tables.drops import Rejection

ITEM_BYTES = 256 << 20
"""Of memory, taken for granted of a task that computes: libraries, and the largest item that is likely."""


@dataclass(frozen=True)
class ExtractFolders:
    """Where a task finds things: the data folder, the tables, the cache, and the work folder of the run."""

    data: Path
    tables: Tables
    cache: Path
    work: Path

    @property
    def objects(self) -> ObjectStore:
        """The objects of the item cache."""
        return ObjectStore(self.cache, self.work)


@dataclass(frozen=True)
class Extractor:
    """One modality with its params, and its fields in order."""

    modality: str
    params: Params
    fields: Fields

    def count_bytes(self) -> int:
        """Of one feature's arrays with their headers."""
        return sum(len(field.header) + field.nbytes for field in self.fields.values())

    def prepare(self) -> None:
        """See that all is there that the features need.

        Raises:
            ParamsError, InputError: something is not.
        """
        MODALITIES[self.modality].prepare(self.params)

    def compute(self, item: MediaItem, fingerprint: bytes) -> Entry:
        """The feature of an item, as it is kept."""
        return compute_entry(MODALITIES[self.modality], item, self.params, self.fields, fingerprint)


class FeatureReader:
    """Reads features; a context manager.

    Attributes:
        computed: how many `read` had to compute.
        damaged: names of objects that are.
        stored: the fingerprints of those that it computed and that are in the cache already.
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

    def read(self, modality: str, placed: EntryLocations, at: int, part: AlignedPart) -> Entry | Rejection:
        """The feature at place `at`, which is that of `part`; or the verdict that there is none.

        Raises:
            InputError: it has to be computed, and the item's bytes are damaged.
        """
        fingerprint = placed.encode_key(at)
        if fingerprint in self._fresh:
            return _open_verdict(self._fresh[fingerprint])
        try:
            with clock("read cache"):
                entry = self._entries.read_placed(placed, at)
            if entry is not None:
                return _open_verdict(entry)
        except DamagedError:
            self.damaged.add(placed.find_object(at) or "")
        self.computed += 1
        return _open_verdict(self.compute(modality, fingerprint, part))

    def prepare(self, modality: str) -> None:
        """See `Extractor.prepare`."""
        self._extractors[modality].prepare()

    def compute(self, modality: str, fingerprint: bytes, part: AlignedPart) -> Entry:
        """Compute the feature of a part, which is that of this fingerprint, and remember it.

        Raises:
            InputError: the item's bytes are damaged.
        """
        entry = self._extractors[modality].compute(self.read_item(part), fingerprint)
        self._fresh[fingerprint] = entry
        if self._pack is not None:
            self._pack.add([entry])
        return entry

    def __contains__(self, fingerprint: bytes) -> bool:
        """Whether it computed the feature, or an earlier try of its task did."""
        return fingerprint in self._fresh

    def go_on(self, prints: bytes) -> None:
        """Take what earlier tries of the task with these fingerprints computed, and leave what this one does to the
        next, should it not come to `keep_computed`."""
        self._pack = self._stack.enter_context(GrowingPack(self._objects, prints))
        self._fresh |= self._pack.remains

    def release(self, fingerprint: bytes) -> None:
        """Forget a feature that is stored elsewhere, if it was computed here."""
        self._fresh.pop(fingerprint, None)

    def start_anew(self, prints: bytes) -> None:
        """Forget what earlier tries of that task computed."""
        with GrowingPack(self._objects, prints) as pack:
            pack.discard()

    def keep_computed(self) -> None:
        """Store what it has, but what is in the cache already."""
        if self._pack is not None:
            self._pack.finish()
            return
        entries = [entry for fingerprint, entry in self._fresh.items() if fingerprint not in self.stored]
        if entries:
            self._objects.write_pack(entries)

    def read_item(self, part: AlignedPart) -> MediaItem:
        """The item of a part, see `read_item`."""
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
    """The item of a part, with its bytes.

    Raises:
        InputError: they are not those that were cleaned; the message names the tar and the item.
    """
    with clock("read"):
        data = reader.read(part.place)
        sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != part.sha256:
        named = name_origin(part.origin)
        raise InputError(f"{part.place.tar} is damaged at {named}: remove it and run `dvc repro` again")
    return MediaItem(data, part.media_type, part.orientation, part.start, part.end)
