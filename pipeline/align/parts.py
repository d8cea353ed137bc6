"""Name the parts of a sample, and which items each of them takes."""

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.align.params import AlignParams, Rule
from pipeline.tables.contracts import MODALITIES


@dataclass(frozen=True)
class Part:
    """A part of every sample.

    Attributes:
        setting: the full key of its rule in `params.yaml`.
    """

    name: str
    modality: str
    rule: Rule
    setting: str


def list_parts(params: AlignParams, found: Iterable[str]) -> tuple[Part, ...]:
    """Return the parts of a sample, in their order: a part for each modality that the params name, or, where they name
    none, for each of those that were `found` in the data."""
    rules = params.modalities.selected or {name: Rule() for name in MODALITIES if name in found}
    return tuple(Part(name, name, rule, f"align.modalities.{name}") for name, rule in rules.items())
