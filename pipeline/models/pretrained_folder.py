"""Start an encoder from a folder that Hugging Face's `transformers` wrote: `config.json`, weights as safetensors, and
`tokenizer.json`. Nothing is downloaded, and no code of the folder is executed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from pipeline.config.params import Params
from pipeline.errors import InputError
from pipeline.modalities.text.tokenizer_document import list_tokens
from pipeline.models.encoders.options import list_sizes
from shardwright.errors import FormatError
from shardwright.format.canonical_json import decode_json

CONFIG, TOKENIZER, WEIGHTS = "config.json", "tokenizer.json", "*.safetensors"
TRAIN = "train.encoders"
"""The block of the params that names the folder, unless a caller says another."""

PASSING = ("_name_or_path", "transformers_version", "auto_map", "dtype", "torch_dtype")
"""Keys of a `config.json` that say where it came from, or how to load it."""


def list_folder_files(folder: Path, block: str = TRAIN) -> list[Path]:
    """Return the files of a folder that decide what the encoder gives, sorted.

    Raises:
        InputError: one is missing; the message names the setting.
    """
    weights = sorted(folder.glob(WEIGHTS))
    for name, there in {
        CONFIG: (folder / CONFIG).is_file(),
        TOKENIZER: (folder / TOKENIZER).is_file(),
        WEIGHTS: bool(weights),
    }.items():
        if not there:
            raise InputError(
                f"{block}.text.folder is {folder}, which has no {name}: name a folder that transformers wrote"
            )
    return [folder / CONFIG, *weights, folder / TOKENIZER]


def read_sizes(options: Params, block: str = TRAIN) -> dict[str, Any]:
    """Return the options that belong to the model, as JSON, with what the folder of a network says of it.

    Raises:
        InputError: the folder lacks a file.
    """
    sizes = list_sizes(options)
    folder: str | None = getattr(options, "folder", None)
    return sizes if folder is None else sizes | {"config": read_config(Path(folder), block) | sizes["config"]}


def read_config(folder: Path, block: str = TRAIN) -> dict[str, Any]:
    """Return the `config.json` of a folder, without what says where it came from.

    Raises:
        InputError: a file of the folder is missing, or is not JSON.
    """
    config = read_json(list_folder_files(folder, block)[0], block)
    return {name: value for name, value in config.items() if name not in PASSING}


def read_json(path: Path, block: str) -> dict[str, Any]:
    """Return the content of a JSON file of the folder.

    Raises:
        InputError: it is no JSON object.
    """
    try:
        document = decode_json(path.read_bytes())
    except FormatError as error:
        raise InputError(f"{block}.text.folder: {path} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise InputError(f"{block}.text.folder: {path} is not a JSON object")
    return document


def load_folder(encoder: nn.Module, folder: Path, vocabulary: Sequence[str], block: str = TRAIN) -> str:
    """Give the `network` of an encoder the weights of a folder, and return how many tensors those are.

    Raises:
        InputError: its tokenizer has not the tokens of the dataset, or its weights are not those of its network.
    """
    from transformers import AutoModel
    from transformers.utils.logging import disable_progress_bar

    if list(vocabulary) != list_tokens(read_json(folder / TOKENIZER, block)):
        raise InputError(
            f"{block}.text.folder is {folder}, whose {TOKENIZER} has other tokens than the dataset: set "
            f"extract.text.tokenizer: file, and extract.text.frozen to {folder / TOKENIZER}"
        )
    disable_progress_bar()
    network: Any = encoder.get_submodule("network")
    try:
        loaded, report = AutoModel.from_pretrained(
            str(folder),
            config=network.config,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{block}.text.folder is {folder}, whose weights cannot be read: {reason}") from None
    own = network.state_dict()
    if lacking := sorted(set(report["missing_keys"]) & own.keys()):
        raise InputError(f"{block}.text.folder is {folder}, whose weights lack {lacking[0]} of {len(own)} tensors")
    network.load_state_dict({name: value for name, value in loaded.state_dict().items() if name in own})
    return f"{len(own)} tensors"
