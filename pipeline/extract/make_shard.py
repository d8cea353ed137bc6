"""Build one shard: a task that is a pure function of the features of its samples and of the recipe.

A shard that is whole in the cache gets a second name once its sha256 was checked; otherwise it is built from features,
each checked against its checksum, and added to the cache. Features that no other shard needs are computed here, so that
they are written once.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pipeline.extract.assemble_shard import ShardAssembly
from pipeline.extract.cached_shards import BuiltShard, describe_shard, load_shard, name_shard
from pipeline.extract.extractor import ExtractFolders, Extractor, Recipe, make_extractors
from pipeline.extract.feature_reader import FeatureReader
from pipeline.extract.plan_shards import estimate_sample_bytes
from pipeline.extract.samples import SamplePart, build_samples
from pipeline.incremental.compute_chunk import ITEM_BYTES, compute_entries
from pipeline.incremental.pack_index import Entry
from pipeline.incremental.published_tar import reuse_tar
from pipeline.runtime.sandbox.heartbeat import enter_item, leave_items
from pipeline.tables.columns import Row
from pipeline.tables.drops import Rejection
from pipeline.tables.row_files import open_row_file
from shardwright.format.encode import CHUNK_BYTES

if TYPE_CHECKING:
    import pyarrow as pa

ROW_BYTES = 16 << 10
"""Memory for the records of one sample while its shard is built."""


@dataclass(frozen=True, eq=False)
class ShardTask:
    """One shard to build.

    Attributes:
        path: the file to write.
        folders: of the run.
        recipe: what all shards share.
        samples, parts: its rows, see `pipeline.extract.samples.build_samples`.
        names: of the objects of the cache that have its features, by number.
        lost: rejections of features that no worker can compute, by cache key.
        moments: whether to sum values for the statistics.
        lost_items: the same for features that this task computes, by their number.
    """

    path: Path
    folders: ExtractFolders
    recipe: Recipe
    samples: "pa.Table"
    parts: "pa.Table"
    names: Mapping[int, str]
    lost: Mapping[bytes, Rejection]
    moments: bool
    lost_items: Mapping[int, Rejection] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The file name of the shard."""
        return self.path.name

    @property
    def estimated_bytes(self) -> int:
        """Memory for a few samples and write chunks, the records of all samples, and an item where any is computed."""
        written = 4 * (estimate_sample_bytes(self.recipe.plan.fields) + CHUNK_BYTES)
        return written + int(self.samples.num_rows) * ROW_BYTES + (ITEM_BYTES if self.count_items() else 0)

    def list_inline(self) -> list[bytes]:
        """Return the cache keys of the features that this task computes."""
        missing = zip(self.parts["key"].to_pylist(), self.parts["object"].is_null().to_pylist(), strict=True)
        return [key for key in dict.fromkeys(key for key, absent in missing if absent) if key not in self.lost]

    def count_items(self) -> int:
        """See `pipeline.runtime.sandbox.heartbeat.Divisible`."""
        return len(self.list_inline())

    def lose_items(self, lost: Mapping[int, Rejection]) -> Self:
        """See `pipeline.runtime.sandbox.heartbeat.Divisible`."""
        return replace(self, lost_items=lost)


@dataclass(frozen=True)
class ShardResult:
    """The result of a task.

    Attributes:
        shard: the shard with its drops and moments; its record is None if it has no sample.
        cached: the shard's name in the cache, None if it is not stored there.
        reused: whether the whole shard came from the cache.
        computed: how many features were computed again since their entries were damaged.
        damaged: names of the damaged objects.
    """

    shard: BuiltShard
    cached: str | None = None
    reused: bool = False
    computed: int = 0
    damaged: frozenset[str] = frozenset()


def make_shard(task: ShardTask) -> ShardResult:
    """Build the shard, whole or not at all.

    Raises:
        ParamsError, InputError: a modality lacks something, or an item's bytes differ from those that were cleaned.
        PipelineError: the shard reads back differently than it was written: a bad disk, or a bug.
    """
    items = open_row_file(task.folders.items)
    recipe, objects, plan = task.recipe, task.folders.objects, task.recipe.plan
    name = name_shard(recipe.assembly, task.samples, task.parts, items.read(task.parts["item"].to_numpy()))
    if (whole := reuse_tar(objects, name, task.path)) is not None:
        return ShardResult(load_shard(whole, task.name, plan), name, reused=True)
    samples = build_samples(task.samples, task.parts, items)
    extractors = make_extractors(plan)
    inline = task.list_inline()
    parts = {part.key: part for sample in samples for each in sample.parts.values() for part in each}
    lost = {**task.lost, **{inline[number]: rejection for number, rejection in task.lost_items.items()}}
    with FeatureReader(task.folders, task.names, name.encode()) as reader:
        if _compute_inline(task, [parts[key] for key in inline], extractors, reader):
            return ShardResult(BuiltShard())
        assembly = ShardAssembly(recipe, samples, lost, reader)
        shard = assembly.write(task.path, task.folders.work, task.moments)
        kept = shard.written is not None and not lost  # what this machine could not compute must not be stored
        published: frozenset[bytes] = frozenset()
        if kept:
            rows = describe_shard(plan, shard, assembly.features)
            objects.adopt(name, task.path, rows)
            published = frozenset(bytes(key).ljust(32, b"\0") for key in rows.entries["key"].tolist())
        reader.store(published)
        damaged = frozenset(reader.damaged)
        return ShardResult(shard, name if kept else None, computed=reader.computed, damaged=damaged)


def _compute_inline(
    task: ShardTask, parts: list[SamplePart], extractors: Mapping[str, Extractor], reader: FeatureReader
) -> bool:
    """Compute the features that only this shard needs; return whether it was a try that nothing is kept of."""
    modality = task.recipe.plan.modalities
    for name in sorted({modality[part.name] for part in parts}):
        extractors[name].prepare()

    def walk() -> Iterator[Row]:
        for number, part in enumerate(parts):
            enter_item(number, len(parts))
            yield {**part.item, "part_name": part.name, "key": part.key.hex()}
        leave_items()

    def compute(row: Row, key: bytes) -> Entry:
        return reader.compute(extractors[modality[row["part_name"]]], row, key)

    return compute_entries(reader.pack, walk(), task.lost_items, compute)
