"""Run the checks: first those that the cache lacks, then assemble the items chunk by chunk."""

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
    """The findings on all items, in their order. They are on disk: thumbnails alone take 256 bytes an item.

    Attributes:
        rows: of dtype `FINDING`.
        tars: the number of the tar with the item's cleaned bytes, if they are rewritten.
        thumbnails: by modality, uint8 (items, cells); only the rows of its kept items are filled.
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

    def add(self, chunk: slice, tar: int, assembled: AssembledChunk) -> None:
        """Store the findings on a chunk."""
        self.rows[chunk] = assembled.findings
        self.tars[chunk] = tar
        for modality, (indexes, cells) in assembled.thumbnails.items():
            if modality not in self.thumbnails:
                shape = (self._count, cells.shape[1])
                self.thumbnails[modality] = self._make_array(f"thumbnails-{modality}", np.dtype(np.uint8), shape)
            self.thumbnails[modality][chunk.start + indexes] = cells


class CheckRun:
    """Checks and assembles all items; `use` records which objects of the cache are used."""

    def __init__(
        self, items: IngestedColumns, needed: NeededChecks, folders: CleanFolders, params: CleanParams, use: ObjectUse
    ) -> None:
        self._items = items
        self._needed = needed
        self._folders = folders
        self._params = params
        self._use = use
        missing = needed.missing
        self._missing = len(missing)
        self._again = 0
        self._checks = Checks(missing, items, folders, params)
        self._chunks = plan_chunks(items.sizes.tolist())
        self._lost: dict[bytes, Rejection] = {}

    def count_tasks(self) -> int:
        """Return the largest number of tasks of one step."""
        return max(len(self._checks), len(self._chunks))

    def check_missing(self, workers: Executor, run: RunParams) -> None:
        """Check the items whose verdicts the cache lacks, and store them there."""
        tasks = LazyTasks(len(self._checks), self._checks.build_task)
        results = workers.run_tasks(check_items, tasks)

        def measure(numbered: tuple[int, ChunkResult]) -> tuple[int, Mapping[str, int]]:
            number, result = numbered
            lost = Counter(str(rejection.reason) for rejection in result.lost.values())
            return len(tasks[number].items), {"checked": len(tasks[number].items) - lost.total(), **lost}

        for number, result in show_progress(results, self._missing, "items", run, measure):
            self._lost |= {encode_key(tasks[number].cache_keys, at): rejection for at, rejection in result.lost.items()}
            if result.pack is not None:
                with suppress(DamagedError):  # somebody removed it: `assemble` checks again what it needs
                    rows = self._folders.objects.read_rows(result.pack)
                    self._needed.verdicts.add(result.pack, rows)
                    self._needed.data.add(result.pack, rows)

    def assemble(self, folder: Path, workers: Executor, run: RunParams) -> tuple[CheckSummary, list[Drop]]:
        """Return the findings on all items, and the drops; write the bytes that changed to tars in `folder`."""
        findings, drops = CheckSummary(self._folders.work, len(self._items)), list[Drop]()
        tasks = LazyTasks(len(self._chunks), lambda number: self._plan_chunk(folder, number))
        chunks = workers.run_tasks(assemble_chunk, tasks)
        for number, assembled in show_progress(chunks, len(self._items), "items", run, _measure_chunk):
            findings.add(self._chunks[number], number, assembled)
            drops += assembled.drops
            self._again += assembled.checked
            self._use.damaged |= assembled.damaged
            if assembled.tar is not None:
                self._use.published.add(assembled.tar)
        self._use.touched |= {*self._needed.verdicts.names, *self._needed.data.names}
        return findings, drops

    def _plan_chunk(self, folder: Path, number: int) -> AssembleTask:
        chunk = self._chunks[number]
        verdicts = self._needed.place_verdicts(chunk)
        cache_keys = enumerate(split_keys(verdicts.cache_keys)) if self._lost else ()
        lost = {at: self._lost[each] for at, each in cache_keys if each in self._lost}
        return AssembleTask(
            folder / name_tar_file(number),
            self._folders,
            self._params,
            range(chunk.start, chunk.stop),
            verdicts,
            self._needed.place_data(chunk),
            lost,
        )

    def describe(self) -> list[str]:
        """Describe for the summary what came from the cache: `checks: 29,700 reused, 300 computed`."""
        reused = len(self._needed.verdicts.requested) - self._missing
        notes = [f"checks: {reused:,} reused, {self._missing:,} computed"]
        if self._use.damaged:
            again = f"; {self._again:,} items checked again" if self._again else ""
            notes.append(f"the item cache had {len(self._use.damaged)} damaged objects{again}")
        return notes


def _measure_chunk(numbered: tuple[int, AssembledChunk]) -> tuple[int, Mapping[str, int]]:
    """Count the items of a chunk for `show_progress`."""
    assembled = numbered[1]
    dropped = Counter(str(drop.reason) for drop in assembled.drops)
    return len(assembled.findings), {"kept": len(assembled.findings) - dropped.total(), **dropped}


def name_tar_file(number: int) -> str:
    """Return the name of a chunk's tar, `cleaned-000003.tar`."""
    return f"cleaned-{number:06d}.tar"
