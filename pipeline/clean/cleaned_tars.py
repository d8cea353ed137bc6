"""Write the bytes that changed into tars, each for the items whose ids begin with the same bits.

Items of the same bytes, such as the segments of one recording, share those that are stored for the first of them. The
tar that an item is in depends on its id alone, so that a new item touches one tar.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.clean.check_entry import VERDICT
from pipeline.clean.equal_rows import find_equal_rows
from pipeline.clean.findings import Findings
from pipeline.incremental.entry_reader import EntryReader
from pipeline.incremental.key_words import KEY, join_words
from pipeline.incremental.lookup import EntryLookup
from pipeline.incremental.pack_index import Array, DamagedError, Entry, PackIndexBuilder
from pipeline.incremental.published_tar import name_tar, reuse_tar
from pipeline.incremental.stage_folders import StageFolders
from pipeline.runtime.lazy_tasks import LazyTasks
from pipeline.tables.columns import read_hashes
from pipeline.tables.contracts import CLEANED_FOLDER
from pipeline.tables.database import Database
from shardwright.format.atomic_write import write_file
from shardwright.format.checksum import compute_crc32
from shardwright.format.tar import BLOCK, END, encode_member

if TYPE_CHECKING:
    import pyarrow as pa

MAX_BYTES = 64 << 20
MAX_ITEMS = 1024
"""Upper bounds of the mean tar."""


@dataclass(frozen=True)
class TarPlan:
    """Where the cleaned bytes of the items that changed are.

    Attributes:
        items: the items that changed, in order; int64 (n,).
        places: for each of them the index in `members` of the one that its bytes are stored for; int64 (n,).
        members: the first item of each different content, in order; int64 (m,).
        tars: for each of these the number of its tar; int64 (m,).
        offsets: of their contents there; int64 (m,).
        starts: for each tar the first of its items, as an index into `members`, and the end.
    """

    items: NDArray[np.int64]
    places: NDArray[np.int64]
    members: NDArray[np.int64]
    tars: NDArray[np.int64]
    offsets: NDArray[np.int64]
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def name_file(self, number: int) -> str:
        """Return the file name of tar number `number`, `cleaned-000003.tar`."""
        return name_file(int(self.tars[self.starts[number]]))


def name_file(tar: int) -> str:
    """Return the file name of a tar, `cleaned-000003.tar`."""
    return f"cleaned-{tar:06d}.tar"


def plan_tars(findings: Findings, prefixes: NDArray[np.uint64]) -> TarPlan:
    """Plan the tars of the items that changed.

    Args:
        findings: on all items.
        prefixes: the first 8 bytes of their ids, as big-endian numbers; they rise.
    """
    items = np.flatnonzero(findings.kept & findings.verdicts["rewritten"])
    first = find_equal_rows(findings.verdicts["sha256"][items])
    members = items[first == np.arange(len(items))]
    sizes = findings.verdicts["size"][members]
    count = 1
    while count * MAX_ITEMS < len(members) or count * MAX_BYTES < sizes.sum():
        count *= 2
    tars = (prefixes[members] >> np.uint64(65 - count.bit_length())).astype(np.int64) if count > 1 else 0 * members
    starts = np.append(np.flatnonzero(np.diff(tars, prepend=-1)), len(members))
    taken = BLOCK + sizes + -sizes % BLOCK
    ends = np.cumsum(taken)
    before = np.repeat((ends - taken)[starts[:-1]], np.diff(starts))
    places = np.searchsorted(members, items[first])
    return TarPlan(items, places, members, tars, ends - taken - before + BLOCK, starts)


@dataclass(frozen=True, eq=False)
class TarTask:
    """A tar to write.

    Attributes:
        path: the file.
        members: its items in order, with the columns item, key, object and row: where the cache has the cleaned bytes.
        verdicts: on these items.
        names: of the objects.
    """

    path: Path
    folders: StageFolders
    members: "pa.Table"
    verdicts: Array
    names: list[str]

    @property
    def name(self) -> str:
        """Return the name for messages."""
        return self.path.stem


@dataclass(frozen=True)
class TarResult:
    """The name of the tar in the cache; None if it could not be written, since these objects are damaged."""

    name: str | None
    damaged: frozenset[str] = frozenset()


def plan_tar_tasks(
    database: Database, lookup: EntryLookup, folders: StageFolders, findings: Findings, plan: TarPlan
) -> LazyTasks[TarTask]:
    """Plan the tasks that write the tars."""
    database.execute(
        f"""
        CREATE OR REPLACE TABLE members AS
        SELECT item, {KEY}, object, "row" FROM located WHERE pieces > 0 AND NOT rejected
        ORDER BY item
        """
    )

    import pyarrow as pa

    def build(number: int) -> TarTask:
        items = plan.members[plan.starts[number] : plan.starts[number + 1]]
        changed = database.take(
            "SELECT * FROM members WHERE item >= $first AND item <= $last ORDER BY item",
            {"first": int(items[0]), "last": int(items[-1])},
        )
        members = changed.filter(pa.array(np.isin(changed["item"].to_numpy(), items)))
        path = folders.work / CLEANED_FOLDER / plan.name_file(number)
        return TarTask(path, folders, join_words(members), findings.verdicts[items], lookup.names)

    return LazyTasks(len(plan), build)


def write_cleaned_tar(task: TarTask) -> TarResult:
    """Write the tar atomically, and add it to the cache; or link the one that is there."""
    keys = read_hashes(task.members.combine_chunks().to_batches()[0], "key")
    name = name_tar(hashlib.sha256(b"tar of cleaned bytes" + keys.tobytes() + task.verdicts["sha256"].tobytes()))
    objects = task.folders.objects
    if reuse_tar(objects, name, task.path) is not None:
        return TarResult(name)
    index, chunks, damaged, position = PackIndexBuilder(), list[bytes](), set[str](), 0
    with EntryReader(objects) as reader:
        for at, row in enumerate(task.members.to_pylist()):
            source = task.names[row["object"]]
            try:
                entry = reader.read(source, row["row"], row["key"])
                (content,) = entry.pieces
            except (DamagedError, ValueError):
                damaged.add(source)
                continue
            digest = task.verdicts["sha256"][at].tobytes().hex()
            chunks.append(encode_member(f"{at:06d}-{digest}", content))
            record = task.verdicts[at].tobytes() + entry.record[VERDICT.itemsize :]
            piece = (position + BLOCK, len(content), compute_crc32(content))
            index.place(Entry(entry.key, entry.pieces, record=record), [piece])
            position += len(chunks[-1])
    if damaged:
        return TarResult(None, frozenset(damaged))
    chunks.append(END)
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    write_file(task.path, chunks)
    objects.adopt(name, task.path, index.finish(position + len(END), {"sha256": digest.hexdigest()}))
    return TarResult(name)
