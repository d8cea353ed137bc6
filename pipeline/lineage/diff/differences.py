"""What `diff` finds: the counts, the causes, and the samples themselves, as many as are asked for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.lineage.diff.causes import Causes, find_causes
from pipeline.lineage.diff.compare import Comparison, Mask, compare_samples
from pipeline.lineage.diff.recipe_changes import Change, find_changes
from pipeline.lineage.diff.sample_items import read_contents, read_groups, read_parts
from pipeline.lineage.diff.sides import DatasetSide, Numbers
from pipeline.lineage.stage_tables import StageTables
from shardwright.format.index import decode_key
from shardwright.format.layout import META


@dataclass(frozen=True)
class Counted:
    """A cause in words, and how many samples it holds for."""

    count: int
    what: str


@dataclass(frozen=True)
class SampleReport:
    """A sample: its key, its split and shard (the new ones, where it has them), and what there is to say of it."""

    key: str
    shard: str
    what: str


@dataclass(frozen=True)
class SampleGroup:
    """Samples of which one thing is true: how many, the causes, and the first of them by key."""

    count: int
    causes: Sequence[Counted]
    samples: Sequence[SampleReport]


@dataclass(frozen=True)
class Difference:
    """All that is different.

    Attributes:
        old, new: the hashes of the datasets.
        equal: whether they are the same, sources and licences included.
        samples: in the old one, in the new one, in both.
        making: what is other about how they were made; that alone need not change a byte.
        went, came: samples of one side alone.
        changed: samples that are in both, with other contents.
        moved: in another split.
        dealt: how many are in another shard of their split.
    """

    old: str
    new: str
    equal: bool
    samples: tuple[int, int, int]
    making: Sequence[Change]
    went: SampleGroup
    came: SampleGroup
    changed: SampleGroup
    moved: SampleGroup
    dealt: int


@dataclass(frozen=True)
class Inputs:
    """Of some samples that are in both: by modality which have an item with other cleaned bytes (nothing without
    ledgers), and which have any item with another id, that is with other bytes or of another name."""

    contents: Mapping[str | None, Mask]
    items: Mask


@dataclass(frozen=True)
class DatasetDiffer:
    """Compares two sides; tells `most` samples of each group, or all where it is None."""

    old: DatasetSide
    new: DatasetSide
    most: int | None

    def compare(self) -> Difference:
        """The difference.

        Raises:
            InputError: a table of a ledger is damaged.
        """
        found, making = compare_samples(self.old, self.new), find_changes(self.old, self.new)
        old, new = self.old.manifest, self.new.manifest
        return Difference(
            old=old.hash,
            new=new.hash,
            equal=old.hashes == new.hashes,
            samples=(len(self.old.samples), len(self.new.samples), len(found.old)),
            making=making,
            went=self._explain_lost(found.went, self.old, self.new),
            came=self._explain_lost(found.came, self.new, self.old),
            changed=self._explain_changed(found, making),
            moved=self._explain_moved(found),
            dealt=int(np.count_nonzero(found.shard)),
        )

    def _explain_lost(self, rows: Numbers, having: DatasetSide, lacking: DatasetSide) -> SampleGroup:
        """Samples of one side alone, with what the other side's ledgers say."""
        causes = Causes(len(rows))
        if len(rows) and having.data and lacking.data:
            causes = find_causes(having.samples.keys[rows], StageTables(having.data), StageTables(lacking.data))
        counts = np.bincount(causes.numbers, minlength=len(causes.known)).tolist()
        counted = [Counted(n, str(cause)) for n, cause in zip(counts, causes.known, strict=True) if n]
        return self._make_group(rows, having, counted, lambda at: str(causes.known[causes.numbers[at]]))

    def _explain_changed(self, found: Comparison, making: Sequence[Change]) -> SampleGroup:
        changed = np.flatnonzero(found.any_changed)
        masks = {name: mask[changed] for name, mask in found.changed.items()}
        inputs = self._find_inputs(found, changed)
        reasons = {name: self._explain_field(name, mask, making, inputs) for name, mask in masks.items()}
        reasons[META] = explain_meta(masks[META], found.split[changed], inputs.items)
        counted = [
            Counted(int(mask.sum()), f"{name}: {', '.join(reasons[name])}")
            for name, mask in masks.items()
            if mask.any()
        ]
        return self._make_group(
            found.new[changed], self.new, counted, lambda at: ", ".join(n for n, mask in masks.items() if mask[at])
        )

    def _find_inputs(self, found: Comparison, changed: NDArray[np.int64]) -> "Inputs":
        """Which of the changed samples have other items."""
        if not len(changed) or not (self.old.data and self.new.data):
            return Inputs({}, np.zeros(len(changed), bool))
        keys = self.new.samples.keys[found.new[changed]]
        old, new = StageTables(self.old.data), StageTables(self.new.data)
        before, after = read_parts(old, keys), read_parts(new, keys)
        others = np.any([before[name] != after[name] for name in before], axis=0)
        contents = read_contents(old, before), read_contents(new, after)
        return Inputs({name: contents[0][name] != contents[1][name] for name in before}, others)

    def _explain_field(self, name: str, mask: Mask, making: Sequence[Change], inputs: "Inputs") -> Sequence[str]:
        """Why a field changed, as far as anything tells. Code and libraries are blamed where nothing else is."""
        modality = find_modality(name, self.new)
        other = int((inputs.contents[modality] & mask).sum()) if modality in inputs.contents else 0
        causes = [f"other bytes of the {modality} in {other:,}"] if other else []
        causes += [str(change) for change in making if _concerns(change, name, modality)]
        blamed = [str(change) for change in making if change.kind in ("code", "library", "python")]
        return causes or blamed or ["no cause is known"]

    def _explain_moved(self, found: Comparison) -> SampleGroup:
        moved = np.flatnonzero(found.split)
        before, after = self.old.samples, self.new.samples
        same = np.zeros(len(moved), bool)
        known = self.old.data is not None and self.new.data is not None and len(moved) > 0
        if known and self.old.data and self.new.data:
            keys = after.keys[found.new[moved]]
            same = read_groups(StageTables(self.old.data), keys) == read_groups(StageTables(self.new.data), keys)
        dealt = "its group is dealt otherwise (align.split, align.shares, align.salt)"
        words = [dealt if each else "it is in another group" if known else "no ledger tells why" for each in same]
        counted = [Counted(words.count(what), what) for what in dict.fromkeys(words)]

        def tell(at: int) -> str:
            old = before.split_names[before.splits[found.old[moved[at]]]]
            return f"was in {old}: {words[at]}"

        return self._make_group(found.new[moved], self.new, counted, tell)

    def _make_group(
        self, rows: NDArray[np.integer], side: DatasetSide, causes: Sequence[Counted], tell: Callable[[int], str]
    ) -> SampleGroup:
        samples = side.samples
        told = [
            SampleReport(decode_key(bytes(samples.keys[row])), samples.shard_names[samples.shards[row]], tell(at))
            for at, row in enumerate(rows[: self.most].tolist())
        ]
        return SampleGroup(len(rows), sorted(causes, key=lambda cause: (-cause.count, cause.what)), told)


def explain_meta(mask: Mask, moved: Mask, other: Mask) -> list[str]:
    """Why metas changed: they name the split and the items, and what is left is what is said of either.

    `moved` and `other` are samples in another split, and of other items.
    """
    counts = {
        "another split": mask & moved,
        "other items": mask & other,
        "other words about the same items (label, group, caption, licence, ...)": mask & ~moved & ~other,
    }
    return [f"{what} in {np.count_nonzero(which):,}" for what, which in counts.items() if which.any()]


def find_modality(field: str, side: DatasetSide) -> str | None:
    """The modality that gives a field, by the manifest; None for labels, metas and what it does not tell."""
    known = (side.manifest.extract or {}).get("modalities")
    named = known.items() if isinstance(known, Mapping) else ()
    return next((str(name) for name, fields in named if isinstance(fields, list) and field in fields), None)


def _concerns(change: Change, field: str, modality: str | None) -> bool:
    """Whether a change in the making may have changed the field."""
    match change.kind:
        case "param":
            return modality is not None and change.name.startswith(f"extract.{modality}.")
        case "field":
            return change.name == field
        case "classes":
            return field == "label"
        case "vocabulary":
            return modality == "text"
    return False
