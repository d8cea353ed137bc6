"""Start the encoders of a model as `train.encoders` says: from weights in files, frozen or not."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import InputError
from pipeline.models.encoders.options import FolderOptions, TrainingOptions
from pipeline.train.params import TrainParams

if TYPE_CHECKING:
    from torch import nn

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
    from pipeline.models.pretrained_folder import list_folder_files
    from pipeline.models.word_vectors import list_vector_files

    hashes: dict[str, str] = {}
    for modality in modalities:
        options = read_options(params, modality)
        files = {"init_from": [] if options.init_from is None else [Path(options.init_from)]}
        files["vectors"] = [] if (vectors := getattr(options, "vectors", None)) is None else list_vector_files(vectors)
        if isinstance(options, FolderOptions):
            files["folder"] = list_folder_files(Path(options.folder))
        for key, paths in files.items():
            hashes |= {str(path): hash_file(path, f"train.encoders.{modality}.{key}") for path in paths}
    return hashes


def hash_file(path: Path, setting: str) -> str:
    """Return the sha256 of a file that a setting names.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(
            f"{setting} is {path}, which cannot be read ({error.strerror}): name a file of weights"
        ) from None


def prepare_encoders(model: "Model", params: TrainParams, vocabulary: Sequence[str]) -> list[str]:
    """Give a new model's encoders the weights to start from, freeze those that are to be, and return a line for each
    file.

    Raises:
        InputError: a file has not the weights of its encoder, or no vectors for the tokens of the vocabulary.
    """
    from pipeline.models.initial_weights import freeze_encoder, load_initial_weights
    from pipeline.models.pretrained_folder import load_folder
    from pipeline.models.word_vectors import load_word_vectors

    notes = []
    for source, encoder in zip(model.inputs, model.encoders, strict=True):
        options = read_options(params, source.modality)
        if isinstance(options, FolderOptions):
            taken = load_folder(encoder, Path(options.folder), vocabulary)
            notes.append(f"{source.part} starts from {options.folder}: {taken}")
        if options.init_from is not None:
            taken = load_initial_weights(encoder, source, Path(options.init_from))
            notes.append(f"{source.part} starts from {options.init_from}: {taken}")
        vectors = getattr(options, "vectors", None)
        if vectors is not None:
            taken = load_word_vectors(find_embedding(encoder, options.name), vocabulary, vectors)
            notes.append(f"{source.part} starts from {vectors}: {taken}")
        if options.freeze:
            freeze_encoder(encoder)
    return notes


def find_embedding(encoder: "nn.Module", name: str) -> "nn.Embedding":
    """Return the embeddings of tokens of an encoder.

    Raises:
        InputError: it has none of the name `words`.
    """
    from torch import nn

    words = getattr(encoder, "words", None)
    if not isinstance(words, nn.Embedding):
        raise InputError(f"train.encoders.text.vectors is set, but {name} has no embedding `words`: take it out")
    return words
