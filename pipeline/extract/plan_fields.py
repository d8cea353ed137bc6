"""Plan the fields of a dataset, before any item is read."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipeline.config.params import Params
from pipeline.extract.params import ExtractParams
from pipeline.modalities.table import MODALITIES
from shardwright.format.field import Field

PRESENT = Field("uint8", (), unit="1 present, 0 absent")
LABEL = Field("int64", (), unit="index into classes")


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
    """

    fields: Mapping[str, Field]
    params: Mapping[str, Params]
    modalities: Mapping[str, str]
    names: Mapping[str, tuple[str, ...]]
    optional: tuple[str, ...]
    classes: tuple[str, ...] | None

    def select_fields(self, part: str) -> dict[str, Field]:
        """Return the fields of one part."""
        return {name: self.fields[name] for name in self.names[part]}


def plan_fields(
    parts: Mapping[str, str], lacking: Iterable[str], params: ExtractParams, classes: tuple[str, ...] | None
) -> FieldPlan:
    """Plan the fields of samples with these parts.

    Args:
        parts: the modality of each part.
        lacking: the parts that are absent in some samples.
        params: of the features.
        classes: of the labels.
    """
    order = list(MODALITIES)
    modalities = dict(sorted(parts.items(), key=lambda part: (order.index(part[1]), part[0])))
    blocks = {modality: params.features[modality] for modality in modalities.values()}
    fields: dict[str, Field] = {}
    names = {}
    for part, modality in modalities.items():
        planned = MODALITIES[modality].plan_fields(blocks[modality])
        assert not planned.keys() & fields.keys(), f"{part} has fields of another part"
        fields.update(planned)
        names[part] = tuple(planned)
    optional = tuple(part for part in modalities if part in set(lacking))
    fields.update({f"{part}_present": PRESENT for part in optional})
    if classes is not None:
        fields["label"] = LABEL
    return FieldPlan(fields, blocks, modalities, names, optional, classes)
