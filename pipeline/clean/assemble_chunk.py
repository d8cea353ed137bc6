"""Settles a chunk of items: reads the verdicts on them, and puts the bytes that changed into the chunk's tar."""

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
from pipeline.tables.contracts import CLEANED, ITEMS
from pipeline.tables.drops import Drop, Rejection
from pipeline.tables.item_names import name_item
from pipeline.tables.parquet import Row
from pipeline.tables.row_files import open_row_file

FACTS = [name for name in CLEANED if name not in ITEMS and name not in ("redactions", "exact_cluster", "near_cluster")]
"""The columns that a modality's check fills; those of the other modalities stay null."""

FINDING = np.dtype(
    [
        ("kept", "?"),
        ("rewritten", "?"),
        ("sha256", "S32"),
        ("offset", "<i8"),
        ("size", "<i8"),
        ("redactions", "<i8"),
        ("bits", "<u8"),
        ("facts", "<i8", (len(FACTS),)),
    ]
)
"""What is known of an item; where its cleaned bytes stand in the chunk's tar, if they are rewritten; facts that its
modality does not have are -1."""


@dataclass(frozen=True, eq=False)
class AssembleTask:
    """A chunk: `tar` takes the cleaned bytes, `items` are rows of the ingested table.

    `lost` has what is to be said of items that no worker can check, by their place.
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
        """For messages."""
        return self.tar.stem


@dataclass
class AssembledChunk:
    """What became of a chunk.

    Attributes:
        findings: of dtype `FINDING`, one an item.
        thumbnails: by modality, the places of the kept items and their thumbnails, uint8 (n, cells).
        drops: of the others.
        kept: the name of the tar in the cache, None if there is no tar.
        checked: how many items had to be checked again, since the cache turned out to be damaged.
        damaged: the objects that are.
    """

    findings: Array
    thumbnails: Mapping[str, tuple[NDArray[np.int64], NDArray[np.uint8]]]
    drops: list[Drop]
    kept: str | None = None
    checked: int = 0
    damaged: set[str] = field(default_factory=set)


def assemble_chunk(task: AssembleTask) -> AssembledChunk:
    """The verdicts on the items of a chunk; no bytes are returned: those that changed are in `task.tar`."""
    with Verdicts(task) as verdicts:
        return _settle(task, open_row_file(task.folders.items).read(task.items), verdicts)


def _settle(task: AssembleTask, rows: Sequence[Row], verdicts: "Verdicts") -> AssembledChunk:
    findings = np.zeros(len(rows), FINDING)
    findings["facts"] = -1
    drops: list[Drop] = []
    looks: dict[str, tuple[list[int], list[bytes]]] = {}
    members: dict[int, TarEntry] = {}
    for at, row in enumerate(rows):
        found = verdicts.read(at, row)
        if isinstance(found, Rejection):
            drops.append(found.drop(name_item(row)))
            continue
        facts = [found.facts.get(name, -1) for name in FACTS]
        findings[at] = (True, found.rewritten, found.sha256, 0, found.size, found.redactions, found.look.bits, facts)
        places, thumbnails = looks.setdefault(row["modality"], ([], []))
        places.append(at)
        thumbnails.append(found.look.thumbnail)
        if found.rewritten:
            members[at] = TarEntry(row["id"], found.sha256, found.size, task.data.encode_key(at))
    joined = {
        modality: (np.array(places), np.frombuffer(b"".join(cells), np.uint8).reshape(len(places), -1))
        for modality, (places, cells) in looks.items()
    }
    settled = AssembledChunk(findings, joined, drops)
    if members:
        chosen, objects = list(members.values()), task.folders.objects
        findings["offset"][list(members)] = plan_offsets(chosen)
        settled.kept = name_tar(chosen)
        if not reuse_tar(objects, settled.kept, task.tar):
            write_tar(objects, task.tar, chosen, verdicts.read_data(members, rows))
    verdicts.keep_checked()
    settled.checked, settled.damaged = verdicts.checked, verdicts.damaged
    return settled


class Verdicts:
    """Reads verdicts and cleaned bytes; and where the cache does not have them, checks anew. A context manager."""

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
        """The verdict on the item at place `at`."""
        task = self._task
        if at in task.lost:
            return task.lost[at]
        try:
            entry = self._entries.read_placed(task.verdicts, at)
            if entry is not None:
                return decode_check(entry)
        except DamagedError:
            self.damaged.add(task.verdicts.find_object(at) or "")
        return decode_check(self._check(at, row)[0])

    def read_data(self, members: Mapping[int, TarEntry], rows: Sequence[Row]) -> Iterator[bytes]:
        """The cleaned bytes of the items at these places."""
        for at, member in members.items():
            yield self._find_data(at, rows[at], member)

    def keep_checked(self) -> None:
        """Store the verdicts on what was checked anew; the bytes that changed are in the tar."""
        if self._again:
            self._task.folders.objects.write_pack(list(self._again.values()))

    def _find_data(self, at: int, row: Row, member: TarEntry) -> bytes:
        if at in self._data:
            return self._data.pop(at)
        placed = self._task.data
        try:
            entry = self._entries.read_placed(placed, at)
            if entry is not None and len(entry.pieces) == 1 and len(entry.pieces[0]) == member.size:
                return entry.pieces[0]
        except DamagedError:
            self.damaged.add(placed.find_object(at) or "")
        self._check(at, row)
        return self._data.pop(at)

    def _check(self, at: int, row: Row) -> list[Entry]:
        fingerprint = self._task.verdicts.encode_key(at)
        entries = check_item(row, self._items, self._task.params, fingerprint)
        self.checked += 1
        self._again[fingerprint] = entries[0]
        for entry in entries[1:]:
            assert entry.fingerprint == hash_data(fingerprint)
            self._data[at] = entry.pieces[0]
        return entries

    def __enter__(self) -> "Verdicts":
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()
