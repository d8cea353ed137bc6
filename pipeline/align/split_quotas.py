"""Deal few groups to the splits by quota: by chance, a split of 15 % would often get none of six speakers."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

FEWEST = 50
"""So many groups are assigned by their hash alone: a split with a share of 15 % gets none of 50 once in 3,400 times."""

ORDERS = 64
"""Orders that are tried: enough to come as close to the shares as groups of unequal sizes allow, in milliseconds."""


def deal_groups(sizes: Mapping[str, int], shares: Sequence[tuple[str, float]], salt: str) -> dict[str, str]:
    """Return the split of each group, so that the splits' samples come close to their shares.

    Groups are dealt in an order that their hashes give, each to the split that lacks most samples; the last ones go to
    splits that have none yet. Of `ORDERS` such orders the first counts whose splits come closest. Unlike with a hash
    alone, a new group may move others.

    Args:
        sizes: samples of each group.
        shares: the splits with a share over 0, and it.
        salt: another one deals anew.
    """
    deals = (_deal(sizes, shares, f"{salt}\0{number}") for number in range(ORDERS))
    return min(deals, key=lambda deal: _miss(deal, sizes, shares))


def _deal(sizes: Mapping[str, int], shares: Sequence[tuple[str, float]], salt: str) -> dict[str, str]:
    lacking = {split: share * sum(sizes.values()) for split, share in shares}
    order = sorted(sizes, key=lambda group: hashlib.sha256(f"{salt}\0{group}".encode()).digest())
    dealt: dict[str, str] = {}
    for left, group in zip(range(len(order), 0, -1), order, strict=True):
        empty = [split for split in lacking if split not in dealt.values()]
        split = max(empty if left <= len(empty) else lacking, key=lacking.__getitem__)
        lacking[split] -= sizes[group]
        dealt[group] = split
    return dealt


def _miss(dealt: Mapping[str, str], sizes: Mapping[str, int], shares: Sequence[tuple[str, float]]) -> float:
    """Return by how many samples the splits miss their shares."""
    placed: Counter[str] = Counter()
    for group, split in dealt.items():
        placed[split] += sizes[group]
    return sum(abs(placed[split] - share * sum(sizes.values())) for split, share in shares)
