"""Drop or group duplicates, a sample at a time: two different things may share a caption or a recording.

`clean` has marked the duplicates of each modality: `exact_cluster` (the same bytes) lies within `near_cluster` (looks,
sounds or reads the same). A sample repeats another if that holds for all its required parts.
"""

from collections.abc import Hashable, Sequence

from pipeline.align.build_samples import Sample
from pipeline.align.params import AlignParams, Duplicates
from pipeline.tables.contracts import SPLITS
from pipeline.tables.drops import Drop, Reason, Rejection


def drop_duplicates(samples: Sequence[Sample], params: AlignParams) -> tuple[list[Sample], list[Drop]]:
    """Keep the sample with the smallest key of those that repeat each other under the policy `drop`.

    Where the data gives the splits, test comes before val, and val before train: so the test set stays what it was.
    `samples` are in the order of their keys; so are those that are kept.
    """
    required = params.modalities.required
    column = _choose_column(params.duplicates, ("drop",))
    if column is None:
        return list(samples), []
    best: dict[Hashable, Sample] = {}
    for sample in sorted(samples, key=_order):
        best.setdefault(_list_clusters(sample, required, column), sample)
    kept: list[Sample] = []
    drops: list[Drop] = []
    for sample in samples:
        chosen = best[_list_clusters(sample, required, column)]
        if chosen is sample:
            kept.append(sample)
        else:
            drops += sample.drop(_reject(sample, chosen, required), kept_key=chosen.key)
    return kept, drops


def _order(sample: Sample) -> tuple[int, str]:
    return -SPLITS.index(sample.split) if sample.split else 0, sample.key


def find_ties(sample: Sample, params: AlignParams) -> list[Hashable]:
    """Return the clusters that tie the sample to the split of every other sample with one of them."""
    column = _choose_column(params.duplicates, ("drop", "group"))
    if column is None:
        return []
    if params.duplicates.share_split == "all":
        return [_list_clusters(sample, params.modalities.required, column)]
    return list(_list_clusters(sample, tuple(sample.parts), column))


def _choose_column(duplicates: Duplicates, policies: Sequence[str]) -> str | None:
    """Return the near clusters if their policy is among `policies`, else the exact ones, else None."""
    if duplicates.near in policies:
        return "near_cluster"
    return "exact_cluster" if duplicates.exact in policies else None


def _list_clusters(sample: Sample, modalities: Sequence[str], column: str) -> tuple[str, ...]:
    return tuple(sample.parts[modality].row[column] for modality in modalities)


def _reject(sample: Sample, kept: Sample, required: Sequence[str]) -> Rejection:
    if _list_clusters(sample, required, "exact_cluster") == _list_clusters(kept, required, "exact_cluster"):
        detail = "its sample has the same bytes as another"
        return Rejection(Reason.DUPLICATE, detail, limit="drop", setting="align.duplicates.exact")
    detail = "its sample looks, sounds or reads like another"
    return Rejection(Reason.NEAR_DUPLICATE, detail, limit="drop", setting="align.duplicates.near")
