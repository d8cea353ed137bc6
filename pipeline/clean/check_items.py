"""Check the items whose verdicts the cache lacks: a chunk a task."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pipeline.clean.check_entry import CheckedBytes, compute_check
from pipeline.clean.params import CleanParams
from pipeline.errors import InputError
from pipeline.incremental.cache_key import hash_method
from pipeline.incremental.compute_chunk import ITEM_BYTES, MAX_BYTES, Chunk, ChunkResult, compute_chunk, cut_chunks
from pipeline.incremental.pack_index import Entry
from pipeline.incremental.stage_folders import StageFolders
from pipeline.modalities.table import MODALITIES
from pipeline.runtime.lazy_tasks import LazyTasks
from pipeline.runtime.stopwatch import clock
from pipeline.tables.blob_store import TarReader, read_location
from pipeline.tables.columns import Row
from pipeline.tables.contracts import INGESTED_ITEMS, ITEMS
from pipeline.tables.database import Database
from pipeline.tables.item_names import name_item

NEARNESS = {"near_bits", "near_difference"}
"""Params of a check that only the search for duplicates uses: changing them checks nothing again."""


@dataclass(frozen=True, eq=False, kw_only=True)
class CheckTask(Chunk):
    """Items of the ingested table to check."""

    folders: StageFolders
    params: CleanParams

    @property
    def estimated_bytes(self) -> int:
        """Return the memory of a task: a decoded item, the bytes that changed, and the imported libraries."""
        return ITEM_BYTES + 2 * MAX_BYTES


def request_checks(database: Database, data: Path, params: CleanParams) -> None:
    """Create `items` (item, modality, media_type, sha256, size) and `requests`, with the cache key of each check.

    Raises:
        InputError: the ingested table is missing or damaged.
    """
    columns = ["modality", "media_type", "sha256", "size"]
    database.load("items", data / INGESTED_ITEMS, ITEMS, columns, number="item")
    database.execute("CREATE TABLE methods (modality VARCHAR, method BLOB)")
    for (modality,) in database.fetch("SELECT DISTINCT modality FROM items"):
        method = hash_check(modality, params)
        database.execute("INSERT INTO methods VALUES ($modality, $method)", {"modality": modality, "method": method})
    database.execute(
        """
        CREATE TABLE requests AS
        SELECT item, modality, unhex(sha256(method || sha256 || encode(media_type))) AS key
        FROM items JOIN methods USING (modality)
        """
    )


def hash_check(modality: str, params: CleanParams) -> bytes:
    """Return a hash of how items of a modality are checked."""
    known = MODALITIES[modality]
    settings = params.checks[modality].model_dump(mode="json", exclude=NEARNESS)
    return hash_method(f"check of {modality}", (known.check, compute_check), {"params": settings}, known.libraries)


def plan_checks(database: Database, folders: StageFolders, params: CleanParams) -> LazyTasks[CheckTask]:
    """Plan the checks whose entries are missing, by modality: the first item of each distinct check."""
    database.execute(
        """
        CREATE OR REPLACE TABLE firsts AS
        SELECT min(item) AS item, key FROM requests ANTI JOIN entries USING (key) GROUP BY key
        """
    )
    columns = ["source", "file", "part", "modality", "media_type", "sha256", "tar", "offset", "size"]
    database.load("missing", folders.data / INGESTED_ITEMS, ITEMS, columns, number="item", only="firsts")
    database.execute(
        """
        CREATE OR REPLACE TABLE missing AS
        SELECT missing.*, key, row_number() OVER (ORDER BY modality, item) - 1 AS position
        FROM missing JOIN firsts USING (item) ORDER BY position
        """
    )
    sizes = database.take("SELECT size FROM missing ORDER BY position")["size"].to_numpy()
    chunks = cut_chunks(sizes)

    def build(number: int) -> CheckTask:
        chunk = chunks[number]
        rows = database.take(
            "SELECT * FROM missing WHERE position >= $start AND position < $stop ORDER BY position",
            {"start": chunk.start, "stop": chunk.stop},
        )
        name = f"items {chunk.start} to {chunk.stop - 1} of {len(sizes)}"
        return CheckTask(name=name, rows=rows, folders=folders, params=params)

    return LazyTasks(len(chunks), build)


def check_items(task: CheckTask) -> ChunkResult:
    """Check items, and store the verdicts and the bytes that changed in the cache.

    Raises:
        InputError: bytes are not those that were ingested; the message names the tar and the item.
    """
    with TarReader(task.folders.data) as reader:
        return compute_chunk(task, task.folders.objects, lambda row, key: check_item(row, reader, task.params, key))


def check_item(row: Row, reader: TarReader, params: CleanParams, cache_key: bytes) -> Entry:
    """Return the cache entry of one item, see `compute_check`.

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
