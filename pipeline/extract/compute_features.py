"""Compute missing features in chunks of items of one modality, each stored as one pack of the item cache."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.config.params import Params
from pipeline.errors import PipelineError
from pipeline.extract.extractor import ExtractFolders, Extractor
from pipeline.extract.plan_shards import PlannedShard
from pipeline.incremental.compute_chunk import ITEM_BYTES, Chunk, ChunkResult, compute_chunk, cut_chunks
from pipeline.incremental.key_words import KEY, join_words
from pipeline.modalities.table import MODALITIES
from pipeline.runtime.lazy_tasks import LazyTasks
from pipeline.tables.blob_store import TarReader
from pipeline.tables.database import Database
from pipeline.tables.row_files import open_row_file

MIN_SHARDS = 64
"""Fewest shards with inline features, which the task of the shard computes, so that they are written once: the tasks
must be many more than the workers."""

MAX_FEATURES = 2048
"""Most inline features of a shard: a few seconds of work."""


@dataclass(frozen=True, eq=False, kw_only=True)
class FeatureTask(Chunk):
    """Items of one modality, and their spans, whose features are to be computed."""

    folders: ExtractFolders
    extractor: Extractor

    @property
    def estimated_bytes(self) -> int:
        """Memory for a decoded item, the features, and the libraries that compute them."""
        return ITEM_BYTES + self.count_items() * self.extractor.count_bytes()


def load_libraries(features: Mapping[str, Params], encode: bool) -> None:
    """Load what the tasks of all modalities need with these params, and PyTorch where they `encode` items. Nothing here
    may start a thread, as pyarrow does: a process with threads cannot be forked from."""
    for name, modality in MODALITIES.items():
        with suppress(PipelineError):  # a task of this modality raises the same
            modality.prepare(features[name])
    if encode:
        import torch

        torch.set_num_threads(1)


def compute_features(task: FeatureTask) -> ChunkResult:
    """Compute the features of a chunk and store them in the cache.

    Raises:
        ParamsError, InputError: the modality lacks something, or an item's bytes differ from those that were cleaned.
    """
    task.extractor.prepare()
    task = task.add_columns(open_row_file(task.folders.items).take(task.rows["item"].to_numpy()))
    with TarReader(task.folders.data) as reader:
        return compute_chunk(task, task.folders.objects, lambda row, key: task.extractor.compute(row, key, reader))


def plan_missing(database: Database, shards: Sequence[PlannedShard], stacked: Collection[str] = ()) -> None:
    """Create `missing`: the distinct features that the cache lacks, and the first sample that needs each; and decide
    which of them are inline.

    Inline are those that one part of one sample needs, and that no vocabulary is learned from, if many shards have
    some, and none too many to be a small task. Else chunks are better tasks: more of them, for all workers. The
    `stacked` parts, of several items in one array, have no features that could be read from a shard.
    """
    database.execute(
        f"""
        CREATE TABLE missing AS
        SELECT {KEY}, min(modality) AS modality, min(sample) AS sample, count(*) AS uses, min(item) AS item,
            min(part) AS part,
            arg_min("start", item) AS "start", arg_min("end", item) AS "end"
        FROM located WHERE object IS NULL GROUP BY {KEY};
        ALTER TABLE missing ADD COLUMN inline BOOLEAN
        """
    )
    learning = [name for name, modality in MODALITIES.items() if modality.learning is not None]
    database.execute(
        """
        UPDATE missing SET inline =
            uses = 1 AND NOT list_contains($learning, modality::VARCHAR)
            AND NOT list_contains($stacked, part::VARCHAR)
        """,
        {"learning": learning, "stacked": list(stacked)},
    )
    with_some, most = database.fetch(
        """
        SELECT count(*), max(number) FROM (
            SELECT count(*) AS number
            FROM missing ASOF JOIN (SELECT unnest($firsts) AS first) AS shards ON sample >= first
            WHERE inline GROUP BY first
        )
        """,
        {"firsts": [shard.first for shard in shards]},
    )[0]
    if with_some < MIN_SHARDS or most > MAX_FEATURES:
        database.execute("UPDATE missing SET inline = false")


def plan_chunks(
    database: Database, extractors: Mapping[str, Extractor], learner: str | None, folders: ExtractFolders
) -> Sequence[FeatureTask]:
    """Plan the tasks for the missing features that are not inline: the first of each modality before the others, which
    shows early what it lacks; then those that a vocabulary is learned from, as all else waits for it."""
    names = sorted(extractors, key=lambda name: (name != learner, name))
    database.execute(
        f"""
        CREATE TABLE chunked AS
        SELECT *, row_number() OVER (PARTITION BY modality ORDER BY sample, {KEY}) - 1 AS number
        FROM missing WHERE NOT inline
        """
    )
    planned: list[tuple[int, str, slice]] = []
    for name in names:
        count = database.fetch("SELECT count(*) FROM chunked WHERE modality = $name", {"name": name})[0][0]
        sizes = np.full(count, extractors[name].count_bytes(), np.int64)
        planned += [(number > 0, name, chunk) for number, chunk in enumerate(cut_chunks(sizes))]
    planned.sort(key=lambda each: each[0])  # stable

    def build(number: int) -> FeatureTask:
        _, name, chunk = planned[number]
        rows = database.take(
            f"""
            SELECT item, "start", "end", {KEY} FROM chunked
            WHERE modality = $name AND number >= $start AND number < $stop ORDER BY number
            """,
            {"name": name, "start": chunk.start, "stop": chunk.stop},
        )
        title = f"{name} {chunk.start} to {chunk.stop - 1}"
        return FeatureTask(name=title, rows=join_words(rows), folders=folders, extractor=extractors[name])

    return LazyTasks(len(planned), build)


def count_missing(database: Database) -> dict[str, int]:
    """Return how many features of each modality the cache lacks."""
    rows: list[tuple[Any, ...]] = database.fetch(
        "SELECT modality, count(*) FROM missing GROUP BY modality ORDER BY modality"
    )
    return dict(rows)
