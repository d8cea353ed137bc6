"""Carries the checks out: those that the cache does not have, then chunk by chunk what is to be said of each item."""

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.cache.evict import ObjectUse
from pipeline.cache.lookup import encode_key, split_keys
from pipeline.cache.pack_index import Array, DamagedError
from pipeline.clean.assemble_chunk import FINDING, AssembledChunk, AssembleTask, assemble_chunk
from pipeline.clean.check_items import Checks, check_items
from pipeline.clean.item_columns import CleanFolders, IngestedColumns, NeededChecks
from pipeline.clean.params import CleanParams
from pipeline.clean.plan_chunks import plan_chunks
from pipeline.config.params import RunParams
from pipeline.runtime.compute_chunk import ChunkResult
from pipeline.runtime.executor import Executor
from pipeline.runtime.lazy_tasks import LazyTasks
from pipeline.runtime.progress import show_progress
from pipeline.tables.drops import Drop, Rejection


class CheckSummary:
    """What is known of all items, in their order: on disk, as thumbnails alone take 256 bytes an item.

    Attributes:
        rows: of dtype `FINDING`.
        tars: the number of the tar that has the item's cleaned bytes, if they are rewritten.
        thumbnails: by modality, uint8 (items, cells), of which only those of its kept items mean something.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self._folder = folder
        self._count = count
        self.rows: Array = self._make_array("findings", FINDING, (count,))
        self.tars = np.zeros(count, np.int32)
        self.thumbnails: dict[str, NDArray[np.uint8]] = {}

    def _make_array(self, name: str, dtype: "np.dtype[np.generic]", shape: tuple[int, ...]) -> Array:
        if 0 in shape:
            return np.zeros(shape, dtype)
        return np.memmap(self._folder / name, dtype, "w+", shape=shape)

    def add(self, chunk: slice, tar: int, settled: AssembledChunk) -> None:
        """Note what became of a chunk."""
        self.rows[chunk] = settled.findings
        self.tars[chunk] = tar
        for modality, (places, cells) in settled.thumbnails.items():
            if modality not in self.thumbnails:
                shape = (self._count, cells.shape[1])
                self.thumbnails[modality] = self._make_array(f"thumbnails-{modality}", np.dtype(np.uint8), shape)
            self.thumbnails[modality][chunk.start + places] = cells


class CheckRun:
    """The work on the items; `use` takes note of what is used of the cache."""

    def __init__(
        self, items: IngestedColumns, wanted: NeededChecks, folders: CleanFolders, params: CleanParams, use: ObjectUse
    ) -> None:
        self._items = items
        self._wanted = wanted
        self._folders = folders
        self._params = params
        self._use = use
        missing = wanted.missing
        self._missing = len(missing)
        self._again = 0
        self._checks = Checks(missing, items, folders, params)
        self._chunks = plan_chunks(items.sizes.tolist())
        self._lost: dict[bytes, Rejection] = {}

    def count_tasks(self) -> int:
        """How many tasks there are at most at a time."""
        return max(len(self._checks), len(self._chunks))

    def check_missing(self, workers: Executor, run: RunParams) -> None:
        """Fill the cache with the verdicts that it does not have."""
        tasks = LazyTasks(len(self._checks), self._checks.make_task)
        finished = workers.run_tasks(check_items, tasks)

        def measure(finished: tuple[int, ChunkResult]) -> tuple[int, Mapping[str, int]]:
            number, result = finished
            lost = Counter(str(rejection.reason) for rejection in result.lost.values())
            return len(tasks[number].items), {"checked": len(tasks[number].items) - lost.total(), **lost}

        for number, result in show_progress(finished, self._missing, "items", run, measure):
            self._lost |= {encode_key(tasks[number].prints, at): rejection for at, rejection in result.lost.items()}
            if result.pack is not None:
                with suppress(DamagedError):  # somebody removed it: `settle` will check what it needs
                    rows = self._folders.objects.read_rows(result.pack)
                    self._wanted.verdicts.add(result.pack, rows)
                    self._wanted.data.add(result.pack, rows)

    def settle(self, folder: Path, workers: Executor, run: RunParams) -> tuple[CheckSummary, list[Drop]]:
        """What is known of all items, and the drops; the bytes that changed are in tars in `folder`."""
        findings, drops = CheckSummary(self._folders.work, len(self._items)), list[Drop]()
        tasks = LazyTasks(len(self._chunks), lambda number: self._plan_settling(folder, number))
        finished = workers.run_tasks(assemble_chunk, tasks)
        for number, settled in show_progress(finished, len(self._items), "items", run, _measure_settled):
            findings.add(self._chunks[number], number, settled)
            drops += settled.drops
            self._again += settled.checked
            self._use.damaged |= settled.damaged
            if settled.kept is not None:
                self._use.published.add(settled.kept)
        self._use.touched |= {*self._wanted.verdicts.names, *self._wanted.data.names}
        return findings, drops

    def _plan_settling(self, folder: Path, number: int) -> AssembleTask:
        chunk = self._chunks[number]
        verdicts = self._wanted.place_verdicts(chunk)
        prints = enumerate(split_keys(verdicts.prints)) if self._lost else ()
        lost = {at: self._lost[each] for at, each in prints if each in self._lost}
        return AssembleTask(
            folder / name_tar_file(number),
            self._folders,
            self._params,
            range(chunk.start, chunk.stop),
            verdicts,
            self._wanted.place_data(chunk),
            lost,
        )

    def describe(self) -> list[str]:
        """What came from the cache, for the summary: `checks: 29,700 kept, 300 computed`."""
        kept = len(self._wanted.verdicts.wanted) - self._missing
        notes = [f"checks: {kept:,} kept, {self._missing:,} computed"]
        if self._use.damaged:
            again = f"; {self._again:,} items checked again" if self._again else ""
            notes.append(f"the item cache had {len(self._use.damaged)} damaged objects{again}")
        return notes


def _measure_settled(finished: tuple[int, AssembledChunk]) -> tuple[int, Mapping[str, int]]:
    """See `show_progress`: the items of a chunk."""
    settled = finished[1]
    dropped = Counter(str(drop.reason) for drop in settled.drops)
    return len(settled.findings), {"kept": len(settled.findings) - dropped.total(), **dropped}


def name_tar_file(number: int) -> str:
    """`cleaned-000003.tar`: the tar of a chunk."""
    return f"cleaned-{number:06d}.tar"
