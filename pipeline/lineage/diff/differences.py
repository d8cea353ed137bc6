"""Collect the differences of two datasets: counts, causes, and the samples themselves, as many as are requested."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.lineage.diff.causes import NO_CAUSE, Causes, find_causes
from pipeline.lineage.diff.compare import Comparison, Mask, compare_samples
from pipeline.lineage.diff.open_dataset import ComparedDataset, Numbers
from pipeline.lineage.diff.recipe_changes import Change, find_changes
from pipeline.lineage.diff.sample_tables import InputChanges, compare_groups, compare_items
from pipeline.lineage.stage_tables import STAGE_FOLDERS, StageTables
from shardwright.format.index import decode_key
from shardwright.format.layout import META


@dataclass(frozen=True)
class CauseCount:
    """A cause as text, and the number of samples that it holds for."""

    count: int
    text: str


@dataclass(frozen=True)
class SampleReport:
    """A sample: its key, its split and shard (in the new dataset, if it is there), and a description as text."""

    key: str
    shard: str
    text: str


@dataclass(frozen=True)
class SampleGroup:
    """Samples with one kind of difference: their number, the causes, and the first of them by key."""

    count: int
    causes: Sequence[CauseCount]
    samples: Sequence[SampleReport]


@dataclass(frozen=True)
class Difference:
    """All differences.

    Attributes:
        old, new: the hashes of the datasets.
        equal: whether they are the same, with their sources and licences.
        samples: how many are in the old one, in the new one, and in both.
        recipe: differences in how they were made; these alone need not change a byte.
        removed, added: samples of the old or the new dataset alone.
        changed: samples that are in both, with different contents.
        moved: samples in another split.
        resharded: how many samples are in another shard of the same split.
        outdated: folders of stages, which explain nothing: they refer to other items than the ingested table has now.
    """

    old: str
    new: str
    equal: bool
    samples: tuple[int, int, int]
    recipe: Sequence[Change]
    removed: SampleGroup
    added: SampleGroup
    changed: SampleGroup
    moved: SampleGroup
    resharded: int
    outdated: Sequence[str]


@dataclass(frozen=True)
class DatasetDiffer:
    """Compares two datasets; reports `most` samples of each group, or all where it is None."""

    old: ComparedDataset
    new: ComparedDataset
    most: int | None

    def compare(self) -> Difference:
        """Return all differences.

        Raises:
            InputError: a stage table is damaged.
        """
        found, recipe = compare_samples(self.old, self.new), find_changes(self.old, self.new)
        old, new = self.old.manifest, self.new.manifest
        return Difference(
            old=old.hash,
            new=new.hash,
            equal=old.hashes == new.hashes,
            samples=(len(self.old.samples), len(self.new.samples), len(found.old)),
            recipe=recipe,
            removed=self._explain_lost(found.removed, self.old, self.new),
            added=self._explain_lost(found.added, self.new, self.old),
            changed=self._explain_changed(found, recipe),
            moved=self._explain_moved(found),
            resharded=int(np.count_nonzero(found.shard)),
            outdated=[*self._list_outdated()],
        )

    def _list_outdated(self) -> Iterator[str]:
        for data in (self.old.data, self.new.data):
            if data:
                yield from (str(data / STAGE_FOLDERS[stage]) for stage in StageTables(data).outdated)

    def _explain_lost(self, rows: Numbers, having: ComparedDataset, lacking: ComparedDataset) -> SampleGroup:
        """Explain samples of one dataset alone, from the stage tables of the other."""
        causes = Causes([NO_CAUSE], np.zeros(len(rows), np.int64))
        if len(rows) and having.data and lacking.data:
            causes = find_causes(having.samples.keys[rows], StageTables(having.data), StageTables(lacking.data))
        counts = np.bincount(causes.numbers, minlength=len(causes.known)).tolist()
        counted = [CauseCount(n, str(cause)) for n, cause in zip(counts, causes.known, strict=True) if n]
        return self._build_group(rows, having, counted, lambda at: str(causes.known[causes.numbers[at]]))

    def _explain_changed(self, found: Comparison, recipe: Sequence[Change]) -> SampleGroup:
        changed = np.flatnonzero(found.any_changed)
        masks = {name: mask[changed] for name, mask in found.changed.items()}
        inputs = self._compare_inputs(found, changed)
        reasons = {name: self._explain_field(name, mask, recipe, inputs) for name, mask in masks.items()}
        reasons[META] = explain_meta(masks[META], found.split[changed], inputs.items)
        counted = [
            CauseCount(int(mask.sum()), f"{name}: {', '.join(reasons[name])}")
            for name, mask in masks.items()
            if mask.any()
        ]
        return self._build_group(
            found.new[changed], self.new, counted, lambda at: ", ".join(n for n, mask in masks.items() if mask[at])
        )

    def _compare_inputs(self, found: Comparison, changed: NDArray[np.int64]) -> InputChanges:
        """Return which of the changed samples have other items."""
        if not len(changed) or not (self.old.data and self.new.data):
            return InputChanges(np.zeros(len(changed), bool), {})
        keys = self.new.samples.keys[found.new[changed]]
        return compare_items(keys, StageTables(self.old.data), StageTables(self.new.data))

    def _explain_field(self, name: str, mask: Mask, recipe: Sequence[Change], inputs: InputChanges) -> Sequence[str]:
        """Return why a field changed, as far as it is known; code and libraries only if nothing else explains it."""
        modality = find_modality(name, self.new)
        other = int((inputs.contents[modality] & mask).sum()) if modality and modality in inputs.contents else 0
        causes = [f"other bytes of the {modality} in {other:,}"] if other else []
        causes += [str(change) for change in recipe if _concerns(change, name, modality)]
        possible = [str(change) for change in recipe if change.kind in ("code", "library", "python")]
        return causes or possible or ["no known cause"]

    def _explain_moved(self, found: Comparison) -> SampleGroup:
        moved = np.flatnonzero(found.split)
        before, after = self.old.samples, self.new.samples
        same = np.zeros(len(moved), bool)
        known = self.old.data is not None and self.new.data is not None and len(moved) > 0
        if known and self.old.data and self.new.data:
            keys = after.keys[found.new[moved]]
            same = compare_groups(keys, StageTables(self.old.data), StageTables(self.new.data))
        assigned = "its group was assigned to another split (settings align.split, align.shares, align.salt)"
        unknown = "the stage tables give no cause"
        texts = [assigned if each else "it is in another group" if known else unknown for each in same]
        counted = [CauseCount(texts.count(text), text) for text in dict.fromkeys(texts)]

        def describe(at: int) -> str:
            old = before.split_names[before.splits[found.old[moved[at]]]]
            return f"was in {old}: {texts[at]}"

        return self._build_group(found.new[moved], self.new, counted, describe)

    def _build_group(
        self,
        rows: NDArray[np.integer],
        dataset: ComparedDataset,
        causes: Sequence[CauseCount],
        describe: Callable[[int], str],
    ) -> SampleGroup:
        samples = dataset.samples
        reports = [
            SampleReport(decode_key(bytes(samples.keys[row])), samples.shard_names[samples.shards[row]], describe(at))
            for at, row in enumerate(rows[: self.most].tolist())
        ]
        return SampleGroup(len(rows), sorted(causes, key=lambda cause: (-cause.count, cause.text)), reports)


def explain_meta(mask: Mask, moved: Mask, other: Mask) -> list[str]:
    """Return why metas changed. They name the split and the items; any other change is in the descriptions.

    `moved` and `other` are the samples in another split, and those of other items.
    """
    counts = {
        "another split": mask & moved,
        "other items": mask & other,
        "the same items with another description (label, group, caption, licence, ...)": mask & ~moved & ~other,
    }
    return [f"{text} in {np.count_nonzero(which):,}" for text, which in counts.items() if which.any()]


def find_modality(field: str, dataset: ComparedDataset) -> str | None:
    """Return the modality of a field, by the manifest; None for labels, metas and unknown fields."""
    extract = dataset.manifest.extract or {}
    known, named = extract.get("modalities"), extract.get("parts")
    parts = known.items() if isinstance(known, Mapping) else ()
    part = next((str(name) for name, fields in parts if isinstance(fields, list) and field in fields), None)
    return str(named.get(part, part)) if part is not None and isinstance(named, Mapping) else part


def _concerns(change: Change, field: str, modality: str | None) -> bool:
    """Return whether a change of the recipe may have changed the field."""
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
