"""Run the stage train: read the shards, write a model folder."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import InputError
from pipeline.runtime.run_stage import Workspace
from pipeline.tables.contracts import MODALITIES, MODEL_FOLDER, SHARDS_FOLDER
from pipeline.tables.drops import Outcome
from pipeline.tasks.metrics.table import SCORES
from pipeline.tasks.table import TASKS
from pipeline.train.params import TrainParams
from shardwright.format.canonical_json import decode_json

if TYPE_CHECKING:
    from pipeline.models.model import Architecture
    from pipeline.tasks.task import Task
    from pipeline.train.training_loop import TrainingResult
    from shardwright import ShardDataset


def train(params: TrainParams, workspace: Workspace) -> Outcome:
    """Train on the split `train`, validate on `val`, and write `6_model/`.

    The folder holds `best.safetensors`, `last.safetensors`, `model.json` (see `ModelRecord`) and `history.tsv` (a row
    an epoch). All are bit-identical on the same machine. Where `val` has no samples, training runs for all epochs and
    the last one counts as the best.

    Raises:
        InputError: the dataset is missing, damaged, without training samples, without what the task learns, or lacks a
            modality.
        PipelineError: the loss is not a number; the message has the keys of the batch.
    """
    from pipeline.models.batches import check_splits, open_split
    from pipeline.models.determinism import choose_device, deterministic_mode
    from pipeline.models.model import Model
    from pipeline.train.training_loop import fit

    root = workspace.data / SHARDS_FOLDER
    data, val = open_split(root, "train"), open_split(root, "val")
    if data is None:
        raise InputError(f"{root} has no samples in the split `train`: look at align.split and align.shares")
    check_splits(root)
    task = TASKS[params.task]
    architecture = plan_architecture(params, task, data)
    with deterministic_mode(params.seed, params.threads):
        device = choose_device(params.device)
        result = fit(Model(architecture).to(device), (data, val), task, params, workspace.run)
    folder = workspace.work / MODEL_FOLDER
    folder.mkdir(parents=True)
    write_model(folder, architecture, data, params, result)
    seen = len(data) + (0 if val is None else len(val))
    notes = [describe_fit(result), *task.describe_targets(result.counts.tolist(), data.classes or ())]
    return Outcome("sample", seen, seen, notes=notes, worked=seen * len(result.history))


def plan_architecture(params: TrainParams, task: "Task", data: "ShardDataset") -> "Architecture":
    """Return the architecture of the model for the dataset.

    Raises:
        InputError: the dataset lacks what the task learns, or a modality that `train.modalities` names.
    """
    from pipeline.models.inputs import list_parts, read_inputs
    from pipeline.models.model import Architecture

    present = set(list_parts(data.manifest).values())
    modalities = params.modalities or tuple(name for name in MODALITIES if name in present)
    return Architecture(
        outputs=task.count_outputs(data),
        inputs=read_inputs(data.root, data.manifest, modalities),
        encoders={name: getattr(params.encoders, name) for name in modalities},
        width=params.width,
        fusion=params.fusion,
        dropout=params.dropout,
    )


def write_model(
    folder: Path, architecture: "Architecture", data: "ShardDataset", params: TrainParams, result: "TrainingResult"
) -> None:
    """Write the model's four files into `folder`, and the tokenizer where token ids are parts of words."""
    import torch

    from pipeline.models.checkpoint import BEST, LAST, ModelRecord, write_record, write_weights
    from pipeline.models.history import HISTORY_NAME, write_history
    from pipeline.models.inputs import read_vocabulary

    assert result.best is not None, "there is at least one epoch"
    record = ModelRecord(
        task=params.task,
        architecture=architecture,
        classes=tuple(data.classes or ()),
        dataset=data.hash,
        fields={name: field.to_json() for name, field in data.fields.items()},
        extract=dict(data.manifest.extract or {}),
        vocabulary=tuple(read_vocabulary(data.root, data.manifest)),
        params=params.model_dump(mode="json"),
        best=result.best.to_row(),
        made_with={"torch": torch.__version__, "device": next(iter(result.best_state.values())).device.type},
        weights={
            BEST: write_weights(folder / BEST, result.best_state),
            LAST: write_weights(folder / LAST, result.last_state),
            **copy_tokenizer(data, folder),
        },
    )
    write_record(folder, record)
    write_history(folder / HISTORY_NAME, result.history)


def copy_tokenizer(data: "ShardDataset", folder: Path) -> dict[str, str]:
    """Copy the dataset's `tokenizer.json` to the model, and return its sha256 by name.

    A vocabulary of words is not copied, as the model's record has the words.
    """
    from pipeline.models.inputs import has_words, read_vocabulary_file

    record = data.manifest.vocabulary
    content = b"" if record is None else read_vocabulary_file(data.root, record)
    if record is None or has_words(decode_json(content)):
        return {}
    (folder / record.name).write_bytes(content)
    return {record.name: record.sha256}


def describe_fit(result: "TrainingResult") -> str:
    """Return the best epoch and its scores, for the summary."""
    assert result.best is not None, "there is at least one epoch"
    best, epochs = result.best, len(result.history)
    scores = [f"{SCORES[name].title} {value:.3f}" for name, value in best.val_scores.items() if value is not None]
    if not scores:
        return f"no validation samples: the last of {epochs} epochs is taken"
    return f"best epoch {best.number} of {epochs}: validation {', '.join(reversed(scores))}"
