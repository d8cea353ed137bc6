"""Save the weights of a model as safetensors, and load a trained model: no code is executed."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from pipeline.config.plugins import is_plugin
from pipeline.errors import InputError
from pipeline.models.model import Model
from pipeline.models.record import RECORD_NAME, ModelRecord, read_record
from pipeline.tasks.table import TASKS
from shardwright.errors import FormatError
from shardwright.format.dataclass_json import load_value

BEST = "best.safetensors"
LAST = "last.safetensors"


def write_weights(path: Path, state: Mapping[str, Tensor]) -> str:
    """Write a model's state and return the file's sha256. The same state gives the same bytes."""
    data = encode_weights(state)
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def encode_weights(state: Mapping[str, Tensor]) -> bytes:
    """Return tensors as safetensors. The same tensors give the same bytes."""
    return safetensors.torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()})


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
