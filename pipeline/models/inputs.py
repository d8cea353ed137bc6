"""Read from the manifest what a model sees of each modality: its fields, shapes and statistics."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from shardwright.format.canonical_json import decode_json
from shardwright.format.field import Field
from shardwright.format.manifest import FileRecord, Manifest

MIN_STD = 1e-3
"""The least standard deviation of a channel: dividing by less would blow up the noise of a nearly constant one."""


@dataclass(frozen=True)
class ModalityInput:
    """One modality of a dataset, as a model sees it.

    Attributes:
        modality: its name.
        field: the field that holds it.
        shape: of one sample of that field: image (height, width, channels), audio (frames, coefficients), text
            (tokens,), video (frames, height, width, channels).
        length: the field with the number of valid frames or tokens, or None.
        present: the field that is 0 where a sample lacks the modality, or None where every sample has it.
        mean: over the training split, one a channel or coefficient, in the field's unit; empty for token ids.
        std: standard deviation, likewise.
        words: for token ids, the number of tokens in the vocabulary; else 0.
    """

    modality: str
    field: str
    shape: tuple[int, ...]
    length: str | None = None
    present: str | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    words: int = 0


def list_modalities(manifest: Manifest) -> Mapping[str, Sequence[str]]:
    """Return the modalities of a dataset by name, each with its fields, the one that models see first."""
    modalities: Mapping[str, Sequence[str]] = (manifest.extract or {}).get("modalities", {})
    return modalities


def read_inputs(root: Path, manifest: Manifest, modalities: Sequence[str]) -> tuple[ModalityInput, ...]:
    """Return the inputs for `modalities`, in that order, from the dataset in `root`.

    Raises:
        InputError: a modality is not in the dataset, or its token ids have no vocabulary; the message names the
            setting, the modality, and what the dataset has.
    """
    known = list_modalities(manifest)
    if not known:
        raise InputError(f"{root} has no modality that a model could see: make it with `dvc repro`")
    for modality in modalities:
        if modality not in known:
            present = ", ".join(known)
            raise InputError(
                f"train.modalities has `{modality}`, but the dataset in {root} has {present}: take it out, or add it "
                "to align.modalities"
            )
    words = len(read_vocabulary(root, manifest))
    inputs = tuple(_read_input(manifest, modality, known[modality][0], words) for modality in modalities)
    for source in inputs:
        if _holds_token_ids(manifest.fields[source.field]) and words == 0:
            raise InputError(
                f"{root}: the field `{source.field}` holds token ids, but the dataset has no vocabulary: "
                "run `dvc repro` again"
            )
    return inputs


def _read_input(manifest: Manifest, modality: str, name: str, words: int) -> ModalityInput:
    length, present = f"{name}_length", f"{modality}_present"
    statistics = (manifest.statistics or {}).get(name)
    field = manifest.fields[name]
    return ModalityInput(
        modality=modality,
        field=name,
        shape=tuple(field.shape),
        length=length if length in manifest.fields else None,
        present=present if present in manifest.fields else None,
        mean=() if statistics is None else tuple(statistics.mean),
        std=() if statistics is None else tuple(max(std, MIN_STD) for std in statistics.std),
        words=words if _holds_token_ids(field) else 0,
    )


def _holds_token_ids(field: Field) -> bool:
    """Return whether a sample of the field is a sequence of whole numbers."""
    return field.axes == "T" and "int" in field.dtype


def read_vocabulary(root: Path, manifest: Manifest) -> list[str]:
    """Return the tokens by id: words, or the parts of words of a `tokenizer.json`.

    0 is padding, 1 every unknown word. Empty where no field holds token ids; "" for an id that a foreign tokenizer
    leaves out.

    Raises:
        InputError: the vocabulary's file is missing, or is not the one that the dataset was made with.
    """
    if manifest.vocabulary is None:
        return []
    return list_tokens(decode_json(read_vocabulary_file(root, manifest.vocabulary)))


def has_words(document: Mapping[str, Any]) -> bool:
    """Return whether the document is a list of words, not a tokenizer that finds parts of words."""
    return "words" in document


def list_tokens(document: Mapping[str, Any]) -> list[str]:
    """Return the tokens of a `vocabulary.json` or a `tokenizer.json` by id."""
    if has_words(document):
        words: list[str] = document["words"]
        return words
    ids: dict[str, int] = document["model"]["vocab"]
    by_id = {number: token for token, number in ids.items()}
    by_id |= {token["id"]: token["content"] for token in document.get("added_tokens") or []}
    return [by_id.get(number, "") for number in range(max(by_id) + 1)]


def read_vocabulary_file(root: Path, record: FileRecord) -> bytes:
    """Return the content of the file with the tokens.

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
