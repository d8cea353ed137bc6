"""Puts the manifest together from what the tasks gave back, in the order of the shards."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pipeline.extract.fields import FieldPlan
from pipeline.extract.moments import Moments
from pipeline.extract.plan import PlannedShard
from pipeline.extract.provenance import Terms, list_sources
from pipeline.extract.recipe import Recipe
from pipeline.extract.shard import ShardResult
from shardwright.manifest import FileRecord, Manifest, Split, Statistics, write_manifest
from shardwright.writer import write_split

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


def join_statistics(parts: Iterable[Mapping[str, Moments]]) -> dict[str, Statistics] | None:
    """The statistics of each field that has any, from the moments of the training shards in their order."""
    joined: dict[str, Moments] = {}
    for part in parts:
        for name, moments in part.items():
            joined[name] = joined[name].add(moments) if name in joined else moments
    return {name: moments.describe() for name, moments in joined.items() if moments.count} or None
