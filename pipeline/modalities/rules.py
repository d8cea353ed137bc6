"""Hold an item to the limits of `clean`: one table of rules for each modality, one key of `params.yaml` for each rule.

A modality's rules are in its `rules.py`, and the type of its block in `clean` takes its keys from them. To add a rule:
one entry in that table; if it compares something new, one attribute of the modality's facts. Rules of the user's own
are plugins, under the key `rules` of the block.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import Field as Limits
from pydantic import create_model

from pipeline.config.lazy_import import LazyObject, LazyTable
from pipeline.config.params import Params, PluginName
from pipeline.tables.drops import Reason, Rejection

Facts = TypeVar("Facts")
Block = TypeVar("Block", bound=Params)

Moment = Literal["header", "decoded"]
"""When rules are checked: by what the file's header says, before anything is decoded, and after decoding."""


@dataclass(frozen=True, kw_only=True)
class CleaningRule(Generic[Facts]):
    """A limit that an item must keep to.

    Attributes:
        setting: its key in the block `clean.<modality>`; of a plugin, its name.
        type: of the limit, with its bounds: `Annotated[int, Field(ge=1)]`.
        default: the limit where the params file does not name it.
        meaning: for the schema of the params, with the unit.
        source: where the default comes from.
        bound: `max` drops what is above the limit, `min` what is below.
        measure: returns what is compared with the limit, in its unit; None where that is not known, which no limit
        drops.
        details: the moments at which the rule is checked, each with the `detail` of a rejection.
        reason: of a rejection.
        format: how a rejection shows the value.
        off: the limit with which nothing is dropped; then nothing is measured.
    """

    setting: str
    type: Any
    default: float
    meaning: str
    source: str
    bound: Literal["max", "min"]
    measure: Callable[[Facts], float | None]
    details: Mapping[Moment, str]
    reason: Reason
    format: str = ""
    off: float | None = None

    def read_limit(self, params: Params) -> float:
        """Return the limit that a block sets."""
        limit: float = getattr(params, self.setting)
        return limit

    def check(self, moment: Moment, facts: Facts, limit: float) -> Rejection | None:
        """Return why an item is dropped, None where it keeps to the limit or the rule is checked at another moment."""
        if moment not in self.details or limit == self.off:
            return None
        value = self.measure(facts)
        if value is None or not (value > limit if self.bound == "max" else value < limit):
            return None
        shown = str(limit) if isinstance(limit, int) else f"{limit:g}"
        return Rejection(self.reason, self.details[moment], f"{value:{self.format}}", shown, self.setting)


OWN_RULES: LazyTable[CleaningRule[Any]] = LazyTable({}, LazyObject("pipeline.modalities.rules:CleaningRule"))
"""The rules that are plugins."""


class OwnRules(Params):
    """The part of a block that names rules of the user's own."""

    rules: dict[PluginName, float] = Limits(default={})
    """Rules of your own, each `plugins/<file>.py:<Name>`, a `CleaningRule`, with its limit; they are checked last."""


def check_rules(
    rules: Sequence[CleaningRule[Facts]], moment: Moment, facts: Facts, params: OwnRules
) -> Rejection | None:
    """Return the rejection by the first rule that an item breaks at this moment, None where it keeps to all: first the
    rules of the modality, then those that the block names itself."""
    for rule in rules:
        if rejection := rule.check(moment, facts, rule.read_limit(params)):
            return rejection
    for name, limit in params.rules.items():
        if rejection := OWN_RULES[name].check(moment, facts, limit):
            return replace(rejection, setting="rules")
    return None


class NearDuplicates(OwnRules):
    """The part of a block that says when two items count as near-duplicates, by their perceptual hashes."""

    near_bits: Annotated[int, Limits(ge=0, le=16)] = 3
    """Of the 64 bits of the perceptual hash, as many as may differ between near-duplicates."""
    near_difference: Annotated[float, Limits(ge=0, le=255)] = 2.0
    """Levels of 255 by which the thumbnails of near-duplicates may differ on average, brought to one mean and
    deviation; thumbnails have 16 × 16 cells."""


def add_rules(rules: Sequence[CleaningRule[Any]]) -> Callable[[type[Block]], type[Block]]:
    """Return a class decorator that adds a key for each rule to the type of a block of `clean`, before its own keys."""

    def add(block: type[Block]) -> type[Block]:
        keys: dict[str, Any] = {
            rule.setting: (rule.type, Limits(default=rule.default, description=rule.meaning)) for rule in rules
        }
        limits = create_model(f"{block.__name__}Rules", __base__=Params, **keys)
        # pydantic puts the keys of later bases first. With the module's name values can be pickled.
        bases: Any = (block, limits)
        merged: type[Block] = create_model(
            block.__name__, __base__=bases, __module__=block.__module__, __doc__=block.__doc__
        )
        return merged

    return add
