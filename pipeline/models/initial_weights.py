"""Start an encoder from weights in a file, and freeze it.

A file is safetensors, or what `torch.save` wrote of tensors by name, which is read without executing code. It has the
weights of one encoder, as torchvision's files have, or those of a model that this project trained, beside its
`model.json`.
"""

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.models.inputs import PartInput
from pipeline.models.record import RECORD_NAME, read_record

OUTLET = "outlet."
OPTIONAL = ("scale.", OUTLET)
"""What a file may lack: the statistics of the dataset and the last layer. An outlet of another width is not taken."""

WRAPPERS = ("state_dict", "model")
"""Keys under which files have the weights beside other things."""

MOST_NAMED = 4
"""Weights in a message."""


def load_initial_weights(encoder: nn.Module, source: PartInput, path: Path, block: str = "train.encoders") -> str:
    """Give an encoder of the part `source` the weights of a file, and return how many of its own those are. The `block`
    of the params names the file.

    Of videos, a file for images gives the weights of the encoder of each frame.

    Raises:
        InputError: the file cannot be read, or has not the weights that the encoder has; the message names the setting,
            the file, and the weights that are missing, unexpected, or of another shape.
    """
    where = f"{block}.{source.modality}.init_from is {path}"
    weights = choose_encoder(read_weights(path, where), source, path, where)
    target = encoder
    if hasattr(encoder, "frames") and not any(name.startswith("frames.") for name in weights):
        target = encoder.get_submodule("frames")
    unused = tuple(getattr(target, "unused_weights", ()))
    given = {name: value for name, value in weights.items() if not (unused and name.startswith(unused))}
    own = target.state_dict()
    other = {
        name
        for name, value in given.items()
        if name in own and value.shape != own[name].shape and not name.startswith(OUTLET)
    }
    faults = [
        _list_names("lacks", [name for name in own if name not in given and not _may_lack(name)]),
        _list_names("has, but the encoder has not,", [name for name in given if name not in own]),
        _list_names(
            "has in another shape",
            [f"{name} {_show(given[name])} for {_show(own[name])}" for name in own if name in other],
        ),
    ]
    if any(faults):
        raise InputError(f"{where}; it must have the weights of the encoder: it " + "; it ".join(filter(None, faults)))
    taken = {name: value for name, value in given.items() if value.shape == own[name].shape}
    target.load_state_dict(taken, strict=False)
    return f"{len(taken)} of {len(own)} tensors"


def read_weights(path: Path, where: str) -> dict[str, Tensor]:
    """Return the tensors of a file by name; messages begin with `where`, the setting and its value.

    Raises:
        InputError: it is missing, or neither safetensors nor tensors by name.
    """
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load(path.read_bytes())
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"{where}, which cannot be read ({error.strerror}): name a file of weights") from None
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{where}, which is neither safetensors nor a file of tensors alone: {reason}") from None
    for wrapper in WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise InputError(f"{where}, which must hold tensors by name, alone or under {' or '.join(WRAPPERS)}")
    return dict(loaded)


def choose_encoder(weights: dict[str, Tensor], source: PartInput, path: Path, where: str) -> dict[str, Tensor]:
    """Return the weights of one encoder: of a whole model those of the part with the same name, else those of the only
    part of the same modality.

    Raises:
        InputError: the file has a whole model without such a part, or without its record.
    """
    if not any(name.startswith("encoders.") for name in weights):
        return weights
    if not (path.parent / RECORD_NAME).is_file():
        raise InputError(f"{where}, which has the weights of a whole model: put its {RECORD_NAME} beside it")
    inputs = read_record(path.parent).architecture.inputs
    kinds = {source.modality, "image"} if source.modality == "video" else {source.modality}
    same = [one for one in inputs if one.modality in kinds]
    chosen = [one for one in same if one.part == source.part] or same
    if len(chosen) != 1:
        parts = ", ".join(f"{one.part} ({one.modality})" for one in inputs)
        raise InputError(
            f"{where}, a model of {parts}; it must have a part {source.part}, or one part of "
            f"the modality {source.modality}"
        )
    prefix = f"encoders.{inputs.index(chosen[0])}."
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def freeze_encoder(encoder: nn.Module) -> None:
    """Keep all weights but those of the last layer, also in training, where the encoder stays as in evaluation: without
    dropout, and with the running statistics of batch norms. Of videos that holds for the encoder of each frame."""
    target = encoder.get_submodule("frames") if hasattr(encoder, "frames") else encoder
    target.frozen = True  # type: ignore[assignment]
    for name, parameter in target.named_parameters():
        parameter.requires_grad_(name.startswith(OUTLET))


def _may_lack(name: str) -> bool:
    return name.startswith(OPTIONAL) or name.endswith("num_batches_tracked")  # which old files of PyTorch lack


def _list_names(verb: str, names: Sequence[str]) -> str:
    """Return `lacks a, b and 3 more`, or nothing."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{verb} {', '.join(names[:MOST_NAMED])}{more}" if names else ""


def _show(value: Tensor) -> str:
    return f"({', '.join(map(str, value.shape))})"
