"""Read the ingested items: into arrays for planning, and into a file of rows for the workers."""

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
    locate_entries,
    split_keys,
)
from pipeline.cache.object_store import ObjectStore
from pipeline.clean.params import CleanParams
from pipeline.modalities.table import MODALITIES
from pipeline.tables.contracts import INGESTED_FOLDER, ITEMS
from pipeline.tables.row_files import RowFileWriter, StringTable, count_rows, pack_hex, read_batches, read_strings

NEARNESS = {"near_bits", "near_difference"}
"""Params of a check that only the search for duplicates uses: changing them checks nothing again."""


@dataclass(frozen=True)
class CleanFolders:
    """The paths that a task uses: the data folder, the file of item rows, the cache, the work folder of the run."""

    data: Path
    items: Path
    cache: Path
    work: Path

    @property
    def objects(self) -> ObjectStore:
        """Return the object store of the item cache."""
        return ObjectStore(self.cache, self.work)


@dataclass(frozen=True)
class IngestedColumns:
    """The ingested table as arrays, in its order.

    Attributes:
        ids: S32 (n,).
        modalities: their names.
        kinds: the index of each item's modality in `modalities`.
        sizes: bytes of each item.
        cache_keys: of each item's check, S32 (n,).
    """

    ids: NDArray[np.bytes_]
    modalities: Sequence[str]
    kinds: Numbers
    sizes: NDArray[np.int64]
    cache_keys: CacheKeys

    def __len__(self) -> int:
        return len(self.ids)


def read_items(folders: CleanFolders, params: CleanParams) -> IngestedColumns:
    """Read all ingested items, and write their rows for the workers.

    Raises:
        InputError: the table is missing or damaged.
    """
    path, names, methods = folders.data / INGESTED_FOLDER / "items.parquet", StringTable(), dict[str, bytes]()
    count, start = count_rows(path), 0
    ids, cache_keys = np.empty(count, "S32"), np.empty(count, "S32")
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
            cache_keys[part] = [hash_item(methods[name], sha256, kind, 0).digest() for name, sha256, kind in rows]
    return IngestedColumns(ids, names.names, kinds, sizes, cache_keys)


def hash_check(modality: str, params: CleanParams) -> bytes:
    """Return a hash of how items of a modality are checked."""
    known = MODALITIES[modality]
    settings = params.checks[modality].model_dump(mode="json", exclude=NEARNESS)
    return hash_method(f"check of {modality}", (known.check, compute_check), {"params": settings}, known.libraries)


class NeededChecks:
    """Looks up the distinct checks that the items need: their verdicts, and the cleaned bytes of those that change."""

    def __init__(self, items: IngestedColumns) -> None:
        distinct, self.first, of_item = np.unique(items.cache_keys, return_index=True, return_inverse=True)
        self._of_item = of_item.astype(np.int32)
        self.verdicts = LookupResult(distinct)
        data = np.empty(len(distinct), "S32")
        for number in range(len(distinct)):
            data[number] = hash_data(encode_key(distinct, number))
        self._order = np.argsort(data).astype(np.int32)
        self._rank = np.empty_like(self._order)
        self._rank[self._order] = np.arange(len(data), dtype=np.int32)
        self.data = LookupResult(data[self._order])

    @property
    def missing(self) -> NDArray[np.int64]:
        """Return the first item of each check whose verdict is missing, in the order of the items."""
        return np.sort(self.first[self.verdicts.missing])

    def place_verdicts(self, items: slice) -> EntryLocations:
        """Return where the verdicts on these items are."""
        return locate_entries(self.verdicts, self._of_item[items])

    def place_data(self, items: slice) -> EntryLocations:
        """Return where the cleaned bytes of these items are, for those that have any."""
        return locate_entries(self.data, self._rank[self._of_item[items]])
