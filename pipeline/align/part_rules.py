"""Define the rules of `align.modalities` and `align.parts`: which items are a part of a sample."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, GetJsonSchemaHandler, RootModel, field_validator, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from pipeline.config.params import OneOf, Params, allow_null
from pipeline.tables.contracts import MODALITIES

PART_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
"""Names of parts: they begin the names of fields, which have at most 31 characters."""

RESERVED = ("key", "label", "meta", "valid", "split", "group")
RESERVED_ENDINGS = ("_length", "_present", "_count")
"""Names that fields and batches have for other things."""

MAX_PARTS = 64  # a bit of a number each

GROUPS = ("key", "label", "group", "split")
"""The named groups that a pattern may have."""


class Rule(Params):
    """Which items of a modality are used."""

    required: bool = True
    """A sample without the modality is dropped; false: a sample may lack it."""
    pattern: str | None = None
    """A regular expression that matches the whole of `file`, with any of the named groups key, label, group and split;
    null: all items. Items that do not match are not selected. `by: pattern` needs the group key."""
    part: str | None = None
    """Use only this part of a file: a language, the selector of a page's element, or `caption` for all captions that a
    list or a table gives; null: any part."""

    @field_validator("pattern")
    @classmethod
    def _check_pattern(cls, pattern: str | None) -> str | None:
        if pattern is None:
            return None
        try:
            names = re.compile(pattern).groupindex
        except re.error as error:
            raise ValueError(f"a regular expression: {error}") from None
        unknown = [name for name in names if name not in GROUPS]
        if unknown:
            raise ValueError(f"a pattern whose named groups are among {', '.join(GROUPS)}, not {', '.join(unknown)}")
        return pattern

    def has_group(self, name: str) -> bool:
        """Return whether the pattern has the named group."""
        return self.pattern is not None and name in re.compile(self.pattern).groupindex


class Rules(RootModel[dict[Annotated[str, OneOf(MODALITIES)], Rule]]):
    """The modalities of a sample, each with its rule; those that are not named, or null, are not used.

    None named: those that the data has, each of them required.
    """

    model_config = ConfigDict(frozen=True, strict=True)

    @property
    def selected(self) -> Mapping[str, Rule]:
        """Return the rules, in the order of `pipeline.tables.contracts.MODALITIES`."""
        return {name: self.root[name] for name in MODALITIES if name in self.root}

    @property
    def required(self) -> tuple[str, ...]:
        """Return the modalities that every sample has."""
        return tuple(name for name, rule in self.selected.items() if rule.required)

    @model_validator(mode="before")
    @classmethod
    def _drop_null(cls, rules: object) -> object:
        if rules is None:
            return {}
        if not isinstance(rules, Mapping):
            return rules
        return {name: rule for name, rule in rules.items() if rule is not None or name not in MODALITIES}

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return allow_null(handler(schema), handler)


class PartRule(Rule):
    """Which items are a part of a sample, and how many of them."""

    modality: Annotated[str, OneOf(MODALITIES)] | None = None
    """Of the items; null: that of the part's name."""
    many: Literal["one", "first", "each", "all", "join"] | None = None
    """What becomes of several items of one sample. `one`: the sample is dropped, as nobody can say which is meant;
    `first` by source, file and part is used, and the others are dropped; `each` is in a sample of its own, with the
    other parts of all of them; `all` are used, in that order: the arrays of the part get an axis of `most` items, and
    `<part>_count` says how many there are; `join`, of texts: they are joined to one, in that order. Null: `one` for
    `by: page`, else `first`."""
    most: Annotated[int, Field(ge=1, le=1000)] = 16
    """The number of items that `all` and `join` use at most; those beyond are dropped."""
    joiner: Annotated[str, Field(max_length=100)] = "\n"
    """What stands between the texts that are joined."""

    def differs(self, key: str) -> bool:
        """Return whether a key has another value than its default; params that are printed have all of them."""
        return bool(getattr(self, key) != type(self).model_fields[key].default)


class Parts(RootModel[dict[str, PartRule]]):
    """The parts of a sample by name, in their order, each with its rule."""

    model_config = ConfigDict(frozen=True, strict=True)

    @field_validator("root")
    @classmethod
    def _check_names(cls, parts: dict[str, PartRule]) -> dict[str, PartRule]:
        for name in parts:
            if not PART_NAME.fullmatch(name) or name in RESERVED or name.endswith(RESERVED_ENDINGS):
                endings = " or ".join(RESERVED_ENDINGS)
                raise ValueError(
                    f"a mapping whose names match {PART_NAME.pattern}, do not end in {endings}, and are not "
                    f"{', '.join(RESERVED)}; {name!r} is not such a name"
                )
        if len(parts) > MAX_PARTS:
            raise ValueError(f"a mapping of at most {MAX_PARTS} parts")
        return parts

    @model_validator(mode="before")
    @classmethod
    def _fill_null(cls, parts: object) -> object:
        return {} if parts is None else parts

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return allow_null(handler(schema), handler)
