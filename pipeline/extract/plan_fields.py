"""Plan the fields of a dataset, before any item is read."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from pipeline.config.params import Params
from pipeline.errors import ParamsError
from pipeline.extract.frozen_encoder import FrozenEncoder, plan_encoder
from pipeline.extract.params import ExtractParams
from pipeline.modalities.table import MODALITIES
from shardwright.errors import FormatError
from shardwright.format.field import NAME, Field

PRESENT = Field("uint8", (), unit="1 present, 0 absent")
COUNT = Field("int32", (), unit="items")
LABEL = Field("int64", (), unit="index into classes")

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class PartKind:
    """What is known of a part of all samples, see `pipeline.tables.contracts.PART_KINDS`.

    Attributes:
        modality: of its items.
        most: how many items it has at most; None: one.
        joiner: what stands between several items that are joined to one; None: they are not.
    """

    modality: str
    most: int | None = None
    joiner: str | None = None


@dataclass(frozen=True)
class FieldPlan:
    """The fields of a dataset, in order: those of each part, then `<part>_present`, then `label`.

    Attributes:
        fields: by name.
        params: the block of each modality in use.
        modalities: that of each part, in the order of the fields.
        names: the names of each part's fields, in the order of its modality's own.
        optional: the parts that some samples lack: their fields are then padding or zeros, and only they have a
            `<part>_present`.
        classes: the names that `label` is an index into; None without labels.
        most: the parts with several items, and how many at most: their fields have an axis of as many items before
            their own, with padding or zeros after the last, and a `<part>_count` follows them.
        joiners: the parts whose items are joined to one, and what stands between them.
        own: the fields of each modality by their own names.
        encoders: of the modalities whose items have a vector.
    """

    fields: Mapping[str, Field]
    params: Mapping[str, Params]
    modalities: Mapping[str, str]
    names: Mapping[str, tuple[str, ...]]
    optional: tuple[str, ...]
    classes: tuple[str, ...] | None
    most: Mapping[str, int] = field(default_factory=dict)
    joiners: Mapping[str, str] = field(default_factory=dict)
    own: Mapping[str, Mapping[str, Field]] = field(default_factory=dict)
    encoders: Mapping[str, FrozenEncoder] = field(default_factory=dict)

    def select_fields(self, part: str) -> dict[str, Field]:
        """Return the fields of one part, without its count."""
        return {name: self.fields[name] for name in self.names[part]}

    def group_items(self, part: str, items: Sequence[Item]) -> list[Sequence[Item]]:
        """Return the items of a part in groups that have one feature each: all where they are joined, else each."""
        if part in self.joiners:
            return [items] if items else []
        return [[item] for item in items]

    def list_names(self, part: str) -> list[str]:
        """Return the names of all fields of one part, with its count, but without `<part>_present`."""
        return [*self.names[part], *([f"{part}_count"] if part in self.most else [])]


def plan_fields(
    parts: Mapping[str, PartKind], lacking: Iterable[str], params: ExtractParams, classes: tuple[str, ...] | None
) -> FieldPlan:
    """Plan the fields of samples with these parts.

    Args:
        parts: each part, in the order of their fields.
        lacking: the parts that are absent in some samples.
        params: of the features.
        classes: of the labels.

    Raises:
        ParamsError: a field's name is too long or that of another, or the arrays of several items are too large or have
            no fixed size; the message names the setting.
    """
    modalities = {part: kind.modality for part, kind in parts.items()}
    joiners = {part: kind.joiner for part, kind in parts.items() if kind.joiner is not None}
    most = {part: kind.most for part, kind in parts.items() if kind.most is not None and part not in joiners}
    blocks = {modality: params.features[modality] for modality in modalities.values()}
    encoders = plan_encoders(blocks, joiners, modalities, params)
    own = {
        modality: {**MODALITIES[modality].plan_fields(block), **plan_vector(encoders.get(modality))}
        for modality, block in blocks.items()
    }
    optional = tuple(part for part in parts if part in set(lacking))
    planned: dict[str, dict[str, Field]] = {}
    names = {}
    for part, modality in modalities.items():
        renamed = {name_field(part, modality, name): spec for name, spec in own[modality].items()}
        names[part] = tuple(renamed)
        if part in most:
            stacked = {name: stack_field(part, modality, spec, most[part]) for name, spec in renamed.items()}
            renamed = stacked | {f"{part}_count": COUNT}
        planned[part] = renamed
    check_names({part: [*fields, *([f"{part}_present"] * (part in optional))] for part, fields in planned.items()})
    fields = {name: spec for each in planned.values() for name, spec in each.items()}
    fields |= {f"{part}_present": PRESENT for part in optional}
    if classes is not None:
        fields["label"] = LABEL
    return FieldPlan(fields, blocks, modalities, names, optional, classes, most, joiners, own, encoders)


def plan_encoders(
    blocks: Mapping[str, Params], joiners: Mapping[str, str], modalities: Mapping[str, str], params: ExtractParams
) -> dict[str, FrozenEncoder]:
    """Return the encoders of the modalities in use that have one.

    Raises:
        InputError: a file of an encoder is missing.
        ParamsError: an encoder cannot read the items, or those of a part are joined.
    """
    encoders = {}
    for modality, block in blocks.items():
        options = params.vectors.find(modality)
        if options is None:
            continue
        if joined := [part for part in joiners if modalities[part] == modality]:
            raise ParamsError(
                f"extract.vectors.{modality} is set, so align.parts.{joined[0]}.many must be all: "
                "a vector is of one item"
            )
        encoders[modality] = plan_encoder(modality, options, block)
    return encoders


def plan_vector(encoder: FrozenEncoder | None) -> dict[str, Field]:
    """Return the field of an encoder's vectors, if there is one."""
    return {} if encoder is None else {encoder.name: encoder.plan_field()}


def name_field(part: str, modality: str, name: str) -> str:
    """Return the name that a field of a modality has for a part.

    A part that is called after its modality keeps the field's own name. For others the part's name takes the place of
    `Modality.content`: of `tokens`, `tokens_length` and `lemmas` the part `caption` makes `caption`, `caption_length`
    and `caption_lemmas`. Without such a field it stands before the name: `narration_mfcc`.
    """
    if part == modality:
        return name
    content = MODALITIES[modality].content
    if content and (name == content or name.startswith(f"{content}_")):
        return part + name.removeprefix(content)
    return f"{part}_{name}"


def stack_field(part: str, modality: str, spec: Field, most: int) -> Field:
    """Return the field that holds the values of up to `most` items, with an axis N for the items.

    Raises:
        ParamsError: its values would be too large, or vary in size.
    """
    if spec.varies:
        raise ParamsError(
            f'extract.{modality}.store is "{spec.encoding}"; it must be tensor, as align.parts.{part}.many is all: '
            "several items are one array, whose size is fixed"
        )
    axes = f"N{spec.axes}" if len(spec.axes) == len(spec.shape) else ""
    try:
        return replace(spec, shape=(most, *spec.shape), axes=axes)
    except FormatError as error:
        raise ParamsError(f"align.parts.{part}.most is {most}; it must be smaller: {error}") from None


def check_names(names: Mapping[str, Iterable[str]]) -> None:
    """Check the names of the fields of each part.

    Raises:
        ParamsError: one is too long, or two parts have the same.
    """
    owners: dict[str, str] = {}
    for part, fields in names.items():
        for name in fields:
            if not NAME.fullmatch(name):
                raise ParamsError(
                    f"align.parts.{part} has the field `{name}`, whose name must match {NAME.pattern}: give the part a "
                    "shorter name"
                )
            if name in owners:
                raise ParamsError(
                    f"align.parts.{owners[name]} and align.parts.{part} both have the field `{name}`: give one of them "
                    "another name"
                )
            owners[name] = part
