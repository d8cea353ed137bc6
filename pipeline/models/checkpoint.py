"""Save and load a trained model: the weights as safetensors, all else as JSON, so that loading executes no code."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from pipeline.config.plugins import is_plugin
from pipeline.errors import InputError
from pipeline.models.model import Architecture, Model
from pipeline.tasks.table import TASKS
from shardwright.errors import FormatError
from shardwright.format.canonical_json import decode_json, encode_canonical, hash_canonical
from shardwright.format.dataclass_json import load_value

RECORD_NAME = "model.json"
BEST = "best.safetensors"
LAST = "last.safetensors"
FORMAT = "shardwright-model"
VERSION = 3


@dataclass(frozen=True)
class ModelRecord:
    """`model.json`: what prediction and evaluation need beside the weights, and how the model was made.

    Attributes:
        task: the name of what it was trained for, from `TASKS`.
        plan: what that task learns from the dataset, see `pipeline.tasks.task.Plan`.
        architecture: of the model without its head, which follows from task and plan.
        classes: the names of the labels, in the order of their numbers; empty where the dataset has none.
        dataset: hash of the dataset that it was trained on.
        fields: of that dataset.
        extract: the parameters that computed them, to compute the same fields of a new sample.
        vocabulary: the tokens by id: words, or the parts of words that the `tokenizer.json` beside the weights finds.
        params: the block `train` of `params.yaml`.
        best: the epoch with the best weights, counted from 1, and its row of the history.
        made_with: the release of PyTorch and the type of device, on which the bits of the weights depend.
        weights: sha256 of each file, also of a `tokenizer.json`.
        initial_weights: sha256 of each file that an encoder started from, by its name in the params.
    """

    task: str
    plan: Mapping[str, Any]
    architecture: Architecture
    classes: tuple[str, ...]
    dataset: str
    fields: Mapping[str, Any]
    extract: Mapping[str, Any]
    vocabulary: tuple[str, ...]
    params: Mapping[str, Any]
    best: Mapping[str, Any]
    made_with: Mapping[str, str]
    weights: Mapping[str, str]
    initial_weights: Mapping[str, str]


def write_weights(path: Path, state: Mapping[str, Tensor]) -> str:
    """Write a model's state and return the file's sha256. The same state gives the same bytes."""
    data = encode_weights(state)
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def encode_weights(state: Mapping[str, Tensor]) -> bytes:
    """Return tensors as safetensors. The same tensors give the same bytes."""
    return safetensors.torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()})


def write_record(folder: Path, record: ModelRecord) -> None:
    """Write `model.json`; its `hash` is the sha256 of all its other keys as canonical JSON."""
    document = {"format": FORMAT, "version": VERSION, **asdict(record)}
    document["hash"] = hash_canonical(document)
    (folder / RECORD_NAME).write_bytes(encode_canonical(document, indent=1) + b"\n")


def read_record(folder: Path) -> ModelRecord:
    """Read what `write_record` wrote.

    Raises:
        InputError: it is missing, damaged, another kind of file, or of another version.
    """
    path = folder / RECORD_NAME
    try:
        document = decode_json(path.read_bytes())
        if not isinstance(document, dict) or (document.get("format"), document.get("version")) != (FORMAT, VERSION):
            raise InputError(f"{path} is not a model of version {VERSION}: train again (`dvc repro`)")
        if document.pop("hash", None) != hash_canonical(document):
            raise InputError(f"{path} was edited or is damaged, its content has another hash: train again")
        attributes = {name: value for name, value in document.items() if name not in ("format", "version")}
        record: ModelRecord = load_value(ModelRecord, attributes, "the model")
    except FileNotFoundError:
        raise InputError(f"{path} is missing: train a model first (`dvc repro`)") from None
    except FormatError as error:
        raise InputError(f"{path}: {error}: train again (`dvc repro`)") from error
    return record


def load_model(folder: Path, name: str = BEST) -> tuple[Model, ModelRecord]:
    """Load a model with the weights of the file `name`, ready to predict, and its record.

    Raises:
        InputError: a file is missing, the weights are not those that the record names, or do not fit the architecture,
            or the task is not known.
    """
    record = read_record(folder)
    if record.task not in TASKS and not is_plugin(record.task):
        raise InputError(
            f"{folder} was trained for the task `{record.task}`, known are {', '.join(TASKS)}: train again"
        )
    task = TASKS[record.task]
    try:
        data = (folder / name).read_bytes()
    except OSError:
        raise InputError(f"{folder / name} is missing: train again (`dvc repro`)") from None
    if hashlib.sha256(data).hexdigest() != record.weights.get(name):
        raise InputError(
            f"{folder / name} is damaged, its sha256 is not the one in {RECORD_NAME}: train again (`dvc repro`)"
        )
    try:
        plan = load_value(task.plan_type, record.plan, "the plan")
        model = Model(record.architecture, task, plan)
        model.load_state_dict(safetensors.torch.load(data))
    except (
        FormatError,
        KeyError,
        RuntimeError,
        safetensors.SafetensorError,
    ) as error:  # as encoders change between releases
        raise InputError(f"{folder}: the weights do not fit the architecture in {RECORD_NAME}: train again") from error
    return model.eval(), record
