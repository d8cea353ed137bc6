"""The step: plan everything, compute what the cache lacks, make the shards, and write down what they are."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from pipeline.cache.find import find_entries
from pipeline.cache.objects import Objects
from pipeline.cache.prune import Use, prune
from pipeline.contracts import EXTRACT_FOLDER, SHARDS_FOLDER, SPLITS
from pipeline.errors import InputError, LedgerError
from pipeline.execute import open_workers
from pipeline.extract.compute import load_libraries
from pipeline.extract.corpus import plan_corpus
from pipeline.extract.dataset import write_dataset
from pipeline.extract.making import Making
from pipeline.extract.params import ExtractParams
from pipeline.extract.provenance import describe_making
from pipeline.isolate.host import prepare_processes
from pipeline.records import Outcome, check_drop_share, check_machine_drops
from pipeline.stage import Workspace
from pipeline.tables import write_dropped
from shardwright.canonical import encode_canonical
from shardwright.index import read_index
from shardwright.manifest import Manifest, read_manifest
from shardwright.publish import write_file


def extract(params: ExtractParams, workspace: Workspace) -> Outcome:
    """Make `5_shards` and `5_extract` of what `align` put together; counts samples.

    Raises:
        InputError: nothing was aligned, no sample is left, or something that a modality needs is missing here.
        TooManyDrops: more was dropped than `extract.max_dropped` allows.
        MachineDrops: something was dropped because of this machine, and `run.allow_machine_drops` does not allow that.
        PipelineError: a task failed; the message names its shard, and the sample where it is known.
    """
    prepare_processes(workspace.run, partial(load_libraries, params))
    outcome, objects, use = make_dataset(params, workspace)  # all that it planned by is let go of
    if forgotten := prune(objects, use, workspace.run.cache_bytes):
        note = f"{forgotten / 1e9:.1f} GB that this run used had to leave the item cache: raise run.cache_bytes"
        return replace(outcome, notes=[*outcome.notes, note])
    return outcome


def make_dataset(params: ExtractParams, workspace: Workspace) -> tuple[Outcome, Objects, Use]:
    """Make everything, and say what was done with the item cache; raises what `extract` does."""
    root = workspace.work.resolve() / SHARDS_FOLDER
    corpus = plan_corpus(params, workspace)
    root.mkdir(parents=True)
    with corpus.folders.objects.hold():
        found = [wanted.found for wanted in corpus.wanted.values()]
        use = Use(damaged=set(find_entries(corpus.folders.objects, found)))
        making = Making(corpus, workspace.run, use)
        with open_workers(workspace.run, making.count_tasks(), [corpus.folders.data]) as workers:
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
        LedgerError: something differs: a fault of ours.
    """
    if read_manifest(root).hash != manifest.hash:
        raise LedgerError(f"{root.name} has another manifest than was written")
    for name, split in manifest.splits.items():
        read_index(root / name / split.index.name, manifest.fields, split)
        for shard in split.shards:
            if (root / name / shard.name).stat().st_size != shard.bytes:
                raise LedgerError(f"{name}/{shard.name} has another size than was written")
    written = sum(split.samples for split in manifest.splits.values())
    if written != samples:
        raise LedgerError(f"{samples} samples were kept, {written} are in the shards")


def describe_dataset(manifest: Manifest) -> list[str]:
    """The notes of the summary line: what is in each split, how large it is, and the dataset's name."""
    shards = [shard for split in manifest.splits.values() for shard in split.shards]
    counts = ", ".join(f"{name} {manifest.splits[name].samples}" for name in SPLITS if name in manifest.splits)
    size = sum(shard.bytes for shard in shards) / 1e6
    return [f"{counts} samples in {len(shards)} shards, {size:.1f} MB; dataset {manifest.hash[:12]}"]
