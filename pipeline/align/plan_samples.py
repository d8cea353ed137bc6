"""Plan all samples, from cleaned items to samples in splits: one pure function after another, each with its drops."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.align.assign_splits import PlacedSample, find_groups, place_samples, read_splits
from pipeline.align.build_samples import find_rare, gather_samples, label_samples
from pipeline.align.drop_duplicates import drop_duplicates
from pipeline.align.params import AlignParams, Rule, Rules
from pipeline.align.select_items import select_items
from pipeline.tables.columns import Row
from pipeline.tables.drops import Drop


@dataclass(frozen=True, slots=True)
class Plan:
    """The samples, in the order of their keys, and a drop for each item that is in none of them."""

    samples: Sequence[PlacedSample]
    drops: Sequence[Drop]

    @property
    def items(self) -> int:
        """Count the items in samples."""
        return sum(len(placed.sample.parts) for placed in self.samples)


def name_modalities(rows: Sequence[Row], params: AlignParams) -> AlignParams:
    """Return params that name the modalities of the samples: where `params` name none, all those of the items."""
    if params.modalities.selected:
        return params
    found = {row["modality"] for row in rows if params.within is None or row["source"] in params.within}
    return params.model_copy(update={"modalities": Rules({name: Rule() for name in found})})


def plan_samples(rows: Sequence[Row], params: AlignParams) -> Plan:
    """Put each cleaned item into one sample, or drop it. The order of `rows` does not matter.

    Labels and given splits are decided before duplicates, so that a sample that is dropped never replaces a good one;
    rare labels come last, when it is known how many samples each label has.
    """
    params = name_modalities(rows, params)
    candidates, drops = select_items(rows, params)
    samples, incomplete = gather_samples(candidates, params.modalities.selected)
    samples, unlabelled = label_samples(samples, params)
    samples, unsplit = read_splits(samples, params)
    samples, repeated = drop_duplicates(samples, params)
    placed, split_groups = place_samples(samples, find_groups(samples, params), params)
    rare = find_rare([each.sample for each in placed], params.min_samples)
    drops += incomplete + unlabelled + unsplit + repeated + split_groups
    kept = []
    for each in placed:
        if each.sample.label in rare:
            drops += each.sample.drop(rare[each.sample.label])
        else:
            kept.append(each)
    return Plan(kept, drops)
