"""Read from the manifest what a model sees of each part of a sample: its fields, shapes and statistics."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError
from pipeline.modalities.text.tokenizer_document import find_unknown, list_marks
from pipeline.modalities.text.tokenizer_document import list_tokens as list_pieces
from shardwright.format.canonical_json import decode_json
from shardwright.format.field import Field
from shardwright.format.manifest import FileRecord, Manifest

if TYPE_CHECKING:
    from torch import Tensor

UNKNOWN = 1
"""The id of the unknown word; in somebody else's tokenizer without one it is some token."""

MIN_STD = 1e-3
"""The least standard deviation of a channel: dividing by less would blow up the noise of a nearly constant one."""


@dataclass(frozen=True)
class PartInput:
    """One part of a dataset's samples, as a model sees it.

    Attributes:
        part: its name.
        modality: of its items.
        field: the field that holds it.
        shape: of one item of that field: image (height, width, channels), audio (frames, coefficients), text (tokens,),
            video (frames, height, width, channels); of several fields of ids (tokens, fields).
        length: the field with the number of valid frames or tokens, or None.
        present: the field that is 0 where a sample lacks the part, or None where every sample has it.
        mean: over the training split, one a channel or coefficient, in the field's unit; empty for token ids.
        std: standard deviation, likewise.
        words: for token ids, the number of tokens in the vocabulary; else 0.
        count: the field with the number of items where a sample may have several: the arrays of `field` and `length`
            then have an axis for the items before their own. None where it has one.
        joined: further fields, whose values stand beside those of `field` on the last axis; `shape`, `mean` and `std`
            are those of all together.
        joined_words: where these hold ids, how many different ones each has.
        unknown: the id of the unknown word.
        marks: further ids that are no words, such as those of the start and the end of a text.
    """

    part: str
    modality: str
    field: str
    shape: tuple[int, ...]
    length: str | None = None
    present: str | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    words: int = 0
    count: str | None = None
    joined: tuple[str, ...] = ()
    joined_words: tuple[int, ...] = ()
    unknown: int = UNKNOWN
    marks: tuple[int, ...] = ()

    @property
    def fields(self) -> tuple[str, ...]:
        """All fields that the model reads of the part."""
        others = (self.length, self.present, self.count)
        return tuple(dict.fromkeys([self.field, *self.joined, *(name for name in others if name is not None)]))

    @property
    def name(self) -> str:
        """Where a batch may have the values of all fields together: `mfcc`, `mfcc+mfcc_delta`."""
        return "+".join([self.field, *self.joined])


def read_values(batch: Mapping[str, "Tensor"], source: PartInput) -> "Tensor":
    """Return the values of a part, (batch, *shape): those under its name, as augmentation leaves them, or its fields
    side by side; several ids a token are int32."""
    if source.name in batch:
        return batch[source.name]
    import torch

    values = [batch[name] for name in (source.field, *source.joined)]
    return torch.stack([ids.int() for ids in values], dim=-1) if source.words else torch.cat(values, dim=-1)


def list_parts(manifest: Manifest) -> dict[str, str]:
    """Return the modality of each part of a dataset, in the order of their fields."""
    extract: Mapping[str, Any] = manifest.extract or {}
    fields, named = extract.get("modalities", {}), extract.get("parts", {})
    order = list(manifest.fields)
    return {part: named.get(part, part) for part in sorted(fields, key=lambda part: order.index(fields[part][0]))}


def find_content(manifest: Manifest, part: str) -> str:
    """Return the field of a part that models see and pages show."""
    name: str = (manifest.extract or {})["modalities"][part][0]
    return name


def read_inputs(root: Path, manifest: Manifest, modalities: Sequence[str]) -> tuple[PartInput, ...]:
    """Return the inputs for all parts of these `modalities`, in that order, from the dataset in `root`; parts of one
    modality in the order of their fields.

    Raises:
        InputError: a modality is not in the dataset, or its token ids have no vocabulary; the message names the
            setting, the modality, and what the dataset has.
    """
    known = list_parts(manifest)
    if not known:
        raise InputError(f"{root} has no modality that a model could see: make it with `dvc repro`")
    for modality in modalities:
        if modality not in known.values():
            present = ", ".join(dict.fromkeys(known.values()))
            raise InputError(
                f"train.modalities has `{modality}`, but the dataset in {root} has {present}: take it out, or add it "
                "to align.modalities or align.parts"
            )
    document = read_token_document(root, manifest)
    inputs = tuple(
        _read_input(manifest, part, modality, document)
        for chosen in modalities
        for part, modality in known.items()
        if modality == chosen
    )
    for source in inputs:
        if holds_ids(manifest.fields[source.field]) and document is None:
            raise InputError(
                f"{root}: the field `{source.field}` holds token ids, but the dataset has no vocabulary: "
                "run `dvc repro` again"
            )
    return inputs


def _read_input(manifest: Manifest, part: str, modality: str, document: Mapping[str, Any] | None) -> PartInput:
    name = find_content(manifest, part)
    length, present, count = (
        other if other in manifest.fields else None for other in (f"{name}_length", f"{part}_present", f"{part}_count")
    )
    statistics = (manifest.statistics or {}).get(name)
    field = manifest.fields[name]
    is_words = document is None or has_words(document)
    unknown = None if document is None or is_words else find_unknown(document)
    return PartInput(
        part=part,
        modality=modality,
        field=name,
        shape=tuple(field.shape if count is None else field.shape[1:]),
        length=length,
        present=present,
        mean=() if statistics is None else tuple(statistics.mean),
        std=() if statistics is None else tuple(max(std, MIN_STD) for std in statistics.std),
        words=len(list_tokens(document)) if document is not None and holds_ids(field) else 0,
        count=count,
        unknown=UNKNOWN if unknown is None else unknown,
        marks=() if document is None or is_words else list_marks(document),
    )


def holds_ids(field: Field) -> bool:
    """Return whether an item of the field is a sequence of whole numbers."""
    return field.axes in ("T", "NT") and "int" in field.dtype


def read_vocabulary(root: Path, manifest: Manifest) -> list[str]:
    """Return the tokens by id: words, or the parts of words of a `tokenizer.json`.

    0 is padding, 1 every unknown word. Empty where no field holds token ids; "" for an id that a foreign tokenizer
    leaves out.

    Raises:
        InputError: the vocabulary's file is missing, or is not the one that the dataset was made with.
    """
    document = read_token_document(root, manifest)
    return [] if document is None else list_tokens(document)


def read_token_document(root: Path, manifest: Manifest) -> Mapping[str, Any] | None:
    """Return the content of `vocabulary.json` or `tokenizer.json`; None where no field holds token ids.

    Raises:
        InputError: as `read_vocabulary`.
    """
    if manifest.vocabulary is None:
        return None
    document: Mapping[str, Any] = decode_json(read_vocabulary_file(root, manifest.vocabulary))
    return document


def has_words(document: Mapping[str, Any]) -> bool:
    """Return whether the document is a list of words, not a tokenizer that finds parts of words."""
    return "words" in document


def list_tokens(document: Mapping[str, Any]) -> list[str]:
    """Return the tokens of a `vocabulary.json` or a `tokenizer.json` by id."""
    if has_words(document):
        words: list[str] = document["words"]
        return words
    return list_pieces(document)


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
