"""The ingested items: in arrays for the stage to plan by, and row by row for the workers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.cache.cache_key import hash_item, hash_method
from pipeline.cache.check_entries import compute_check, hash_data
from pipeline.cache.lookup import (
    CacheKeys,
    EntryLocations,
    LookupResult,
    Numbers,
    encode_key,
    place_entries,
    split_keys,
)
from pipeline.cache.object_store import ObjectStore
from pipeline.clean.params import CleanParams
from pipeline.modalities.table import MODALITIES
from pipeline.tables.contracts import INGESTED_FOLDER, ITEMS
from pipeline.tables.row_files import RowFileWriter, StringTable, count_rows, pack_hex, read_batches, read_strings

NEARNESS = {"near_bits", "near_difference"}
"""Params of a check that only the search for duplicates looks at: another value of them checks nothing anew."""


@dataclass(frozen=True)
class CleanFolders:
    """Where a task finds things: the data folder, the rows of the items, the cache, the work folder of the run."""

    data: Path
    items: Path
    cache: Path
    work: Path

    @property
    def objects(self) -> ObjectStore:
        """The objects of the item cache."""
        return ObjectStore(self.cache, self.work)


@dataclass(frozen=True)
class IngestedColumns:
    """The ingested table, in its order: the ids as S32, the place of each modality in `modalities`, bytes, and the
    fingerprint of each item's check as S32."""

    ids: NDArray[np.bytes_]
    modalities: Sequence[str]
    kinds: Numbers
    sizes: NDArray[np.int64]
    prints: CacheKeys

    def __len__(self) -> int:
        return len(self.ids)


def read_items(folders: CleanFolders, params: CleanParams) -> IngestedColumns:
    """All ingested items; writes their rows for the workers.

    Raises:
        InputError: the table is missing or damaged.
    """
    path, names, methods = folders.data / INGESTED_FOLDER / "items.parquet", StringTable(), dict[str, bytes]()
    count, start = count_rows(path), 0
    ids, prints = np.empty(count, "S32"), np.empty(count, "S32")
    kinds, sizes = np.empty(count, np.int32), np.empty(count, np.int64)
    with RowFileWriter(folders.items, list(ITEMS)) as writer:
        for batch in read_batches(path, ITEMS):
            writer.write(batch)
            part = slice(start, start := start + batch.num_rows)
            ids[part] = pack_hex(batch, "id")
            modalities = read_strings(batch, "modality")
            kinds[part] = names.number(modalities)
            sizes[part] = batch.column("size").to_numpy()
            methods |= {name: hash_check(name, params) for name in set(modalities) - methods.keys()}
            sha256s, types = split_keys(pack_hex(batch, "sha256")), read_strings(batch, "media_type")
            rows = zip(modalities, sha256s, types, strict=True)
            prints[part] = [hash_item(methods[name], sha256, kind, 0).digest() for name, sha256, kind in rows]
    return IngestedColumns(ids, names.names, kinds, sizes, prints)


def hash_check(modality: str, params: CleanParams) -> bytes:
    """A hash of how items of a modality are checked."""
    known = MODALITIES[modality]
    settings = params.checks[modality].model_dump(mode="json", exclude=NEARNESS)
    return hash_method(f"check of {modality}", (known.check, compute_check), {"params": settings}, known.libraries)


class NeededChecks:
    """The different checks that the items need: their verdicts, and the cleaned bytes of those that change."""

    def __init__(self, items: IngestedColumns) -> None:
        different, self.first, of_item = np.unique(items.prints, return_index=True, return_inverse=True)
        self._of_item = of_item.astype(np.int32)
        self.verdicts = LookupResult(different)
        data = np.empty(len(different), "S32")
        for place in range(len(different)):
            data[place] = hash_data(encode_key(different, place))
        self._order = np.argsort(data).astype(np.int32)
        self._rank = np.empty_like(self._order)
        self._rank[self._order] = np.arange(len(data), dtype=np.int32)
        self.data = LookupResult(data[self._order])

    @property
    def missing(self) -> NDArray[np.int64]:
        """The first item of each check whose verdict is not there, in the order of the items."""
        return np.sort(self.first[self.verdicts.missing])

    def place_verdicts(self, items: slice) -> EntryLocations:
        """Where the verdicts on these items are."""
        return place_entries(self.verdicts, self._of_item[items])

    def place_data(self, items: slice) -> EntryLocations:
        """Where the cleaned bytes of these items are, of those that have any."""
        return place_entries(self.data, self._rank[self._of_item[items]])
