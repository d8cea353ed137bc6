"""Encode items by a frozen encoder, one at a time: a vector depends on no other item, and on no number of workers.

PyTorch has one thread in each process that encodes.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.params import Params
from pipeline.errors import InputError, ParamsError
from pipeline.extract.feature_entry import Fields, check_arrays, encode_arrays, measure_arrays, shorten_text
from pipeline.extract.vector_params import CHOICES
from pipeline.incremental.pack_index import Entry
from pipeline.incremental.rejections import encode_rejection
from pipeline.modalities.modality import MediaItem, Value
from pipeline.modalities.table import MODALITIES
from pipeline.modalities.text.tokenizer_document import list_tokens
from pipeline.runtime.stopwatch import clock
from pipeline.tables.drops import Rejection
from shardwright.format.canonical_json import decode_json, encode_canonical
from shardwright.format.field import Field
from shardwright.format.jpeg import decode_jpeg

if TYPE_CHECKING:
    from torch import nn

    from pipeline.models.inputs import PartInput

BLOCK = "extract.vectors"


@dataclass(frozen=True)
class FrozenEncoder:
    """The encoder of the items of a modality.

    Attributes:
        modality: of the items.
        choice: its name and options, as canonical JSON.
        params: of the modality's features, which it encodes.
        content: the field that it reads, by name, and the one with its length, if it has one.
        spec: of the field that it reads.
        files: of its weights, and what else it is built from, with the sha256 of each.
    """

    modality: str
    choice: bytes
    params: Params
    content: tuple[str, ...]
    spec: Field
    files: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """Of the field with the vectors."""
        return f"{self.modality}_vector"

    def plan_field(self) -> Field:
        """Return the field: float32 (channels,), axes C, the input of the encoder's last layer."""
        import torch
        from torch import nn

        with torch.device("meta"):
            outlet = build_encoder(self)[0].get_submodule("outlet")
        sizes = [layer.in_features for layer in outlet.modules() if isinstance(layer, nn.Linear)]
        return Field("float32", (sizes[0],), axes="C")

    def describe(self) -> dict[str, Any]:
        """Return what names the encoder in the manifest and in cache keys."""
        return {"encoder": decode_json(self.choice), "files": dict(self.files)}

    def encode(self, arrays: Mapping[str, Value]) -> NDArray[np.float32]:
        """Return the vector, float32 (channels,), of the arrays of an item.

        Raises:
            InputError: the weights are not those of the encoder.
        """
        import torch

        encoder = load_encoder(self)
        values = [arrays[name] for name in self.content]
        pixels = [
            decode_jpeg(np.frombuffer(each, np.uint8), self.spec.shape) if isinstance(each, bytes) else each
            for each in values
        ]
        with clock("encode"), torch.inference_mode():
            vector = encoder(*(torch.from_numpy(np.array(each))[None] for each in pixels))
        found: NDArray[np.float32] = vector.pooled[0].numpy()
        return found


def compute_encoded_entry(item: MediaItem, encoder: FrozenEncoder, fields: Fields, key: bytes) -> Entry:
    """Compute the entry of an item as `compute_entry`, with its vector: the last of the fields, or one more piece of a
    parsed item, whose arrays are those of the frozen vocabulary."""
    modality, params = MODALITIES[encoder.modality], encoder.params
    own = {name: field for name, field in fields.items() if name != encoder.name}
    pieces: list[bytes] = []
    if modality.learning is None:
        checked = check_arrays(modality.extract(item, params, None), own)
    else:
        parsed = modality.learning.parse(item, params)
        if isinstance(parsed, Rejection):
            return encode_rejection(key, parsed)
        encoded = modality.learning.encode(parsed, params, read_vocabulary(encoder))
        checked = check_arrays(encoded if isinstance(encoded, Rejection) else encoded.arrays, own)
        pieces = [encode_canonical(parsed), shorten_text(item.data)]
    if not isinstance(checked, Rejection):
        checked = check_arrays({**checked, encoder.name: encoder.encode(checked)}, fields)
    if isinstance(checked, Rejection):
        return encode_rejection(key, checked)
    if pieces:
        return Entry(key, [*pieces, *encode_arrays(checked, {encoder.name: fields[encoder.name]})])
    return Entry(key, encode_arrays(checked, fields), record=measure_arrays(checked, fields))


def plan_encoder(modality: str, options: Params, params: Params) -> FrozenEncoder:
    """Return the encoder that the params name, for the features of a modality.

    Raises:
        InputError: a file is missing.
        ParamsError: it cannot read the features; the message names the setting.
    """
    from pipeline.models.inputs import holds_ids

    fields = MODALITIES[modality].plan_fields(params)
    name = next(iter(fields))
    if holds_ids(fields[name]) and getattr(params, "frozen", None) is None:
        raise ParamsError(
            f"{BLOCK}.{modality} is set, so extract.{modality}.frozen must name the vocabulary of its encoder"
        )
    if modality == "image" and fields[name].dtype != "uint8":
        raise ParamsError(f"{BLOCK}.image is set, so extract.image.dtype must be uint8")
    content = (name, f"{name}_length") if f"{name}_length" in fields else (name,)
    choice = encode_canonical(options.model_dump(mode="json"))
    return FrozenEncoder(modality, choice, params, content, fields[name], hash_files(modality, options))


def hash_files(modality: str, options: Params) -> tuple[tuple[str, str], ...]:
    """Return the files that an encoder is made of, with the sha256 of each.

    Raises:
        InputError: one is missing; the message names the setting.
    """
    from pipeline.models.pretrained_folder import list_folder_files
    from pipeline.models.record import RECORD_NAME

    folder: str | None = getattr(options, "folder", None)
    if folder is not None:
        paths = list_folder_files(Path(folder), BLOCK)
    else:
        path = Path(find_file(options))
        record = path.with_name(RECORD_NAME)
        paths = [path, *([record] if record.is_file() else [])]
    try:
        return tuple((str(path), hashlib.sha256(path.read_bytes()).hexdigest()) for path in paths)
    except OSError as error:
        raise InputError(
            f"{BLOCK}.{modality}.init_from is {paths[0]}, which cannot be read ({error.strerror})"
        ) from None


@cache
def read_vocabulary(frozen: FrozenEncoder) -> Any:
    """Return the frozen vocabulary of the items; None where they have none."""
    learning = MODALITIES[frozen.modality].learning
    return None if learning is None else learning.read_frozen(frozen.params)


def find_file(options: Params) -> str:
    """Return the file of an encoder's weights."""
    path: str = dict(options)["init_from"]
    return path


def build_encoder(frozen: FrozenEncoder) -> "tuple[nn.Module, PartInput, Params]":
    """Return the network with random weights, its input, and its options.

    Statistics of the dataset are not known yet: those of the weights' own dataset scale the input.
    """
    from pipeline.models.encoders import build
    from pipeline.models.inputs import PartInput
    from pipeline.models.pretrained_folder import read_sizes

    document = decode_json(frozen.choice)
    types = CHOICES[frozen.modality]
    options = types.types.get(document["name"], types.other).model_validate(document)
    learned = read_vocabulary(frozen)
    channels = 0 if learned is not None else frozen.spec.shape[-1]
    source = PartInput(
        part=frozen.modality,
        modality=frozen.modality,
        field=frozen.content[0],
        shape=frozen.spec.shape,
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
        words=0 if learned is None else count_tokens(learned),
    )
    return build.build_encoder(source, 1, document["name"], read_sizes(options, BLOCK)), source, options


def count_tokens(learned: Any) -> int:
    """Return how many different ids a frozen vocabulary has."""
    return len(learned["words"] if "words" in learned else list_tokens(learned))


@cache
def load_encoder(frozen: FrozenEncoder) -> "nn.Module":
    """Return the network with its weights, without its last layer, in evaluation.

    Raises:
        InputError: the weights are not its own, or lack the statistics that scale its input.
    """
    import torch
    from torch import nn

    from pipeline.models.initial_weights import load_initial_weights
    from pipeline.models.pretrained_folder import load_folder

    torch.set_num_threads(1)
    encoder, source, options = build_encoder(frozen)
    folder: str | None = getattr(options, "folder", None)
    if folder is not None:
        load_folder(encoder, Path(folder), list_tokens(read_vocabulary(frozen)), BLOCK)
    else:
        path = Path(find_file(options))
        load_initial_weights(encoder, source, path, BLOCK)
        scale = getattr(encoder, "scale", None)
        if scale is not None and not scale.mean.any():
            raise InputError(
                f"{BLOCK}.{frozen.modality}.init_from is {path}, which has no statistics to scale the input by: set "
                "scale: imagenet, or name a model that was trained here"
            )
    encoder.outlet = nn.Identity()
    return encoder.eval()
