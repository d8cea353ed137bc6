"""Groups: the samples that may not be torn apart by a split."""

from collections.abc import Hashable, Sequence

import numpy as np

from pipeline.align.duplicates import find_ties
from pipeline.align.gather import Sample
from pipeline.align.params import AlignParams
from pipeline.components import find_components


def find_groups(samples: Sequence[Sample], params: AlignParams) -> list[str]:
    """The name of each sample's group; `samples` are in the order of their keys.

    Samples are in one group if they name the same group, or are duplicates that may not cross splits, directly or by
    way of others. A group's name is the smallest name that the data gives it, else its smallest key: so a further
    sample changes a group's name only if it joins that group, and moves no other sample.
    """
    first: dict[Hashable, int] = {}
    edges: list[tuple[int, int]] = []
    for number, sample in enumerate(samples):
        for tie in [*_list_names(sample), *find_ties(sample, params)]:
            edges.append((first.setdefault(tie, number), number))
    left, right = np.array(edges, dtype=np.int64).reshape(-1, 2).T
    roots = find_components(len(samples), left, right).tolist()
    names: dict[int, str] = {}
    for sample, root in zip(samples, roots, strict=True):
        for _, name in _list_names(sample):
            names[root] = min(names.get(root, name), name)
    return [names.get(root, samples[root].key) for root in roots]


def _list_names(sample: Sample) -> list[tuple[str, str]]:
    """The groups that its items name, marked so that none is taken for a cluster."""
    return [("named", part.group) for part in sample.parts.values() if part.group]
