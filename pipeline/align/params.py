"""Define the block `align`: which items form a sample, and how samples are labelled and split."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from pipeline.config.params import Params, Share, Strings
from pipeline.tables.contracts import MODALITIES

Policy = Literal["drop", "group", "keep"]
STRICTNESS: tuple[Policy, ...] = ("keep", "group", "drop")

GROUPS = ("key", "label", "group", "split")
"""The named groups that a pattern may contain."""


class Rule(Params):
    """Which items of a modality are used."""

    required: bool
    """A sample without it is dropped; otherwise it may be missing."""
    pattern: str | None
    """A regular expression that matches the whole of `file`, with any of the named groups key, label, group and split.
    Items that do not match are not selected. `by: pattern` needs the group key."""
    part: str | None
    """Use only this part of a file: a language, or the selector of a page's element; null: any part."""

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


class Rules(Params):
    """A rule for each modality of the samples; null, or absent, leaves a modality out."""

    image: Rule | None = None
    """Images."""
    audio: Rule | None = None
    """Audio."""
    text: Rule | None = None
    """Text."""
    video: Rule | None = None
    """Video."""

    @property
    def selected(self) -> Mapping[str, Rule]:
        """Return the rules that are set, in the order of the modalities."""
        rules = {"image": self.image, "audio": self.audio, "text": self.text, "video": self.video}
        return {name: rule for name in MODALITIES if (rule := rules[name]) is not None}

    @property
    def required(self) -> tuple[str, ...]:
        """Return the modalities that every sample has."""
        return tuple(name for name, rule in self.selected.items() if rule.required)

    @model_validator(mode="after")
    def _check_required(self) -> Self:
        if not self.required:
            raise ValueError("such that at least one modality has `required: true`")
        return self


class Duplicates(Params):
    """What to do with samples that repeat each other. A sample repeats another if all its required parts do."""

    exact: Policy
    """Their parts have the same bytes."""
    near: Policy
    """Their parts look, sound or read the same; identical bytes do too."""
    share_split: Literal["any", "all"]
    """Keep samples in one split if any of their parts are duplicates, or only if all required ones are.
    Duplicates under the policy `keep` do not count."""

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if STRICTNESS.index(self.exact) < STRICTNESS.index(self.near):
            raise ValueError(
                "such that `exact` is at least as strict as `near`, of drop, group, keep: the same bytes are near too"
            )
        return self


class Shares(Params):
    """The share of the samples for each split; they add up to 1."""

    train: Annotated[float, Field(gt=0, le=1)]
    """For training."""
    val: Share
    """For choosing the best epoch."""
    test: Share
    """For the report."""

    @model_validator(mode="after")
    def _check_sum(self) -> Self:
        if abs(self.train + self.val + self.test - 1) > 1e-9:
            raise ValueError(f"such that train, val and test add up to 1, not {self.train + self.val + self.test:g}")
        return self


class AlignParams(Params):
    """How items become samples."""

    by: Literal["page", "pattern", "table"]
    """Which items form a sample: those of one page, those whose pattern gives the same key, or those to which the
    user's table gives the same `sample`."""
    within: Strings | None
    """Use only items of these sources: hosts, or `folder`; null: all sources."""
    modalities: Rules
    """Which items are used, a rule for each modality."""
    label: Literal["none", "path", "column", "page"]
    """Where the label comes from: the patterns' group label, the user's column label, or the page."""
    classes: Strings | None
    """The labels to keep; null: all."""
    min_samples: Annotated[int, Field(ge=1)]
    """Drop samples whose label fewer samples than this have."""
    duplicates: Duplicates
    """What to do with samples that repeat each other."""
    split: Literal["hash", "path", "column"]
    """Where the split comes from: a hash of the sample's group, the patterns' group split, or the user's column."""
    shares: Shares
    """For `split: hash`."""
    salt: str
    """Part of the hash: another value assigns the groups to splits anew."""
    max_group: Annotated[float, Field(gt=0, le=1)]
    """The largest share of the samples that one group may hold, given more than 20 samples; more stops the run."""
    max_dropped: Share
    """The largest share of the selected items that may be dropped; more stops the run."""

    @field_validator("modalities")
    @classmethod
    def _check_keys(cls, rules: Rules, known: ValidationInfo) -> Rules:
        lacking = [name for name, rule in rules.selected.items() if not rule.has_group("key")]
        if known.data.get("by") == "pattern" and lacking:
            raise ValueError(f"such that with `by: pattern` every pattern has a group (?P<key>…), also of {lacking[0]}")
        return rules

    @field_validator("label", "split")
    @classmethod
    def _check_path(cls, source: str, known: ValidationInfo) -> str:
        rules = known.data.get("modalities")
        if source == "path" and rules and not any(rule.has_group(known.field_name) for rule in rules.selected.values()):
            raise ValueError(f"`path` only where a pattern of align.modalities has a group (?P<{known.field_name}>…)")
        return source

    @field_validator("classes")
    @classmethod
    def _check_classes(cls, classes: tuple[str, ...] | None, known: ValidationInfo) -> tuple[str, ...] | None:
        if classes is not None and known.data.get("label") == "none":
            raise ValueError("null where align.label is none")
        return classes
