"""Write and read `model.json`: what is known of a trained model besides its weights."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.models.inputs import PartInput
from shardwright.errors import FormatError
from shardwright.format.canonical_json import decode_json, encode_canonical, hash_canonical
from shardwright.format.dataclass_json import load_value

RECORD_NAME = "model.json"
FORMAT = "shardwright-model"
VERSION = 3


@dataclass(frozen=True)
class Architecture:
    """All that it takes to build a trunk, except its weights; the head follows from the task and its plan.

    Attributes:
        inputs: the parts, in the order of the columns of `present`.
        encoders: the name of each modality's encoder; each of its parts has one of its own.
        width: of each part's embedding.
        fusion: its name; None for a task that keeps the parts apart.
        dropout: between fusion and head.
        sizes: of each modality's encoder, see `pipeline.models.encoders.options.list_sizes`.
    """

    inputs: tuple[PartInput, ...]
    encoders: Mapping[str, str]
    width: int
    fusion: str | None
    dropout: float
    sizes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


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
