"""Choose the fields of a part that a model sees, as `train.fields` says."""

from collections.abc import Sequence
from dataclasses import replace

from pipeline.errors import InputError
from pipeline.models.inputs import MIN_STD, PartInput, holds_ids, list_parts
from shardwright.format.field import Field
from shardwright.format.manifest import Manifest

FRAMES_AXES = ("TC", "NTC")
"""Of the features of audio, which encoders of audio read also where they are those of a video."""

VECTOR_AXES = ("C", "NC")
"""Of what frozen encoders have made of items."""

SOUND, VECTOR = "sound", "vector"

OWN_IDS = 256
"""Different ids of a field of uint8, such as parts of speech. Wider ids are those of the vocabulary."""


def choose_fields(source: PartInput, names: Sequence[str], manifest: Manifest) -> tuple[PartInput, ...]:
    """Return the inputs that see the fields `names` of a part.

    Fields are one input, side by side on the last axis; ids of tokens are summed as embeddings. The features of a
    video's audio are a part of its own, `<part>_sound`, which a video without audio lacks; so is the vector of an item,
    `<part>_vector`.

    Raises:
        InputError: a field is not one of the part's, or does not fit the others; the message names the setting.
    """
    fields = {name: manifest.fields[name] for name in _list_choices(source, manifest)}
    if unknown := [name for name in names if name not in fields]:
        raise InputError(
            f"train.fields.{source.part} has `{unknown[0]}`; it must name some of its fields {', '.join(fields)}"
        )
    kinds: dict[str, list[str]] = {}
    for name in names:
        kinds.setdefault(_find_kind(source, fields[name]), []).append(name)
    return tuple(
        _join_fields(_find_part(source, kind, own[0], manifest), own, manifest) for kind, own in sorted(kinds.items())
    )


def _list_choices(source: PartInput, manifest: Manifest) -> list[str]:
    """Return the fields of a part that hold values, not their length or count."""
    own: list[str] = (manifest.extract or {})["modalities"][source.part]
    return [name for name in own if len(manifest.fields[name].shape) > (source.count is not None)]


def _find_kind(source: PartInput, field: Field) -> str:
    """Return the kind of a field that is a part of its own, "" for the others."""
    if field.axes in VECTOR_AXES and not holds_ids(field):
        return VECTOR
    return SOUND if source.modality == "video" and field.axes in FRAMES_AXES else ""


def _find_part(source: PartInput, kind: str, name: str, manifest: Manifest) -> PartInput:
    """Return the part that fields of a kind are; a sample lacks the audio of a video that has no frame of it."""
    if not kind:
        return source
    part = f"{source.part}_{kind}"
    if part in list_parts(manifest):
        raise InputError(
            f"train.fields.{source.part} has `{name}`, which is the part `{part}`; but the dataset has a part of this "
            "name: give that another one in align.parts"
        )
    if kind == VECTOR:
        return replace(source, part=part, modality=VECTOR, length=None)
    length = f"{name}_length"
    return replace(source, part=part, modality="audio", length=length, present=length)


def _join_fields(source: PartInput, names: Sequence[str], manifest: Manifest) -> PartInput:
    """Return the input with the values of several fields side by side on the last axis."""
    first, *joined = fields = [manifest.fields[name] for name in names]
    for name, field in zip(names, fields, strict=True):
        if not _fit_together(first, field):
            raise InputError(
                f"train.fields.{source.part} has `{name}` {field.shape} beside `{names[0]}` {first.shape}; fields of "
                "one part must agree in all axes but the last, or be ids of the same tokens"
            )
    shape = tuple(first.shape if source.count is None else first.shape[1:])
    chosen = replace(source, field=names[0], joined=tuple(names[1:]), shape=shape, mean=(), std=())
    if holds_ids(first):
        counts = [OWN_IDS if field.dtype == "uint8" else source.words for field in fields]
        shape = (*shape, len(names)) if joined else shape
        return replace(chosen, words=counts[0], joined_words=tuple(counts[1:]), shape=shape)
    known = manifest.statistics or {}
    statistics = [known[name] for name in names] if all(name in known for name in names) else []
    return replace(
        chosen,
        words=0,
        shape=(*shape[:-1], sum(field.shape[-1] for field in fields)),
        mean=tuple(value for each in statistics for value in each.mean),
        std=tuple(max(value, MIN_STD) for each in statistics for value in each.std),
    )


def _fit_together(one: Field, other: Field) -> bool:
    if holds_ids(one) or holds_ids(other):
        return holds_ids(one) and holds_ids(other) and one.shape == other.shape
    return one.axes == other.axes and one.shape[:-1] == other.shape[:-1]
