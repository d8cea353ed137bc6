"""The step: plan everything, compute what the cache lacks, make the shards, and write down what they are."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from pipeline.cache.evict import ObjectUse, evict
from pipeline.cache.lookup import find_entries
from pipeline.cache.object_store import ObjectStore
from pipeline.errors import CountMismatch, InputError
from pipeline.extract.build_dataset import DatasetBuild
from pipeline.extract.compute_features import load_libraries
from pipeline.extract.field_statistics import FieldMoments
from pipeline.extract.make_shard import ShardResult
from pipeline.extract.params import ExtractParams
from pipeline.extract.plan_corpus import plan_corpus
from pipeline.extract.plan_fields import FieldPlan
from pipeline.extract.plan_shards import PlannedShard
from pipeline.extract.provenance import Terms, describe_making, list_sources
from pipeline.extract.shard_recipe import Recipe
from pipeline.runtime.executor import open_executor
from pipeline.runtime.run_stage import Workspace
from pipeline.runtime.sandbox.worker_pool import warm_up_pool
from pipeline.tables.contracts import EXTRACT_FOLDER, SHARDS_FOLDER, SPLITS
from pipeline.tables.drops import Outcome, check_drop_share, check_machine_drops
from pipeline.tables.parquet import write_dropped
from shardwright.format.atomic_write import write_file
from shardwright.format.canonical_json import encode_canonical
from shardwright.format.index import read_index
from shardwright.format.manifest import FileRecord, Manifest, Split, Statistics, read_manifest, write_manifest
from shardwright.format.writer import write_split

Made = Sequence[tuple[PlannedShard, ShardResult]]
"""Every planned shard with what became of it, in order."""


def write_dataset(root: Path, recipe: Recipe, made: Made) -> Manifest:
    """Write the index of each split and `dataset.json`; the shards are there already."""
    plan, learned = recipe.plan, recipe.learned
    manifest = Manifest(
        fields=plan.fields,
        splits=write_splits(root, plan, made),
        classes=plan.classes,
        vocabulary=FileRecord(learned.path.name, learned.sha256) if learned else None,
        statistics=join_statistics(result.shard.moments for _, result in made),
        extract={
            "modalities": {name: list(fields) for name, fields in plan.modalities.items()},
            "params": {name: params.model_dump(mode="json") for name, params in plan.params.items()},
        },
        sources=list_sources(sum((result.terms for _, result in made), Counter[Terms]())),
    )
    write_manifest(root, manifest)
    return manifest


def write_splits(root: Path, plan: FieldPlan, made: Made) -> dict[str, Split]:
    """Write an index for each split that has a shard, and give the manifest's part about them."""
    splits = {}
    for split in sorted({shard.split for shard, _ in made}):
        written = [
            result.shard.written for shard, result in made if shard.split == split and result.shard.written is not None
        ]
        if written:
            splits[split] = write_split(root / split, plan.fields, written)
    return splits


def join_statistics(parts: Iterable[Mapping[str, FieldMoments]]) -> dict[str, Statistics] | None:
    """The statistics of each field that has any, from the moments of the training shards in their order."""
    joined: dict[str, FieldMoments] = {}
    for part in parts:
        for name, moments in part.items():
            joined[name] = joined[name].add(moments) if name in joined else moments
    return {name: moments.describe() for name, moments in joined.items() if moments.count} or None


def extract(params: ExtractParams, workspace: Workspace) -> Outcome:
    """Make `5_shards` and `5_extract` of what `align` put together; counts samples.

    Raises:
        InputError: nothing was aligned, no sample is left, or something that a modality needs is missing here.
        TooManyDrops: more was dropped than `extract.max_dropped` allows.
        MachineDrops: something was dropped because of this machine, and `run.allow_machine_drops` does not allow that.
        PipelineError: a task failed; the message names its shard, and the sample where it is known.
    """
    warm_up_pool(workspace.run, partial(load_libraries, params))
    outcome, objects, use = make_dataset(params, workspace)  # all that it planned by is let go of
    if forgotten := evict(objects, use, workspace.run.cache_bytes):
        note = f"{forgotten / 1e9:.1f} GB that this run used had to leave the item cache: raise run.cache_bytes"
        return replace(outcome, notes=[*outcome.notes, note])
    return outcome


def make_dataset(params: ExtractParams, workspace: Workspace) -> tuple[Outcome, ObjectStore, ObjectUse]:
    """Make everything, and say what was done with the item cache; raises what `extract` does."""
    root = workspace.work.resolve() / SHARDS_FOLDER
    corpus = plan_corpus(params, workspace)
    root.mkdir(parents=True)
    with corpus.folders.objects.hold():
        found = [wanted.found for wanted in corpus.wanted.values()]
        use = ObjectUse(damaged=set(find_entries(corpus.folders.objects, found)))
        making = DatasetBuild(corpus, workspace.run, use)
        with open_executor(workspace.run, making.count_tasks(), [corpus.folders.data]) as workers:
            making.compute_missing(workers)
            recipe = making.write_learned(root, workers)
            results = making.make_shards(root, recipe, workers)
    dropped = [*corpus.unlabelled, *(drop for result in results for drop in result.shard.drops)]
    outcome = Outcome("sample", corpus.count, corpus.count - len(dropped), dropped)
    records = workspace.work / EXTRACT_FOLDER
    write_dropped(records / "dropped.parquet", "extract", "sample", outcome.dropped)
    check_machine_drops(outcome, workspace.run.allow_machine_drops)
    check_kept(outcome, params)
    manifest = write_dataset(root, recipe, list(zip(corpus.shards, results, strict=True)))
    check_written(root, manifest, outcome.kept)
    record = encode_canonical(describe_making(params, manifest.hash, corpus.plan.modalities), indent=1) + b"\n"
    write_file(records / "extract_record.json", [record])
    notes = [*describe_dataset(manifest), *making.describe()]
    return replace(outcome, notes=notes), corpus.folders.objects, use


def check_kept(outcome: Outcome, params: ExtractParams) -> None:
    """Stop before anything is put together where too little is left."""
    check_drop_share(outcome, params.max_dropped, "extract.max_dropped")
    if outcome.kept == 0:
        raise InputError(f"no sample is left to write: {outcome.count_reasons()}")


def check_written(root: Path, manifest: Manifest, samples: int) -> None:
    """Hold what was written to the plan: the manifest, the indexes, the shards' sizes, the count.

    The bytes of each shard were read back, or held to their sha256, by the task that made it.

    Raises:
        CountMismatch: something differs: a fault of ours.
    """
    if read_manifest(root).hash != manifest.hash:
        raise CountMismatch(f"{root.name} has another manifest than was written")
    for name, split in manifest.splits.items():
        read_index(root / name / split.index.name, manifest.fields, split)
        for shard in split.shards:
            if (root / name / shard.name).stat().st_size != shard.bytes:
                raise CountMismatch(f"{name}/{shard.name} has another size than was written")
    written = sum(split.samples for split in manifest.splits.values())
    if written != samples:
        raise CountMismatch(f"{samples} samples were kept, {written} are in the shards")


def describe_dataset(manifest: Manifest) -> list[str]:
    """The notes of the summary line: what is in each split, how large it is, and the dataset's name."""
    shards = [shard for split in manifest.splits.values() for shard in split.shards]
    counts = ", ".join(f"{name} {manifest.splits[name].samples}" for name in SPLITS if name in manifest.splits)
    size = sum(shard.bytes for shard in shards) / 1e6
    return [f"{counts} samples in {len(shards)} shards, {size:.1f} MB; dataset {manifest.hash[:12]}"]
