"""The step: shards in, a model folder out."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import InputError
from pipeline.runtime.run_stage import Workspace
from pipeline.tables.contracts import MODEL_FOLDER, SHARDS_FOLDER
from pipeline.tables.drops import Outcome
from pipeline.train.params import TrainParams
from shardwright.format.canonical_json import decode_json

if TYPE_CHECKING:
    from pipeline.models.model import Architecture
    from pipeline.train.training_loop import TrainingResult
    from shardwright import ShardDataset


def train(params: TrainParams, workspace: Workspace) -> Outcome:
    """Train on the split `train`, watch `val`, and write `6_model/`: `best.safetensors`, `last.safetensors`,
    `model.json` (see `ModelRecord`) and `history.tsv` (a row an epoch).

    Bit-identical on the same machine. Where `val` has no samples, training runs for all epochs and the last one
    counts as the best.

    Raises:
        InputError: the dataset is missing, damaged, without training samples or without labels, or lacks a modality.
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
    architecture = plan_architecture(params, data)
    with deterministic_mode(params.seed, params.threads):
        device = choose_device(params.device)
        result = fit(Model(architecture).to(device), data, val, params, workspace.run)
    folder = workspace.work / MODEL_FOLDER
    folder.mkdir(parents=True)
    write_model(folder, architecture, data, params, result)
    seen = len(data) + (0 if val is None else len(val))
    return Outcome("sample", seen, seen, notes=describe_fit(result, data.classes or ()))


def plan_architecture(params: TrainParams, data: "ShardDataset") -> "Architecture":
    """The model for the dataset.

    Raises:
        InputError: the dataset has no labels, or lacks a modality that `train.modalities` names.
    """
    from pipeline.models.inputs import read_inputs
    from pipeline.models.model import Architecture

    if not data.classes or "label" not in data.fields:
        raise InputError(f"{data.root} has no labels to learn: align.label says where they come from")
    return Architecture(
        inputs=read_inputs(data.root, data.manifest, params.modalities),
        encoders={name: getattr(params.encoders, name) for name in params.modalities},
        width=params.width,
        fusion=params.fusion,
        dropout=params.dropout,
        classes=len(data.classes),
    )


def write_model(
    folder: Path, architecture: "Architecture", data: "ShardDataset", params: TrainParams, result: "TrainingResult"
) -> None:
    """Write the model's four files into `folder`; and the tokenizer, where token ids stand for parts of words."""
    import torch

    from pipeline.models.checkpoint import BEST, LAST, ModelRecord, write_record, write_weights
    from pipeline.models.inputs import read_vocabulary
    from pipeline.train.history import HISTORY_NAME, write_history

    assert result.best is not None, "there is at least one epoch"
    record = ModelRecord(
        architecture=architecture,
        classes=tuple(data.classes or ()),
        dataset=data.hash,
        fields={name: field.to_json() for name, field in data.fields.items()},
        extract=dict(data.manifest.extract or {}),
        vocabulary=tuple(read_vocabulary(data.root, data.manifest)),
        params=params.model_dump(mode="json"),
        best=asdict(result.best),
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
    """Give the model the tokenizer of its dataset, and its sha256 by name, if it has one: words are in the record."""
    from pipeline.models.inputs import has_words, read_vocabulary_file

    record = data.manifest.vocabulary
    content = b"" if record is None else read_vocabulary_file(data.root, record)
    if record is None or has_words(decode_json(content)):
        return {}
    (folder / record.name).write_bytes(content)
    return {record.name: record.sha256}


def describe_fit(result: "TrainingResult", classes: Sequence[str]) -> list[str]:
    """Lines for the summary: the best epoch and its scores, and the classes that there was nothing to learn from."""
    assert result.best is not None, "there is at least one epoch"
    best, epochs = result.best, len(result.history)
    lines = [f"no validation samples: the last of {epochs} epochs is taken"]
    if best.val_macro_f1 is not None:
        scores = f"validation macro F1 {best.val_macro_f1:.3f}, accuracy {best.val_accuracy:.3f}"
        lines = [f"best epoch {best.epoch} of {epochs}: {scores}"]
    absent = [name for name, count in zip(classes, result.counts.tolist(), strict=True) if count == 0]
    if absent:
        lines.append(f"no training sample of {len(absent)} of {len(classes)} classes: {', '.join(absent)}")
    return lines
