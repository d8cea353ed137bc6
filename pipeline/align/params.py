"""Define the block `align`: which items form a sample, and how samples are labelled and split."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, GetJsonSchemaHandler, RootModel, field_validator, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from pipeline.config.params import OneOf, Params, Share, Strings, allow_null
from pipeline.tables.contracts import JOINS, MODALITIES

Policy = Literal["drop", "group", "keep"]
STRICTNESS: tuple[Policy, ...] = ("keep", "group", "drop")

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


class Duplicates(Params):
    """What to do with samples that repeat each other. A sample repeats another if all its required parts do."""

    exact: Policy = "drop"
    """For samples whose required parts have the same bytes: drop all but one, group them in one split, or keep all."""
    near: Policy = "group"
    """For samples whose required parts look, sound or read the same; identical bytes do too."""
    share_split: Literal["any", "all"] = "any"
    """Keep samples in one split if any of their parts are duplicates, or only if all required ones are. Duplicates
    under the policy `keep` do not count."""

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if STRICTNESS.index(self.exact) < STRICTNESS.index(self.near):
            allowed = " or ".join(STRICTNESS[STRICTNESS.index(self.near) :])
            clause = f"it must be {allowed}, at least as strict as near ({self.near}): the same bytes are near too"
            raise self.refuse("exact", clause)
        return self


class Shares(Params):
    """The share of the samples for each split; they add up to 1."""

    train: Annotated[float, Field(gt=0, le=1)] = 0.7
    """For training."""
    val: Share = 0.15
    """For choosing the best epoch."""
    test: Share = 0.15
    """For the report."""

    @model_validator(mode="after")
    def _check_sum(self) -> Self:
        total = self.train + self.val + self.test
        if abs(total - 1) > 1e-9:
            changed = [name for name in ("train", "val", "test") if name in self.model_fields_set]
            raise self.refuse(changed[-1], f"train, val and test must add up to 1, not {total:g}")
        return self


class AlignParams(Params):
    """How items become samples."""

    by: Literal["page", "figure", "pattern", "table", "file"] = "page"
    """Which items form a sample: those of one page; an image of pages and its captions there (`ingest.figures`); those
    whose pattern gives the same key; those to which the user's table gives the same `sample`; or those of one file:
    what a table says of it among them, each of its spans a sample of its own."""
    max_pages: Share = 0.02
    """The largest share of the crawled pages that may show an image, two pages in any case: others are logos and icons
    of the site. For `by: page` and `figure`."""
    min_side: Annotated[int, Field(ge=1)] = 32
    """Pixels of the shorter side of a page's image: smaller ones are icons, or count visits. For `by: page` and
    `figure`."""
    within: Strings | None = None
    """Use only items of these sources: hosts, or `folder`; null: all sources."""
    modalities: Rules = Rules({})
    """The modalities of a sample, with a rule for each (`{}` for the defaults): the short form of `parts`, in which a
    part is called as its modality. Those that are not named, or null, are not used. None named, nor parts: those that
    the data has, each of them required."""
    parts: Parts = Parts({})
    """The parts of a sample by name, with a rule for each. An item that several parts would take is in the first."""
    label: Literal["none", "path", "column", "page"] = "none"
    """Where the label comes from: the patterns' group label, the user's column label, or the page."""
    classes: Strings | None = None
    """The labels to keep; null: all."""
    ambiguous_labels: Literal["drop", "keep"] = "drop"
    """What to do with samples whose required parts have the same bytes and which have different labels: drop all of
    them, or `keep` them as `duplicates` says, where the one that stays has the label of one of them."""
    min_samples: Annotated[int, Field(ge=1)] = 1
    """Drop samples whose label has fewer samples than this."""
    duplicates: Duplicates = Duplicates()
    """What to do with samples that repeat each other."""
    split: Literal["hash", "path", "column"] = "hash"
    """Where the split comes from: a hash of the sample's group (a quota where there are fewer than 50 groups), the
    patterns' group split, or the user's column."""
    shares: Shares = Shares()
    """The share of the samples for each split, for `split: hash`. One that gets no group stops the run."""
    salt: str = "0"
    """Part of the hash: another value assigns the groups to splits anew."""
    max_group: Annotated[float, Field(gt=0, le=1)] = 0.2
    """The largest share of the samples that one group may hold, given more than 20 samples; more stops the run."""
    max_dropped: Share = 0.5
    """The largest share of the selected items that may be dropped; more stops the run."""

    @property
    def rules(self) -> Mapping[str, Rule]:
        """Return the rule of each part, in their order, by its key in this block (`modalities.image`); none where the
        data decides."""
        if self.parts.root:
            return {f"parts.{name}": rule for name, rule in self.parts.root.items()}
        return {f"modalities.{name}": rule for name, rule in self.modalities.selected.items()}

    def choose_many(self, rule: Rule) -> str:
        """Return what becomes of several items of one sample under a rule."""
        many = rule.many if isinstance(rule, PartRule) else None
        return many or ("one" if self.by == "page" else "first")

    @model_validator(mode="after")
    def _check_parts(self) -> Self:
        if self.parts.root and self.modalities.root:
            raise self.refuse("modalities", "it must be left out, as align.parts names the parts")
        for name, rule in self.parts.root.items():
            if rule.modality is None and name not in MODALITIES:
                allowed = f"{', '.join(MODALITIES[:-1])} or {MODALITIES[-1]}, as the part is not called after one"
                raise self.refuse(f"parts.{name}.modality", f"it must be {allowed}")
            if name in MODALITIES and rule.modality not in (None, name):
                raise self.refuse(f"parts.{name}.modality", f"it must be {name}, as the part is called after it")
            if rule.differs("most") and rule.many not in ("all", "join"):
                raise self.refuse(f"parts.{name}.most", f"it must be left out, as many is {self.choose_many(rule)}")
            if rule.differs("joiner") and rule.many != "join":
                raise self.refuse(f"parts.{name}.joiner", f"it must be left out, as many is {self.choose_many(rule)}")
            modality = rule.modality or name
            if rule.many == "join" and not JOINS.get(modality):
                clause = f"it must be one, first, each or all, as its items are {modality}: only texts can be joined"
                raise self.refuse(f"parts.{name}.many", clause)
        each = [name for name, rule in self.parts.root.items() if rule.many == "each"]
        if len(each) > 1:
            raise self.refuse(
                f"parts.{each[1]}.many", f"it must be one, first, all or join, as many of {each[0]} is each"
            )
        return self

    @model_validator(mode="after")
    def _check_rules(self) -> Self:
        rules = self.rules
        if rules and not any(rule.required for rule in rules.values()):
            raise self.refuse(f"{next(iter(rules))}.required", f"at least one {self._noun} must be required")
        if self.by == "pattern" and not rules:
            raise self.refuse("modalities", "it must name the modalities, with patterns, as align.by is pattern")
        for key, rule in rules.items():
            if self.by == "pattern" and not rule.has_group("key"):
                raise self.refuse(f"{key}.pattern", "it must have the group (?P<key>…), as align.by is pattern")
        return self

    @property
    def _noun(self) -> str:
        return "part" if self.parts.root else "modality"

    @model_validator(mode="after")
    def _check_sources(self) -> Self:
        for key in ("label", "split"):
            if getattr(self, key) == "path" and not any(rule.has_group(key) for rule in self.rules.values()):
                block = "parts" if self.parts.root else "modalities"
                raise self.refuse(key, f"a pattern of align.{block} must have the group (?P<{key}>…) for it")
        if self.classes is not None and self.label == "none":
            raise self.refuse("classes", "it must be null, as align.label is none")
        return self
