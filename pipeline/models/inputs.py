"""What a model sees of a dataset: which fields a modality has there, and how they are scaled."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from shardwright.format.canonical_json import decode_json
from shardwright.format.manifest import FileRecord, Manifest

MIN_STD = 1e-3
"""Of a channel that hardly varies in training: dividing by less would blow noise up into a signal."""


@dataclass(frozen=True)
class ModalityInput:
    """One modality of the shards.

    Attributes:
        modality: its name.
        field: the field that holds it.
        shape: of one sample of that field: image (height, width, channels), audio (frames, coefficients), text
            (tokens,), video (frames, height, width, channels).
        length: the field with the number of valid frames or tokens, or None.
        present: the field that says whether a sample has the modality at all, or None where every sample has it.
        mean: over the training split, one a channel or coefficient, in the field's unit; empty for token ids.
        std: likewise.
        words: the size of the vocabulary that token ids count through; 0 where there is none.
    """

    modality: str
    field: str
    shape: tuple[int, ...]
    length: str | None = None
    present: str | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    words: int = 0


def read_inputs(root: Path, manifest: Manifest, modalities: Sequence[str]) -> tuple[ModalityInput, ...]:
    """The inputs for `modalities`, in that order, from the dataset in `root`.

    Raises:
        InputError: a modality is not in the dataset, or its token ids have no vocabulary; the message names it, the
            setting, and what there is.
    """
    known: Mapping[str, Sequence[str]] = (manifest.extract or {}).get("modalities", {})
    for modality in modalities:
        if modality not in known:
            there = ", ".join(known) or "no modality"
            raise InputError(f"train.modalities has `{modality}`, the dataset in {root} has {there}: edit params.yaml")
    words = len(read_vocabulary(root, manifest))
    inputs = tuple(_read_input(manifest, modality, known[modality], words) for modality in modalities)
    for source in inputs:
        if source.modality == "text" and source.words == 0:
            raise InputError(f"the dataset in {root} has token ids in `{source.field}` and no vocabulary for them")
    return inputs


def _read_input(manifest: Manifest, modality: str, names: Sequence[str], words: int) -> ModalityInput:
    value, *_ = names
    length, present = f"{value}_length", f"{modality}_present"
    statistics = (manifest.statistics or {}).get(value)
    field = manifest.fields[value]
    return ModalityInput(
        modality=modality,
        field=value,
        shape=tuple(field.shape),
        length=length if length in manifest.fields else None,
        present=present if present in manifest.fields else None,
        mean=() if statistics is None else tuple(statistics.mean),
        std=() if statistics is None else tuple(max(std, MIN_STD) for std in statistics.std),
        words=words if modality == "text" else 0,
    )


def read_vocabulary(root: Path, manifest: Manifest) -> list[str]:
    """The words that token ids count through, or the parts of words of a `tokenizer.json`: 0 is padding, 1 stands for
    every unknown word; empty where no field holds token ids. An id that a foreign tokenizer leaves out is "".

    Raises:
        InputError: the vocabulary's file is missing, or is not the one that the dataset was made with.
    """
    if manifest.vocabulary is None:
        return []
    return list_tokens(decode_json(read_vocabulary_file(root, manifest.vocabulary)))


def has_words(document: Mapping[str, Any]) -> bool:
    """Whether it is a list of words, and no tokenizer that finds parts of words."""
    return "words" in document


def list_tokens(document: Mapping[str, Any]) -> list[str]:
    """The tokens of a `vocabulary.json` or a `tokenizer.json`, by id."""
    if has_words(document):
        words: list[str] = document["words"]
        return words
    ids: dict[str, int] = document["model"]["vocab"]
    by_id = {number: token for token, number in ids.items()}
    by_id |= {token["id"]: token["content"] for token in document.get("added_tokens") or []}
    return [by_id.get(number, "") for number in range(max(by_id) + 1)]


def read_vocabulary_file(root: Path, record: FileRecord) -> bytes:
    """The content of the file that token ids refer to.

    Raises:
        InputError: it is missing, or is not the one that the dataset was made with.
    """
    path = root / record.name
    try:
        content = path.read_bytes()
    except OSError:
        raise InputError(f"{path} is missing: run `dvc repro` again") from None
    if hashlib.sha256(content).hexdigest() != record.sha256:
        raise InputError(f"{path} is damaged, its sha256 is not the one in the manifest: run `dvc repro` again")
    return content
