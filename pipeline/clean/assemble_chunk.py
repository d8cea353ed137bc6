"""Assemble a chunk of items: read the verdicts on them, and put the bytes that changed into the chunk's tar."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.cache.check_entries import CheckResult, decode_check, hash_data
from pipeline.cache.entry_reader import EntryReader
from pipeline.cache.lookup import EntryLocations
from pipeline.cache.pack_index import Array, DamagedError, Entry
from pipeline.clean.check_items import check_item
from pipeline.clean.chunk_tar import TarEntry, name_tar, plan_offsets, reuse_tar, write_tar
from pipeline.clean.item_columns import CleanFolders
from pipeline.clean.params import CleanParams
from pipeline.tables.blob_store import TarReader
from pipeline.tables.contracts import CHECKED_COLUMNS
from pipeline.tables.drops import Drop, Rejection
from pipeline.tables.item_names import name_item
from pipeline.tables.parquet import Row
from pipeline.tables.row_files import open_row_file

FINDING = np.dtype(
    [
        ("kept", "?"),
        ("rewritten", "?"),
        ("sha256", "S32"),
        ("offset", "<i8"),
        ("size", "<i8"),
        ("redactions", "<i8"),
        ("bits", "<u8"),
        ("facts", "<i8", (len(CHECKED_COLUMNS),)),
    ]
)
"""What the check found of an item. `offset` is that of its cleaned bytes in the chunk's tar, if they are rewritten;
`facts` are the `CHECKED_COLUMNS`, -1 where its modality has no such column."""


@dataclass(frozen=True, eq=False)
class AssembleTask:
    """A chunk of items to assemble.

    Attributes:
        tar: the path that the tar of cleaned bytes is written to.
        items: row numbers of the ingested table.
        verdicts, data: where the cache has the verdicts and the cleaned bytes.
        lost: the rejections of items that no worker can check, by their index in the chunk.
    """

    tar: Path
    folders: CleanFolders
    params: CleanParams
    items: range
    verdicts: EntryLocations
    data: EntryLocations
    lost: Mapping[int, Rejection]

    @property
    def name(self) -> str:
        """Return the name for messages."""
        return self.tar.stem


@dataclass
class AssembledChunk:
    """The result of a chunk.

    Attributes:
        findings: of dtype `FINDING`, one an item.
        thumbnails: by modality, the indexes of the kept items in the chunk and their thumbnails, uint8 (n, cells).
        drops: one for each of the other items.
        tar: the name of the tar in the cache, None if there is no tar.
        checked: how many items were checked again because the cache was damaged.
        damaged: the names of the damaged objects.
    """

    findings: Array
    thumbnails: Mapping[str, tuple[NDArray[np.int64], NDArray[np.uint8]]]
    drops: list[Drop]
    tar: str | None = None
    checked: int = 0
    damaged: set[str] = field(default_factory=set)


def assemble_chunk(task: AssembleTask) -> AssembledChunk:
    """Return the verdicts on the items of a chunk, but no bytes: those that changed are written to `task.tar`."""
    with Verdicts(task) as verdicts:
        return _assemble(task, open_row_file(task.folders.items).read(task.items), verdicts)


def _assemble(task: AssembleTask, rows: Sequence[Row], verdicts: "Verdicts") -> AssembledChunk:
    findings = np.zeros(len(rows), FINDING)
    findings["facts"] = -1
    drops: list[Drop] = []
    looks: dict[str, tuple[list[int], list[bytes]]] = {}
    members: dict[int, TarEntry] = {}
    for at, row in enumerate(rows):
        found = verdicts.read(at, row)
        if isinstance(found, Rejection):
            drops.append(found.drop(name_item(row), f"clean.{row['modality']}"))
            continue
        facts = [found.facts.get(name, -1) for name in CHECKED_COLUMNS]
        findings[at] = (
            True,
            found.rewritten,
            found.sha256,
            0,
            found.size,
            found.redactions,
            found.perceptual_hash.bits,
            facts,
        )
        indexes, thumbnails = looks.setdefault(row["modality"], ([], []))
        indexes.append(at)
        thumbnails.append(found.perceptual_hash.thumbnail)
        if found.rewritten:
            members[at] = TarEntry(row["id"], found.sha256, found.size, task.data.encode_key(at))
    joined = {
        modality: (np.array(indexes), np.frombuffer(b"".join(cells), np.uint8).reshape(len(indexes), -1))
        for modality, (indexes, cells) in looks.items()
    }
    assembled = AssembledChunk(findings, joined, drops)
    if members:
        chosen, objects = list(members.values()), task.folders.objects
        findings["offset"][list(members)] = plan_offsets(chosen)
        assembled.tar = name_tar(chosen)
        if not reuse_tar(objects, assembled.tar, task.tar):
            write_tar(objects, task.tar, chosen, verdicts.read_data(members, rows))
    verdicts.store_checked()
    assembled.checked, assembled.damaged = verdicts.checked, verdicts.damaged
    return assembled


class Verdicts:
    """Reads verdicts and cleaned bytes from the cache, and checks again what it lacks. A context manager."""

    def __init__(self, task: AssembleTask) -> None:
        self._task = task
        self._stack = ExitStack()
        self._items = self._stack.enter_context(TarReader(task.folders.data))
        self._entries = self._stack.enter_context(EntryReader(task.folders.objects))
        self._data: dict[int, bytes] = {}
        self._again: dict[bytes, Entry] = {}
        self.checked = 0
        self.damaged: set[str] = set()

    def read(self, at: int, row: Row) -> CheckResult | Rejection:
        """Return the verdict on the item `at` of the chunk."""
        task = self._task
        if at in task.lost:
            return task.lost[at]
        try:
            entry = self._entries.read_at(task.verdicts, at)
            if entry is not None:
                return decode_check(entry)
        except DamagedError:
            self.damaged.add(task.verdicts.find_object(at) or "")
        return decode_check(self._check(at, row)[0])

    def read_data(self, members: Mapping[int, TarEntry], rows: Sequence[Row]) -> Iterator[bytes]:
        """Yield the cleaned bytes of these items of the chunk."""
        for at, member in members.items():
            yield self._find_data(at, rows[at], member)

    def store_checked(self) -> None:
        """Store the verdicts on what was checked again; the bytes that changed are in the tar."""
        if self._again:
            self._task.folders.objects.write_pack(list(self._again.values()))

    def _find_data(self, at: int, row: Row, member: TarEntry) -> bytes:
        if at in self._data:
            return self._data.pop(at)
        placed = self._task.data
        try:
            entry = self._entries.read_at(placed, at)
            if entry is not None and len(entry.pieces) == 1 and len(entry.pieces[0]) == member.size:
                return entry.pieces[0]
        except DamagedError:
            self.damaged.add(placed.find_object(at) or "")
        self._check(at, row)
        return self._data.pop(at)

    def _check(self, at: int, row: Row) -> list[Entry]:
        cache_key = self._task.verdicts.encode_key(at)
        entries = check_item(row, self._items, self._task.params, cache_key)
        self.checked += 1
        self._again[cache_key] = entries[0]
        for entry in entries[1:]:
            assert entry.key == hash_data(cache_key)
            self._data[at] = entry.pieces[0]
        return entries

    def __enter__(self) -> "Verdicts":
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()
