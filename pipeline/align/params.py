"""Define the block `align`: which items form a sample, and how samples are labelled and split."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from pipeline.align.part_rules import PartRule, Parts, Rule, Rules
from pipeline.config.params import Params, Share, Strings
from pipeline.tables.contracts import JOINS, MODALITIES

FoldRule = Literal["by_group", "by_split"]
BY_GROUP: FoldRule = "by_group"
BY_SPLIT: FoldRule = "by_split"

Policy = Literal["drop", "group", "keep"]
STRICTNESS: tuple[Policy, ...] = ("keep", "group", "drop")


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
    labels: dict[str, str] = Field(default={})
    """Other names for labels, by those that the data has: `{kitten: cat}`. Labels that are not named stay."""
    classes: Strings | None = None
    """The labels to keep, by the names that `labels` gives them; null: all."""
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
    """The share of the samples for each split, for `split: hash`. One that gets no group stops the run. With `folds`,
    train and val have what is not tested on, as their shares are to each other."""
    val_from_train: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The share of the samples of train that becomes val, by whole groups, where the data names train and test alone:
    for `split: path` and `column`."""
    folds: (
        Annotated[
            Annotated[int, Field(ge=2, le=100), Tag("<number>")] | Annotated[FoldRule, Tag("<name>")],
            Discriminator(lambda folds: "<name>" if isinstance(folds, str) else "<number>"),
        ]
        | None
    ) = None
    """Cross-validation: the samples are dealt to folds, of which one is the test split. A number of folds, into which
    groups are dealt as into splits; `by_group`, a fold for each group; `by_split`, the folds that the data gives where
    `split` says, whole numbers up to 127. Null: there are none. `shardwright folds` runs all of them."""
    fold: Annotated[int, Field(ge=0)] = 0
    """The fold to test on, counted from 0 in the order of their names; of folds 1 to 5 that the data gives, 0 is 1."""
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
        for key in ("classes", "labels"):
            if getattr(self, key) and self.label == "none":
                raise self.refuse(key, "it must be null, as align.label is none")
        return self

    @model_validator(mode="after")
    def _check_folds(self) -> Self:
        if self.folds == BY_SPLIT and self.split == "hash":
            raise self.refuse("split", "it must be path or column, where align.folds (by_split) has the folds from")
        if self.folds not in (None, BY_SPLIT) and self.split != "hash":
            raise self.refuse("split", f"it must be hash, as align.folds ({self.folds}) deals the samples")
        if self.folds is None and self.fold:
            raise self.refuse("fold", "it must be 0 as long as align.folds is null: it has no folds")
        if isinstance(self.folds, int) and self.fold >= self.folds:
            raise self.refuse("fold", f"it must be less than align.folds ({self.folds}): folds are counted from 0")
        if self.val_from_train and (self.split == "hash" or self.folds is not None):
            raise self.refuse("val_from_train", "it must be 0, as align.shares has the share of val")
        return self
