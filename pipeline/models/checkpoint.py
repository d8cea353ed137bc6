"""A trained model on disk: the weights as safetensors, everything else as JSON; nothing in it is ever executed."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from pipeline.errors import InputError
from pipeline.models.model import Architecture, Model
from shardwright.errors import FormatError
from shardwright.format.canonical_json import decode_json, encode_canonical, hash_canonical
from shardwright.format.dataclass_json import load_value

RECORD_NAME = "model.json"
BEST = "best.safetensors"
LAST = "last.safetensors"
FORMAT = "shardwright-model"
VERSION = 1


@dataclass(frozen=True)
class ModelRecord:
    """`model.json`: all that prediction, evaluation and a doubting reader need beside the weights.

    Attributes:
        architecture: of the model.
        classes: what its outputs are, in order.
        dataset: hash of the dataset that it was trained on.
        fields: of that dataset.
        extract: how those were computed, to compute them the same way for a new sample.
        vocabulary: the words that token ids count through, or parts of words; these are found by the `tokenizer.json`
            beside the weights.
        params: the block `train` of `params.yaml`.
        best: the epoch whose weights are the best, counted from 1, and its scores.
        made_with: release of PyTorch and type of device, on which the bits of the weights depend.
        weights: sha256 by file, that of a `tokenizer.json` too.
    """

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


def write_weights(path: Path, state: Mapping[str, Tensor]) -> str:
    """Write a model's state and give the file's sha256. The same state gives the same bytes."""
    data = safetensors.torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()})
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def write_record(folder: Path, record: ModelRecord) -> None:
    """Write `model.json`; its `hash` is the sha256 of the rest as canonical JSON."""
    document = {"format": FORMAT, "version": VERSION, **asdict(record)}
    document["hash"] = hash_canonical(document)
    (folder / RECORD_NAME).write_bytes(encode_canonical(document, indent=1) + b"\n")


def read_record(folder: Path) -> ModelRecord:
    """What `write_record` wrote.

    Raises:
        InputError: it is missing, damaged, something else, or of another version.
    """
    path = folder / RECORD_NAME
    try:
        document = decode_json(path.read_bytes())
        if not isinstance(document, dict) or (document.get("format"), document.get("version")) != (FORMAT, VERSION):
            raise InputError(f"{path} is not a model of this version: run `dvc repro` again")
        if document.pop("hash", None) != hash_canonical(document):
            raise InputError(f"{path} was edited or is damaged, its hash is not that of its content: train again")
        parts = {name: part for name, part in document.items() if name not in ("format", "version")}
        record: ModelRecord = load_value(ModelRecord, parts, "the model")
    except FileNotFoundError:
        raise InputError(f"{path} is missing: train a model first (`dvc repro`)") from None
    except FormatError as error:
        raise InputError(f"{path}: {error}: run `dvc repro` again") from error
    return record


def load_model(folder: Path, name: str = BEST) -> tuple[Model, ModelRecord]:
    """A model with the weights of the file `name`, ready to predict, and its record.

    Raises:
        InputError: a file is missing, or the weights are not those that the record names.
    """
    record = read_record(folder)
    try:
        data = (folder / name).read_bytes()
    except OSError:
        raise InputError(f"{folder / name} is missing: run `dvc repro` again") from None
    if hashlib.sha256(data).hexdigest() != record.weights.get(name):
        raise InputError(
            f"{folder / name} is damaged, its sha256 is not the one in {RECORD_NAME}: run `dvc repro` again"
        )
    try:
        model = Model(record.architecture)
        model.load_state_dict(safetensors.torch.load(data))
    except (KeyError, RuntimeError, safetensors.SafetensorError) as error:  # as encoders change between releases
        raise InputError(f"{folder}: its weights do not fit the model that it describes: train again") from error
    return model.eval(), record
