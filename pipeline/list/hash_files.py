"""Hash the files of a range of those that are new or changed: a task."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from pipeline.inputs.locate_inputs import InputFolder
from pipeline.inputs.read_file import hash_file, locate_file
from pipeline.list.walk_folder import ACCEPTED, FOUND, describe_refusal
from pipeline.runtime.sandbox.heartbeat import enter_item
from pipeline.tables.columns import Columns, build_schema
from pipeline.tables.drops import Rejection

if TYPE_CHECKING:
    pass

HASHED: Columns = {"number": "int64", "source": "string", **FOUND, "hashed_ns": "int64", "sha256": "hash?"}
"""A file that was read, or why it cannot be; `FOUND` as it was then."""


class NewFile(NamedTuple):
    """A file to hash; see `pipeline.tables.contracts.LISTED`."""

    number: int
    source: str
    kind: str
    file: str
    link: str | None


@dataclass(frozen=True, kw_only=True)
class HashRange:
    """A task: the files of a record batch of an Arrow file.

    Attributes:
        number: of the record batch.
        files: how many it has.
        listing: the Arrow file; its columns are those of `NewFile`.
        folder: where the table `HASHED` goes.
        inputs: the folder of each source.
        lost: files that killed a process, by their index.
    """

    number: int
    files: int
    listing: Path
    folder: Path
    inputs: Mapping[int, InputFolder]
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
    files = map(NewFile._make, zip(*(listed[name] for name in NewFile._fields), strict=True))
    rows = [(file.number, file.source, *_hash(index, file, task)) for index, file in enumerate(files)]
    schema = build_schema(HASHED)
    arrays = [pa.array(values, field.type) for values, field in zip(zip(*rows, strict=True), schema, strict=True)]
    unfinished = task.folder / f".{task.name}-{os.getpid()}"
    with pa.ipc.new_file(unfinished, schema) as writer:
        writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
    unfinished.rename(task.path)
    return task.files


def _hash(index: int, file: NewFile, task: HashRange) -> tuple[Any, ...]:
    """Return the row of `HASHED` of a file, from `kind` on."""
    now = time.time_ns()
    enter_item(index, task.files)
    folder = task.inputs[file.number]
    path = locate_file(folder.path, file.link or file.file)
    found = task.lost.get(index) or hash_file(path, folder.follow, partial(enter_item, index, task.files))
    if isinstance(found, Rejection):
        return (*describe_refusal(file.file, found), now, None)
    state = (found.size, found.mtime_ns, found.ctime_ns, found.inode)
    return (file.kind, file.file, *state, file.link, None, *ACCEPTED, now, found.sha256)
