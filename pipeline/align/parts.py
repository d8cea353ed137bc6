"""Name the parts of a sample, and which items each of them takes."""

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.align.params import AlignParams
from pipeline.align.part_rules import PartRule, Rule
from pipeline.tables.contracts import MODALITIES


@dataclass(frozen=True)
class Part:
    """A part of every sample.

    Attributes:
        setting: the full key of its rule in `params.yaml`.
        many: what becomes of several items, see `PartRule`.
        most: how many items of a sample it may use; None: any number, each in a sample of its own.
        joiner: what stands between the items that are joined; None: they are not.
    """

    name: str
    modality: str
    rule: Rule
    setting: str
    many: str
    most: int | None = 1
    joiner: str | None = None


def list_parts(params: AlignParams, found: Iterable[str]) -> tuple[Part, ...]:
    """Return the parts of a sample, in their order: those that the params name, or, where they name none, a part for
    each of the modalities that were `found` in the data."""
    rules = params.rules or {f"modalities.{name}": Rule() for name in MODALITIES if name in found}
    return tuple(_build_part(key, rule, params.choose_many(rule)) for key, rule in rules.items())


def _build_part(key: str, rule: Rule, many: str) -> Part:
    name = key.partition(".")[2]
    if not isinstance(rule, PartRule):
        return Part(name, name, rule, f"align.{key}", many)
    most = {"one": 1, "first": 1, "each": None}.get(many, rule.most)
    joiner = rule.joiner if many == "join" else None
    return Part(name, rule.modality or name, rule, f"align.{key}", many, most, joiner)
