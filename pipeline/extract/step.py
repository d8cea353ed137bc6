"""The step: plan everything, learn, make the shards in parallel, and write down what they are."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.contracts import EXTRACT_FOLDER, SHARDS_FOLDER, SPLITS
from pipeline.errors import InputError, LedgerError, PipelineError
from pipeline.execute import Workers, open_workers
from pipeline.extract.dataset import write_dataset
from pipeline.extract.fields import FieldPlan, plan_fields
from pipeline.extract.learn import TRAIN, find_learner, learn
from pipeline.extract.params import ExtractParams
from pipeline.extract.plan import PlannedShard, plan_shards
from pipeline.extract.provenance import describe_making
from pipeline.extract.samples import check_label, find_classes, read_samples
from pipeline.extract.shard import Learned, Recipe, ShardResult, ShardTask, extract_shard
from pipeline.modalities.table import MODALITIES
from pipeline.params import Params, RunParams
from pipeline.progress import show_progress
from pipeline.records import Outcome, check_drop_share
from pipeline.stage import Workspace
from pipeline.tables import write_dropped
from shardwright.canonical import encode_canonical
from shardwright.manifest import Manifest
from shardwright.publish import write_file
from shardwright.verification import verify

VOCABULARY = "vocabulary.json"


def extract(params: ExtractParams, workspace: Workspace) -> Outcome:
    """Make `5_shards` and `5_extract` of what `align` put together; counts samples.

    Raises:
        InputError: nothing was aligned, no sample is left, or something that a modality needs is missing here.
        TooManyDrops: more was dropped than `extract.max_dropped` allows.
        PipelineError: a task failed; the message names its shard, and the sample where it is known.
    """
    data, root = workspace.data.resolve(), workspace.work.resolve() / SHARDS_FOLDER
    samples = read_samples(data)
    classes = find_classes(samples, params.classes)
    unlabelled = {sample.key: drop for sample in samples if (drop := check_label(sample, classes))}
    usable = [sample for sample in samples if sample.key not in unlabelled]
    plan = plan_fields(usable, params, classes)
    shards = plan_shards(usable, plan, params)
    with open_workers(workspace.run, len(shards)) as workers:
        prepare_modalities(plan, workers)
        recipe = Recipe(plan, write_learned(root, plan, shards, data, workers))
        tasks = [plan_task(shard, root, data, recipe) for shard in shards]
        results = make_shards(tasks, workers, workspace.run)
    dropped = unlabelled | {drop.key: drop for result in results for drop in result.drops}
    kept = [sample for sample in samples if sample.key not in dropped]
    outcome = Outcome("sample", len(samples), len(kept), list(dropped.values()))
    records = workspace.work / EXTRACT_FOLDER
    write_dropped(records / "dropped.parquet", "extract", "sample", outcome.dropped)
    check_kept(outcome, params)
    manifest = write_dataset(root, recipe, list(zip(shards, results, strict=True)), kept)
    making = encode_canonical(describe_making(params, manifest.hash), indent=1) + b"\n"
    write_file(records / "extract_record.json", [making])
    check_written(root, outcome.kept)
    return replace(outcome, notes=describe_dataset(manifest))


def prepare_modalities(plan: FieldPlan, workers: Workers) -> None:
    """See, before any work, that every modality in use has what it needs.

    In the workers: they have to load the tokenizer anyway, which takes 2 s that would pass twice here.
    """
    for _ in workers.run_tasks(prepare_modality, list(plan.params.items())):
        pass


def prepare_modality(task: tuple[str, Params]) -> None:
    """The task of one modality and its params."""
    name, params = task
    MODALITIES[name].prepare(params)


def write_learned(
    root: Path, plan: FieldPlan, shards: Sequence[PlannedShard], data: Path, workers: Workers
) -> Learned | None:
    """Write what a modality learned from the training split beside where the shards will be."""
    root.mkdir(parents=True)
    modality = find_learner(plan)
    if modality is None:
        return None
    content = encode_canonical(learn(modality, plan, shards, data, workers), indent=1) + b"\n"
    write_file(root / VOCABULARY, [content])
    return Learned(modality, root / VOCABULARY, hashlib.sha256(content).hexdigest())


def plan_task(shard: PlannedShard, root: Path, data: Path, recipe: Recipe) -> ShardTask:
    """The task that makes a shard; statistics are over the training split."""
    return ShardTask(root / shard.split / shard.name, data, shard.samples, recipe, moments=shard.split == TRAIN)


def make_shards(tasks: Sequence[ShardTask], workers: Workers, run: RunParams) -> list[ShardResult]:
    """The results of the tasks, in their order. The largest go first: the last one to end should be short."""
    order = sorted(range(len(tasks)), key=lambda number: -len(tasks[number].samples))
    finished = workers.run_tasks(extract_shard, [tasks[number] for number in order])
    results = dict(show_progress(finished, len(tasks), "shards", run))
    return [results[place] for place in sorted(results, key=lambda place: order[place])]


def check_kept(outcome: Outcome, params: ExtractParams) -> None:
    """Stop before anything is put together where too little is left."""
    check_drop_share(outcome, params.max_dropped, "extract.max_dropped")
    if outcome.kept == 0:
        raise InputError(f"no sample is left to write: {outcome.count_reasons()}")


def check_written(root: Path, samples: int) -> None:
    """Read everything back and hold it to its hashes and to the count: some 1 GB/s, where making it takes hours.

    Raises:
        PipelineError: something is not as it was written: a fault of the disk or of ours.
    """
    report = verify(root)
    if not report.ok:
        raise PipelineError(f"the shards are not as they were written: {'; '.join(map(str, report.problems[:5]))}")
    if report.samples != samples:
        raise LedgerError(f"{samples} samples were kept, {report.samples} are in the shards")


def describe_dataset(manifest: Manifest) -> list[str]:
    """The notes of the summary line: what is in each split, how large it is, and the dataset's name."""
    shards = [shard for split in manifest.splits.values() for shard in split.shards]
    counts = ", ".join(f"{name} {manifest.splits[name].samples}" for name in SPLITS if name in manifest.splits)
    size = sum(shard.bytes for shard in shards) / 1e6
    return [f"{counts} samples in {len(shards)} shards, {size:.1f} MB; dataset {manifest.hash[:12]}"]
