"""Check the items whose verdicts the cache lacks: a chunk a task."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.clean.check_entry import CheckedBytes, compute_check
from pipeline.clean.params import CleanParams
from pipeline.errors import InputError
from pipeline.incremental.cache_key import hash_method, make_keys
from pipeline.incremental.compute_chunk import ITEM_BYTES, MAX_BYTES, Chunk, ChunkResult, compute_chunk, cut_chunks
from pipeline.incremental.key_words import KEY, build_words, join_words
from pipeline.incremental.pack_index import Entry
from pipeline.incremental.stage_folders import StageFolders
from pipeline.modalities.table import MODALITIES
from pipeline.privacy.policy import fingerprint_key
from pipeline.runtime.lazy_tasks import LazyTasks
from pipeline.runtime.stopwatch import clock
from pipeline.tables.blob_store import TarReader, read_location
from pipeline.tables.columns import Row
from pipeline.tables.contracts import INGESTED_ITEMS, ITEMS
from pipeline.tables.database import Database, read_numbered
from pipeline.tables.item_names import name_item

if TYPE_CHECKING:
    import pyarrow as pa

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
    """Create `requests`: item, modality, and the words of the cache key of its check.

    Raises:
        InputError: the ingested table is missing or damaged.
    """
    names = ", ".join(f"'{name}'" for name in MODALITIES)
    database.execute(f"CREATE TYPE modality_name AS ENUM ({names})")
    columns = "* REPLACE (modality::modality_name AS modality)"
    database.insert("requests", _read_requests(data / INGESTED_ITEMS, params), columns=columns)


def _read_requests(ingested: Path, params: CleanParams) -> "Iterator[pa.RecordBatch]":
    import pyarrow as pa

    find_method = cache(lambda modality: hash_check(modality, params))

    for batch in read_numbered(ingested, ITEMS, ["modality", "media_type", "sha256"], "item"):
        words = build_words(make_keys(batch, find_method, ["media_type"]))
        yield pa.RecordBatch.from_pydict({name: batch.column(name) for name in ("item", "modality")} | words)


def hash_check(modality: str, params: CleanParams) -> bytes:
    """Return a hash of how items of a modality are checked."""
    known = MODALITIES[modality]
    checks = params.checks[modality]
    settings = checks.model_dump(mode="json", exclude=NEARNESS)
    if key_file := getattr(checks, "redact_key", None):
        settings["redact_key"] = fingerprint_key(key_file)
    return hash_method(f"check of {modality}", (known.check, compute_check), {"params": settings}, known.libraries)


def plan_checks(database: Database, folders: StageFolders, params: CleanParams) -> Sequence[CheckTask]:
    """Plan the checks whose entries are missing, by modality: the first item of each distinct check, in `firsts`."""
    database.execute(
        f"""
        CREATE OR REPLACE TABLE firsts AS
        SELECT min(item) AS item, {KEY} FROM located WHERE object IS NULL GROUP BY {KEY}
        """
    )
    if not database.fetch("SELECT count(*) FROM firsts")[0][0]:
        return []
    columns = ["source", "file", "part", "modality", "media_type", "sha256", "tar", "offset", "size"]
    database.load("missing", folders.data / INGESTED_ITEMS, ITEMS, columns, number="item", only="firsts")
    database.execute(
        f"""
        CREATE OR REPLACE TABLE missing AS
        SELECT missing.*, {KEY}, row_number() OVER (ORDER BY modality, item) - 1 AS position
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
        return CheckTask(name=name, rows=join_words(rows), folders=folders, params=params)

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
