"""Check items that are not in the cache: a chunk a task, whose verdicts and changed bytes go into one pack.

These chunks are not those of the tars of cleaned bytes, and no byte of the output depends on how they are cut.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.cache.check_entries import CheckedBytes, compute_check
from pipeline.cache.pack_index import Entry
from pipeline.clean.item_columns import CleanFolders, IngestedColumns
from pipeline.clean.params import CleanParams
from pipeline.clean.plan_chunks import find_starts
from pipeline.errors import InputError
from pipeline.modalities.table import MODALITIES
from pipeline.runtime.compute_chunk import Chunk, ChunkResult, compute_chunk
from pipeline.runtime.stopwatch import clock
from pipeline.tables.blob_store import TarReader, read_location
from pipeline.tables.item_names import name_item
from pipeline.tables.parquet import Row
from pipeline.tables.row_files import open_row_file

MAX_ITEMS = 256
"""Items of a task: about a second of work, where images and audio take 2 to 5 ms each."""

MAX_BYTES = 16 << 20
"""Bytes of a task's items: those that change are in memory until all are checked."""

ITEM_BYTES = 256 << 20
"""Memory that every task needs: libraries, and the largest item that is likely."""

MIN_TASKS = 128
"""The least number of tasks, given as many items: a kill loses the tasks that are running. Short tasks cost little,
since they are sent to the workers in batches."""


@dataclass(frozen=True, eq=False, kw_only=True)
class CheckTask(Chunk):
    """Items of the ingested table to check."""

    folders: CleanFolders
    params: CleanParams

    @property
    def estimated_bytes(self) -> int:
        """Return the memory of a task: a decoded item, the bytes that changed, and the imported libraries."""
        return ITEM_BYTES + 2 * MAX_BYTES


def check_items(task: CheckTask) -> ChunkResult:
    """Check items, and store the verdicts and the bytes that changed in the cache.

    Raises:
        InputError: bytes are not those that were ingested; the message names the tar and the item.
    """
    rows = open_row_file(task.folders.items).walk(task.items)
    with TarReader(task.folders.data) as reader:
        return compute_chunk(
            task, rows, task.folders.objects, lambda _, row, cache_key: check_item(row, reader, task.params, cache_key)
        )


def check_item(row: Row, reader: TarReader, params: CleanParams, cache_key: bytes) -> list[Entry]:
    """Return the cache entries of one item, see `compute_check`.

    Raises:
        InputError: its bytes are not those that were ingested.
    """
    with clock("read bytes"):
        data = reader.read(read_location(row))
        sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != row["sha256"]:
        raise InputError(f"{row['tar']} is damaged at {name_item(row)}: remove it and run `dvc repro` again")
    modality = MODALITIES[row["modality"]]
    raw = CheckedBytes(data, sha256, row["media_type"])
    return compute_check(modality, raw, params.checks[modality.name], cache_key)


class Checks:
    """The items to check, divided into tasks."""

    def __init__(
        self, missing: NDArray[np.int64], items: IngestedColumns, folders: CleanFolders, params: CleanParams
    ) -> None:
        self._missing = missing
        self._items = items
        self._folders = folders
        self._params = params
        most = max(1, min(MAX_ITEMS, len(missing) // MIN_TASKS))
        self._edges = np.append(find_starts(items.sizes[missing].tolist(), most, MAX_BYTES), len(missing))

    def __len__(self) -> int:
        return len(self._edges) - 1

    def build_task(self, number: int) -> CheckTask:
        """Return the task with this number."""
        chosen = self._missing[self._edges[number] : self._edges[number + 1]]
        return CheckTask(
            name=f"items {chosen[0]} to {chosen[-1]}",
            items=chosen,
            cache_keys=self._items.cache_keys[chosen],
            folders=self._folders,
            params=self._params,
        )
