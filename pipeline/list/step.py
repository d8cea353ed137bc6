"""Run the stage: list all files that come in, with their hashes, and read only those that are new or changed."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from pipeline.errors import InputError
from pipeline.inputs.bucket import Bucket
from pipeline.inputs.cut_ranges import cut_ranges
from pipeline.inputs.kinds import FOLDER
from pipeline.inputs.locate_inputs import InputFolder, locate_inputs, name_setting
from pipeline.inputs.params import InputParams, SourceParams
from pipeline.list.hash_files import HASHED, HashRange, hash_files
from pipeline.list.known_hashes import KNOWN, KnownHashes
from pipeline.list.list_objects import list_objects
from pipeline.list.walk_folder import FOUND, FolderWalk, list_matches
from pipeline.runtime.executor import run_tasks
from pipeline.runtime.lazy_tasks import LazyTasks
from pipeline.runtime.progress import show_progress
from pipeline.runtime.run_stage import Workspace
from pipeline.tables.contracts import LISTED, LISTED_FILES
from pipeline.tables.database import Database, open_database
from pipeline.tables.drops import DropCounts, Outcome, Reason

if TYPE_CHECKING:
    import pyarrow as pa

RANGE_FILES = 10_000
RANGE_BYTES = 256 << 20

FEW_FILES = 2_000
FEW_BYTES = 256 << 20
"""So many files are read in this process in less time than workers take to start."""

_NEW = """
    SELECT number, source, kind, file, link, size FROM found
    ANTI JOIN known USING (number, file, size, mtime_ns, ctime_ns, inode)
    WHERE found.reason IS NULL AND found.version IS NULL ORDER BY number, file
"""

_LISTED = """
    CREATE TABLE listed AS
    SELECT found.*, known.hashed_ns, known.sha256 FROM found
    LEFT JOIN known USING (number, file, size, mtime_ns, ctime_ns, inode)
    WHERE found.reason IS NOT NULL OR found.version IS NOT NULL OR known.sha256 IS NOT NULL
    UNION ALL BY NAME SELECT * FROM hashed
"""

_FILES = f"""SELECT {", ".join(f'"{name}"' for name in LISTED)} FROM listed ORDER BY number, file, reason"""


def list_inputs(params: InputParams, workspace: Workspace) -> Outcome:
    """Walk through all sources and write `0_listed/`. Unit: the file; what is refused is a row too, which ingest drops.

    Raises:
        InputError: a folder is missing, or no file has the name of an archive, or a bucket cannot be listed.
    """
    inputs = locate_inputs(params)
    folders = {number: place for number, place in inputs.items() if isinstance(place, InputFolder)}
    with open_database(workspace.work, workspace.run) as database:
        database.create("found", {"number": "int64", "source": "string", **FOUND})
        database.create("known", {"number": "int64", **KNOWN})
        database.create("hashed", HASHED)
        states = {
            number: KnownHashes(workspace.cache, folder.path, params.list_sources()[number])
            for number, folder in folders.items()
        }
        for number, source in enumerate(params.list_sources()):
            if number in states:
                _append(database, "known", states[number].read(), number=number)
            for found in _find_files(number, source, params, inputs[number]):
                _append(database, "found", found, number=number, source=source.name)
        read = _hash_new(database, folders, workspace)
        database.execute(_LISTED)
        database.write(_FILES, workspace.work / LISTED_FILES, LISTED)
        for number, state in states.items():
            state.write(database, f"SELECT * FROM listed WHERE number = {number} AND sha256 IS NOT NULL")
        return _describe(database, read)


def _find_files(
    number: int, source: SourceParams, params: InputParams, place: InputFolder | Bucket
) -> "Iterator[pa.Table]":
    if isinstance(place, Bucket):
        yield list_objects(place, source, params)
        return
    if source.kind == FOLDER:
        yield from FolderWalk(place.path, params).list_files()
        return
    found = list_matches(source)
    if not found.num_rows:
        raise InputError(f"{name_setting(params, number)} is {source.path}: no file has such a name")
    yield found


def _append(database: Database, table: str, rows: "pa.Table", **values: int | str) -> None:
    """Add rows, with further columns that have one value."""
    import pyarrow as pa

    for name, value in values.items():
        rows = rows.append_column(name, pa.repeat(pa.scalar(value), rows.num_rows))
    database.append(table, rows)


def _hash_new(database: Database, inputs: Mapping[int, InputFolder], workspace: Workspace) -> int:
    """Fill the table `hashed` with the files that are new or changed; return how many there are."""
    import pyarrow as pa

    ((count, size),) = database.fetch(f"SELECT count(*), coalesce(sum(size), 0) FROM ({_NEW})")
    if not count:
        return 0
    listing = workspace.work.resolve() / "new.arrow"
    counts = []
    writer = None
    for rows in cut_ranges(filter(len, database.read(_NEW)), RANGE_FILES, RANGE_BYTES):
        writer = writer or pa.ipc.new_file(listing, rows.schema)
        writer.write_batch(rows)
        counts.append(rows.num_rows)
    if writer is not None:
        writer.close()
    run = workspace.run
    if count <= FEW_FILES and size <= FEW_BYTES:
        run = run.model_copy(update={"workers": 0, "scheduler": None, "client": None})

    def make(number: int) -> HashRange:
        return HashRange(
            number=number,
            files=counts[number],
            listing=listing,
            folder=listing.parent,
            inputs=inputs,
        )

    tasks = LazyTasks(len(counts), make)
    finished = run_tasks(hash_files, tasks, run)
    for number, _ in show_progress(finished, count, "files", run, lambda done: (done[1], {})):
        with pa.memory_map(str(tasks[number].path)) as file:
            database.append("hashed", pa.ipc.open_file(file).read_all())
        tasks[number].path.unlink()
    return int(count)


def _describe(database: Database, read: int) -> Outcome:
    """Return the counts, with `1 of 60,000 files read`, and what is refused and ignored."""
    counts = dict(database.fetch("SELECT coalesce(reason, ''), sum(count)::BIGINT FROM listed GROUP BY reason"))
    patterns = counts.pop(Reason.IGNORED, 0)
    seen = sum(counts.values())
    notes = [f"{read:,} new or changed"]
    refused = {reason: count for reason, count in counts.items() if reason}
    if refused:
        notes.append("refused: " + ", ".join(f"{count:,} {reason}" for reason, count in sorted(refused.items())))
    ((links,),) = database.fetch("SELECT sum(count)::BIGINT FROM listed WHERE setting = 'ingest.links'")
    if links:
        notes.append(f"{links:,} of these are behind links, which ingest.links: follow would read")
    if patterns:
        rows = database.fetch(
            "SELECT file, count FROM listed WHERE reason = $reason ORDER BY file", {"reason": str(Reason.IGNORED)}
        )
        notes.append("ignored: " + ", ".join(f"{count:,} {pattern}" for pattern, count in rows))
    return Outcome("file", seen, seen, DropCounts(), notes)
