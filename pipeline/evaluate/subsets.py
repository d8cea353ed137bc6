"""All ways to leave modalities out."""

from collections.abc import Sequence
from itertools import combinations

Subset = tuple[str, ...]


def list_subsets(modalities: Sequence[str]) -> list[Subset]:
    """Every non-empty subset, the smallest first, each in the order of `modalities`; the last one is all of them."""
    return [subset for size in range(1, len(modalities) + 1) for subset in combinations(modalities, size)]


def name_subset(subset: Subset) -> str:
    """`image + text`."""
    return " + ".join(subset)
