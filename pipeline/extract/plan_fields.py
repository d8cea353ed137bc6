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
    """The fields of a dataset, in order: those of each modality, then `<modality>_present`, then `label`.

    `modalities` lists the fields of each modality in use. `optional` lists the modalities that some samples lack: their
    fields are then padding or zeros, and only they have a `<modality>_present`. `params` has each modality's block.
    """

    fields: Mapping[str, Field]
    params: Mapping[str, Params]
    modalities: Mapping[str, tuple[str, ...]]
    optional: tuple[str, ...]
    classes: tuple[str, ...] | None

    def modality_fields(self, modality: str) -> dict[str, Field]:
        """Return the fields of one modality."""
        return {name: self.fields[name] for name in self.modalities[modality]}


def plan_fields(
    used: Iterable[str], lacking: Iterable[str], params: ExtractParams, classes: tuple[str, ...] | None
) -> FieldPlan:
    """Plan the fields of samples that use the modalities `used`, of which `lacking` are absent in some."""
    fields: dict[str, Field] = {}
    blocks: dict[str, Params] = {}
    modalities = {}
    for name in (name for name in MODALITIES if name in set(used)):
        blocks[name] = params.features[name]
        inline = MODALITIES[name].plan_fields(blocks[name])
        assert not inline.keys() & fields.keys(), f"{name} has fields of another modality"
        fields.update(inline)
        modalities[name] = tuple(inline)
    optional = tuple(name for name in modalities if name in set(lacking))
    fields.update({f"{name}_present": PRESENT for name in optional})
    if classes is not None:
        fields["label"] = LABEL
    return FieldPlan(fields, blocks, modalities, optional, classes)
