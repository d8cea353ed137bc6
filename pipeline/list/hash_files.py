"""Hash the files of a range of those that are new or changed: a task."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pipeline.inputs.read_file import hash_file, locate_file
from pipeline.list.walk_folder import ACCEPTED, FOUND, describe_refusal
from pipeline.runtime.sandbox.heartbeat import enter_item
from pipeline.tables.columns import Columns, build_schema
from pipeline.tables.drops import Rejection

if TYPE_CHECKING:
    pass

HASHED: Columns = {"number": "int64", **FOUND, "hashed_ns": "int64", "sha256": "hash?"}
"""A file that was read, or why it cannot be; `FOUND` as it was then."""


@dataclass(frozen=True, kw_only=True)
class HashRange:
    """A task: the files of a record batch of an Arrow file.

    Attributes:
        number: of the record batch.
        files: how many it has.
        listing: the Arrow file; its columns are `number` of the source, `file` and `link`.
        folder: where the table `HASHED` goes.
        roots: the folder of each source, without links.
        follow: whether files may be links.
        lost: files that killed a process, by their index.
    """

    number: int
    files: int
    listing: Path
    folder: Path
    roots: Mapping[int, Path]
    follow: bool
    lost: Mapping[int, Rejection] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of its table, without ending."""
        return f"hashes-{self.number:06d}"

    @property
    def path(self) -> Path:
        """The Arrow file of its table."""
        return self.folder / f"{self.name}.arrow"

    def count_items(self) -> int:
        """See `pipeline.runtime.sandbox.heartbeat.Divisible`."""
        return self.files

    def lose_items(self, lost: Mapping[int, Rejection]) -> Self:
        """See `pipeline.runtime.sandbox.heartbeat.Divisible`."""
        return replace(self, lost=lost)


def hash_files(task: HashRange) -> int:
    """Write the table of a range, by rename; return how many files it has."""
    import pyarrow as pa

    with pa.memory_map(os.fspath(task.listing)) as file:
        listed = pa.ipc.open_file(file).get_batch(task.number).to_pydict()
    names = zip(listed["number"], listed["file"], listed["link"], strict=True)
    rows = [(number, *_hash(index, task, number, name, link)) for index, (number, name, link) in enumerate(names)]
    schema = build_schema(HASHED)
    arrays = [pa.array(values, field.type) for values, field in zip(zip(*rows, strict=True), schema, strict=True)]
    unfinished = task.folder / f".{task.name}-{os.getpid()}"
    with pa.ipc.new_file(unfinished, schema) as writer:
        writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
    unfinished.rename(task.path)
    return task.files


def _hash(index: int, task: HashRange, number: int, file: str, link: str | None) -> tuple[Any, ...]:
    """Return the row of `HASHED` of a file, without the number of its source."""
    now = time.time_ns()
    enter_item(index, task.files)
    path = locate_file(task.roots[number], link or file)
    found = task.lost.get(index) or hash_file(path, task.follow, partial(enter_item, index, task.files))
    if isinstance(found, Rejection):
        return (*describe_refusal(file, found), now, None)
    state = (found.size, found.mtime_ns, found.ctime_ns, found.inode)
    return (file, *state, link, *ACCEPTED, now, found.sha256)
