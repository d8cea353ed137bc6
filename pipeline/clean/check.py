"""Checks items that the cache does not know: a chunk a task, whose verdicts and changed bytes go into one pack.

Chunks have nothing to do with the tars of cleaned bytes, and no byte of the output depends on how they are cut.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.cache.checks import Raw, compute_check
from pipeline.cache.find import Fingerprints, read_print
from pipeline.cache.rows import Entry
from pipeline.clean.chunks import find_starts
from pipeline.clean.items import Folders, ItemColumns
from pipeline.clean.params import CleanParams
from pipeline.columns import open_row_file
from pipeline.errors import InputError
from pipeline.isolate.items import watch_items
from pipeline.item_name import name_item
from pipeline.modalities.table import MODALITIES
from pipeline.records import Rejection
from pipeline.stopwatch import clock
from pipeline.store import TarReader, read_place
from pipeline.tables import Row

MAX_ITEMS = 256
"""Of a task: about a second of work, where pictures and sounds take 2 to 5 ms each."""

MAX_BYTES = 16 << 20
"""Of a task's items, since the bytes that change are in memory until all are checked."""

ITEM_BYTES = 256 << 20
"""Taken for granted of a task: libraries, and the largest item that is likely."""

MIN_TASKS = 128
"""Where there are as many items: what a kill takes is the tasks that were under way. Short ones cost little, since they
go to the workers together."""


@dataclass(frozen=True, eq=False)
class CheckTask:
    """Items to check: their rows in the ingested table and the fingerprints of the checks.

    `lost` are items that cost a worker its life, by their place: they are left out.
    """

    name: str
    folders: Folders
    params: CleanParams
    items: NDArray[np.int64]
    prints: Fingerprints
    lost: Mapping[int, Rejection] = field(default_factory=dict)

    @property
    def estimated_bytes(self) -> int:
        """Of memory: an item decoded, the bytes that changed, and what is imported to check them."""
        return ITEM_BYTES + 2 * MAX_BYTES

    def count_items(self) -> int:
        """See `pipeline.isolate.items.Divisible`."""
        return len(self.items)

    def lose_items(self, lost: Mapping[int, Rejection]) -> Self:
        """See `pipeline.isolate.items.Divisible`."""
        return replace(self, lost=lost)


@dataclass(frozen=True)
class CheckResult:
    """The pack of a task's verdicts, or None if it has none; and what was lost, by its place in the task."""

    pack: str | None
    lost: Mapping[int, Rejection]


def check_items(task: CheckTask) -> CheckResult:
    """Check items and store the verdicts, and the bytes that changed, in the cache.

    Raises:
        InputError: stored bytes are not those that were ingested; the message names the tar and the item.
    """
    rows = open_row_file(task.folders.items).read(task.items)
    entries: list[Entry] = []
    with TarReader(task.folders.data) as reader:
        for number, row in enumerate(watch_items(rows)):
            if number in task.lost:
                continue
            try:
                entries += check_item(row, reader, task.params, read_print(task.prints, number))
            except Exception as error:
                error.add_note(f"at {name_item(row)}")
                raise
    return CheckResult(task.folders.objects.write_pack(entries) if entries else None, task.lost)


def check_item(row: Row, reader: TarReader, params: CleanParams, fingerprint: bytes) -> list[Entry]:
    """The entries of one item, see `compute_check`.

    Raises:
        InputError: its bytes are not those that were ingested.
    """
    with clock("read"):
        data = reader.read(read_place(row))
        sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != row["sha256"]:
        raise InputError(f"{row['tar']} is damaged at {name_item(row)}: remove it and run `dvc repro` again")
    modality = MODALITIES[row["modality"]]
    raw = Raw(data, sha256, row["media_type"])
    return compute_check(modality, raw, params.checks[modality.name], fingerprint)


class Checks:
    """The items to check, cut into tasks."""

    def __init__(self, missing: NDArray[np.int64], items: ItemColumns, folders: Folders, params: CleanParams) -> None:
        self._missing = missing
        self._items = items
        self._folders = folders
        self._params = params
        most = max(1, min(MAX_ITEMS, len(missing) // MIN_TASKS))
        self._edges = np.append(find_starts(items.sizes[missing].tolist(), most, MAX_BYTES), len(missing))

    def __len__(self) -> int:
        return len(self._edges) - 1

    def make_task(self, number: int) -> CheckTask:
        """The task of that number."""
        chosen = self._missing[self._edges[number] : self._edges[number + 1]]
        name = f"items {chosen[0]} to {chosen[-1]}"
        return CheckTask(name, self._folders, self._params, chosen, self._items.prints[chosen])
