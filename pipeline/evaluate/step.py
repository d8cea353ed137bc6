"""Run the stage evaluate: read the shards and the model, write a report."""

import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pipeline.errors import InputError
from pipeline.evaluate.metadata import GROUP, read_categories
from pipeline.evaluate.own_metrics import describe_own, measure_own
from pipeline.evaluate.params import EvaluateParams
from pipeline.evaluate.redacted import report_redacted
from pipeline.evaluate.summary import summarize_run
from pipeline.evaluate.supplement import Supplement, extend_report
from pipeline.models.untrained import Untrained, read_untrained
from pipeline.runtime.run_stage import Workspace
from pipeline.tables.contracts import MODEL_FOLDER, REPORT_FOLDER, SHARDS_FOLDER
from pipeline.tables.drops import Outcome

if TYPE_CHECKING:
    from pipeline.models.model import Model
    from pipeline.models.record import ModelRecord
    from pipeline.tasks.task import Predictions
    from shardwright import ShardDataset


def evaluate(params: EvaluateParams, workspace: Workspace) -> Outcome:
    """Measure the best weights on `params.split` and write `7_report/`.

    The folder holds `metrics.json`, `summary.json`, `predictions`, `index.html`, and tables (`.csv`) and figures
    (`.png`) of the task that the model was trained for, see `TaskReport`. A split without samples gives scores that are
    null, with the reason.

    Raises:
        InputError: dataset or model are missing or damaged, or the model was trained on another dataset; the message
            has both hashes.
    """
    from pipeline.evaluate.leaks import find_leaks
    from pipeline.evaluate.measure import measure_predictions
    from pipeline.evaluate.report import Evaluated, write_report
    from pipeline.models.batches import check_splits, open_split
    from pipeline.models.checkpoint import load_model
    from pipeline.tasks.kept_predictions import KeptPredictions, write_kept

    source, root = workspace.data / MODEL_FOLDER, workspace.data / SHARDS_FOLDER
    if (untrained := read_untrained(source)) is not None:
        return report_dataset(params, workspace, untrained)
    model, record = load_model(source)
    check_dataset(root, record.dataset, source)
    check_splits(root)
    data = open_split(root, params.split)
    columns = read_categories(data, params.slices)
    folder = workspace.work / REPORT_FOLDER
    folder.mkdir(parents=True)
    with TemporaryDirectory(dir=workspace.work) as files:
        start = time.perf_counter()
        predictions, noise = predict_split(model, record, (params, workspace), data, Path(files))
        seconds = time.perf_counter() - start
        predictions = replace(predictions, group_numbers=columns[GROUP].numbers)
        own = measure_own(params.metrics, predictions, record.classes)
        further = [
            Supplement(own, notes=describe_own(own)),
            *noise,
            find_leaks(workspace.data, params.split, Path(files), workspace.run),
            report_redacted(workspace.data),
        ]
        further += compare_seeds(predictions, model, (params, workspace), data, Path(files))
        measured = measure_predictions(predictions, model, params, columns, further)
        metrics, report = measured.metrics, measured.report
        summary = {**summarize_run(workspace.data, metrics), **measured.summary}
        described = model.task.describe_model(model.plan)
        write_report(folder, Evaluated(metrics, summary, report, record, described, model.task.scores, data), source)
        write_kept(folder, KeptPredictions(predictions, record.task, model.plan, record.dataset, params.split))
    samples, notes = len(predictions.keys), list(measured.notes)
    if samples:
        notes.append(f"read and predicted in {seconds:.1f} s, {samples / max(seconds, 1e-9):,.0f} samples/s")
    return Outcome("sample", samples, samples, notes=notes)


def predict_split(
    model: "Model",
    record: "ModelRecord",
    how: tuple[EvaluateParams, Workspace],
    data: "ShardDataset | None",
    folder: Path,
) -> "tuple[Predictions, list[Supplement]]":
    """Predict the samples of a split with the threads that the model was trained with, columns in `folder`; and with
    the noise of the params, if any, which is the supplement."""
    from pipeline.evaluate.noise import NoiseMeters
    from pipeline.evaluate.predict import predict, read_keys, read_split
    from pipeline.models.determinism import choose_device, deterministic_mode
    from pipeline.models.text_decoder import DatasetDecoder

    params, workspace = how
    with deterministic_mode(seed=0, threads=record.params["threads"]):
        device = choose_device("cpu" if record.params["device"] == "cpu" else "auto")
        noise = NoiseMeters(model.to(device), params.noise)
        batches = read_split(data, params, workspace.run)
        predictions = predict(model, noise.watch(batches) if params.noise else batches, read_keys(data), folder)
        found = [noise.report()] if params.noise else []
    return replace(predictions, decode=DatasetDecoder(workspace.data / SHARDS_FOLDER)), found


def compare_seeds(
    first: "Predictions",
    model: "Model",
    how: tuple[EvaluateParams, Workspace],
    data: "ShardDataset | None",
    folder: Path,
) -> "list[Supplement]":
    """Measure the models of the other seeds too, and the mean of what all predict; nothing where there is one seed."""
    from pipeline.evaluate.seeds import measure_seeds
    from pipeline.models.checkpoint import load_model
    from pipeline.models.seed_folders import list_seed_folders

    task, plan = model.task, model.plan
    folders = list_seed_folders(how[1].data / MODEL_FOLDER)
    if not folders or task.tabulate is None:
        return []
    predicted = {}
    for number, (seed, source) in enumerate(folders.items()):
        if number == 0:
            predicted[seed] = first
            continue
        files = folder / f"seed-{seed}"
        files.mkdir()
        plain = (how[0].model_copy(update={"noise": {}}), how[1])
        predictions, _ = predict_split(*load_model(source), plain, data, files)
        predicted[seed] = replace(predictions, group_numbers=first.groups)
    scores = {seed: task.tabulate(each, plan).score() for seed, each in predicted.items()}
    ensemble = None
    if task.average is not None:
        columns = task.average([each.columns for each in predicted.values()], plan)
        ensemble = task.tabulate(replace(first, columns=columns, derived={}), plan).score()
    return [measure_seeds(scores, ensemble)]


def check_dataset(root: Path, trained: str, model: Path) -> None:
    """Check that the dataset in `root` is the one with the hash `trained`, with which the folder `model` was made.

    Raises:
        InputError: it is another one; the message has both hashes.
    """
    from pipeline.models.batches import read_dataset_hash

    dataset = read_dataset_hash(root)
    if dataset != trained:
        raise InputError(f"{model} was trained on the dataset {trained}, {root} is {dataset}: train it again")


def report_dataset(params: EvaluateParams, workspace: Workspace, untrained: Untrained) -> Outcome:
    """Report on a dataset from which nothing can be learned: `7_report/` has the same files but for those on a model.

    Raises:
        InputError: the dataset is another one than `train` saw.
    """
    from pipeline.evaluate.dataset_report import describe_dataset, measure_dataset
    from pipeline.evaluate.page import Page
    from pipeline.evaluate.report import write_dataset_report
    from shardwright import read_manifest

    root = workspace.data / SHARDS_FOLDER
    check_dataset(root, untrained.dataset, workspace.data / MODEL_FOLDER)
    manifest = read_manifest(root)
    metrics = measure_dataset(manifest, params.split, untrained)
    redacted = report_redacted(workspace.data)
    summary = {**summarize_run(workspace.data, metrics), **redacted.summary}
    report = extend_report(describe_dataset(manifest, summary, untrained), [redacted])
    folder = workspace.work / REPORT_FOLDER
    folder.mkdir(parents=True)
    page = Page(params.split, untrained.dataset, "A dataset without a model.", report, {}, [])
    write_dataset_report(folder, page, metrics, summary)
    samples = metrics["samples"]
    notes = ["there is no model to measure: the report is on the dataset alone"]
    return Outcome("sample", samples, samples, notes=notes)
