"""Start the encoders of a model as `train.encoders` says: from weights in files, frozen or not."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import InputError
from pipeline.models.encoders.options import TrainingOptions
from pipeline.train.params import TrainParams

if TYPE_CHECKING:
    from pipeline.models.model import Model


def read_options(params: TrainParams, modality: str) -> TrainingOptions:
    """Return how the encoders of a modality learn."""
    options: TrainingOptions = getattr(params.encoders, modality)
    return options


def hash_initial_weights(params: TrainParams, modalities: Iterable[str]) -> dict[str, str]:
    """Return the sha256 of each file that the encoders of these modalities start from, by the name in the params.

    Raises:
        InputError: a file cannot be read.
    """
    hashes = {}
    for modality in modalities:
        path = read_options(params, modality).init_from
        if path is None:
            continue
        try:
            with Path(path).open("rb") as file:
                hashes[path] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise InputError(
                f"train.encoders.{modality}.init_from is {path}, which cannot be read ({error.strerror}): "
                "name a file of weights"
            ) from None
    return hashes


def prepare_encoders(model: "Model", params: TrainParams) -> list[str]:
    """Give a new model's encoders the weights to start from, freeze those that are to be, and return a line for each.

    Raises:
        InputError: a file has not the weights of its encoder.
    """
    from pipeline.models.initial_weights import freeze_encoder, load_initial_weights

    notes = []
    for source, encoder in zip(model.inputs, model.encoders, strict=True):
        options = read_options(params, source.modality)
        if options.init_from is not None:
            taken = load_initial_weights(encoder, source, Path(options.init_from))
            notes.append(f"{source.part} starts from {options.init_from}: {taken}")
        if options.freeze:
            freeze_encoder(encoder)
    return notes
