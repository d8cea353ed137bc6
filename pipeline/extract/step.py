"""Run the stage: plan, compute missing features, build the shards, write the manifest and the record."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.config.params import RunParams
from pipeline.errors import CountMismatch, InputError
from pipeline.extract.build_dataset import DatasetBuild
from pipeline.extract.class_order import is_numeric
from pipeline.extract.compute_features import load_libraries
from pipeline.extract.extractor import ExtractFolders, Recipe
from pipeline.extract.field_statistics import FieldMoments
from pipeline.extract.make_shard import ShardResult
from pipeline.extract.params import ExtractParams
from pipeline.extract.plan_corpus import plan_corpus
from pipeline.extract.plan_fields import FieldPlan
from pipeline.extract.plan_shards import PlannedShard
from pipeline.extract.provenance import describe_build, describe_features, list_sources
from pipeline.extract.vector_params import VectorParams
from pipeline.incremental.evict import ObjectUse, describe_eviction, evict
from pipeline.runtime.executor import open_executor
from pipeline.runtime.run_stage import Workspace
from pipeline.runtime.sandbox.worker_pool import warm_up_pool
from pipeline.tables.contracts import EXTRACT_FOLDER, SHARDS_FOLDER, SPLITS
from pipeline.tables.database import Database, open_database
from pipeline.tables.dropped_rows import DroppedRows
from pipeline.tables.drops import Outcome, check_drop_share, check_machine_drops
from shardwright.format.atomic_write import write_file
from shardwright.format.canonical_json import encode_canonical
from shardwright.format.index import iterate_indexes
from shardwright.format.manifest import FileRecord, Manifest, Source, Split, Statistics, read_manifest, write_manifest
from shardwright.format.writer import write_split

ShardResults = Sequence[tuple[PlannedShard, ShardResult]]
"""Every planned shard with its result, in order."""


def write_dataset(root: Path, recipe: Recipe, made: ShardResults, sources: tuple[Source, ...]) -> Manifest:
    """Write the index of each shard and `dataset.json` for shards that are already in `root`."""
    plan, learned = recipe.plan, recipe.learned
    manifest = Manifest(
        fields=plan.fields,
        splits=write_splits(root, plan, made),
        classes=plan.classes,
        vocabulary=FileRecord(learned.path.name, learned.sha256) if learned else None,
        statistics=join_statistics(result.shard.moments for _, result in made),
        extract=describe_parts(plan) | {"params": {name: params.name_values() for name, params in plan.params.items()}},
        sources=sources,
    )
    write_manifest(root, manifest)
    return manifest


def describe_parts(plan: FieldPlan) -> dict[str, Any]:
    """Return `modalities`, the fields of each part, the one that models see first; `parts`, the modality of each part
    that is called otherwise; `joiners`, what stands between items that are joined; `class_order`, numeric if the
    classes are whole numbers in their order; and `vectors`, the frozen encoder of each modality. An empty one is left
    out."""
    named = {part: modality for part, modality in plan.modalities.items() if part != modality}
    described = {"parts": named, "joiners": dict(plan.joiners), "class_order": "numeric" * is_numeric(plan.classes)}
    described["vectors"] = {name: encoder.describe() for name, encoder in plan.encoders.items()}
    return {"modalities": {part: plan.list_names(part) for part in plan.names}} | {
        name: values for name, values in described.items() if values
    }


def write_splits(root: Path, plan: FieldPlan, made: ShardResults) -> dict[str, Split]:
    """Write the indexes of each split that has a shard; return the manifest's `splits`."""
    splits = {}
    for split in sorted({shard.split for shard, _ in made}):
        written = [
            result.shard.written for shard, result in made if shard.split == split and result.shard.written is not None
        ]
        if written:
            splits[split] = write_split(root / split, plan.fields, written)
    return splits


def join_statistics(parts: Iterable[Mapping[str, FieldMoments]]) -> dict[str, Statistics] | None:
    """Join the moments of the training shards, in their order, into the statistics of each field; None without any."""
    joined: dict[str, FieldMoments] = {}
    for part in parts:
        for name, moments in part.items():
            joined[name] = joined[name].add(moments) if name in joined else moments
    return {name: moments.describe() for name, moments in joined.items() if moments.count} or None


def extract(params: ExtractParams, workspace: Workspace) -> Outcome:
    """Build `5_shards` and `5_extract` from the aligned samples; the outcome counts samples.

    Raises:
        InputError: nothing was aligned, no sample is left, a modality lacks something that it needs, or the vocabulary
            knows too few of the training tokens.
        TooManyDrops: the share of dropped samples is above `extract.max_dropped`.
        MachineDrops: samples were dropped for time or memory, and `run.allow_machine_drops` is false.
        PipelineError: a task failed; the message names its shard, and the sample where it is known.
    """
    warm_up_pool(workspace.run, partial(load_libraries, params.features, params.vectors != VectorParams()))
    work = workspace.work.resolve()
    folders, use = ExtractFolders(workspace.data.resolve(), workspace.cache.resolve(), work), ObjectUse()
    with open_database(work, workspace.run) as database, folders.objects.hold():
        outcome = make_dataset(database, params, folders, workspace.run, use)
    evicted = evict(folders.objects, use, workspace.run.cache_bytes)
    return replace(outcome, notes=[*outcome.notes, *describe_eviction(evicted)])


def make_dataset(
    database: Database, params: ExtractParams, folders: ExtractFolders, run: RunParams, use: ObjectUse
) -> Outcome:
    """Build everything, and note in `use` what was used of the item cache. Raises what `extract` raises."""
    root, records = folders.work / SHARDS_FOLDER, folders.work / EXTRACT_FOLDER
    root.mkdir(parents=True)
    corpus = plan_corpus(database, folders, params)
    build = DatasetBuild(database, corpus, folders, run, use)
    describe = partial(describe_features, params, tuple(corpus.plan.params))
    with open_executor(run, build.count_tasks(), [folders.data], describe) as executor:
        build.compute_missing(executor)
        recipe = build.write_learned(root, executor)
        results = build.make_shards(root, recipe, executor)
    dropped = DroppedRows(database, "extract", "sample")
    dropped.add(corpus.unlabelled)
    for result in results:
        dropped.add(result.shard.drops)
    counts = dropped.write(records)
    outcome = Outcome("sample", corpus.count, corpus.count - counts.total, counts)
    check_machine_drops(outcome, run.allow_machine_drops)
    check_kept(outcome, params)
    coverage = build.review(results)
    manifest = write_dataset(
        root, recipe, list(zip(corpus.shards, results, strict=True)), list_sources(database, corpus.keys)
    )
    check_written(root, manifest, outcome.kept)
    record = encode_canonical(describe_build(params, manifest.hash, corpus.plan.params), indent=1) + b"\n"
    write_file(records / "extract_record.json", [record])
    return replace(outcome, notes=[*describe_dataset(manifest), *build.describe(), *coverage])


def check_kept(outcome: Outcome, params: ExtractParams) -> None:
    """Stop before the manifest is written if too few samples are left."""
    check_drop_share(outcome, params.max_dropped, "extract.max_dropped")
    if outcome.kept == 0:
        raise InputError(f"no sample is left to write; all were dropped: {outcome.dropped.describe()}")


def check_written(root: Path, manifest: Manifest, samples: int) -> None:
    """Check the written manifest, indexes, shard sizes and sample count against the plan.

    The bytes of each shard were read back, or checked against their sha256, by the task that built it.

    Raises:
        CountMismatch: something differs, which is a bug of this project.
    """
    if read_manifest(root).hash != manifest.hash:
        raise CountMismatch(f"{root.name}/dataset.json differs from the manifest that was written")
    for name, split in manifest.splits.items():
        for shard, _ in iterate_indexes(root / name, manifest.fields, split):
            if (root / name / shard.name).stat().st_size != shard.bytes:
                raise CountMismatch(f"{name}/{shard.name} differs in size from the shard that was written")
    written = sum(split.samples for split in manifest.splits.values())
    if written != samples:
        raise CountMismatch(f"{samples} samples were kept, {written} are in the shards")


def describe_dataset(manifest: Manifest) -> list[str]:
    """Return the summary notes: samples by split, shards, megabytes, and the start of the dataset hash."""
    shards = [shard for split in manifest.splits.values() for shard in split.shards]
    counts = ", ".join(f"{name} {manifest.splits[name].samples}" for name in SPLITS if name in manifest.splits)
    size = sum(shard.bytes for shard in shards) / 1e6
    return [f"{counts} samples in {len(shards)} shards, {size:.1f} MB; dataset {manifest.hash[:12]}"]
