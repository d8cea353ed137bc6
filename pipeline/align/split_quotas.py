"""Choose the split, or the fold, of a group: by its hash, or by quota where there are few groups.

By chance, a split of 15 % would often get none of six speakers.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import accumulate

Share = tuple[str, float]
"""A split, or a fold, and its share of the samples."""

FEWEST = 50
"""So many groups are assigned by their hash alone: a split with a share of 15 % gets none of 50 once in 3,400 times."""

GROUPS_A_FOLD = 10
"""Folds are dealt by quota up to so many groups a fold: by hashes alone, one of ten gets none of 100 once in 3,800
times."""

ORDERS = 64
"""Orders that are tried: enough to come as close to the shares as groups of unequal sizes allow, in milliseconds."""


def count_few(shares: Sequence[Share]) -> int:
    """Return the number of groups from which on their hashes suffice."""
    return max(FEWEST, GROUPS_A_FOLD * len(shares))


def make_choice(sizes: Mapping[str, int], shares: Sequence[Share], salt: str) -> Callable[[str], str]:
    """Return the function that gives a group its split.

    Args:
        sizes: samples of each group, or of `count_few` groups if there are as many.
        shares: the splits with a share over 0, and it.
        salt: another one assigns anew.
    """
    if len(sizes) < count_few(shares):
        return deal_groups(sizes, shares, salt).__getitem__
    return partial(choose_split, edges=sum_shares(shares), salt=salt)


def sum_shares(shares: Sequence[Share]) -> list[Share]:
    """Return the splits, each with the sum of the shares up to it."""
    return list(zip((split for split, _ in shares), accumulate(share for _, share in shares), strict=True))


def choose_split(group: str, edges: Sequence[Share], salt: str) -> str:
    """Choose the split of a group: compare sha256 of salt and name, as a number in [0, 1), with the summed shares.

    It depends on nothing else, so new groups move no existing ones.
    """
    number = int.from_bytes(hashlib.sha256(f"{salt}\0{group}".encode()).digest()[:8]) / 2**64
    for split, edge in edges:
        if number < edge:
            return split
    return edges[-1][0]


def deal_groups(sizes: Mapping[str, int], shares: Sequence[Share], salt: str) -> dict[str, str]:
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


def _deal(sizes: Mapping[str, int], shares: Sequence[Share], salt: str) -> dict[str, str]:
    lacking = {split: share * sum(sizes.values()) for split, share in shares}
    order = sorted(sizes, key=lambda group: hashlib.sha256(f"{salt}\0{group}".encode()).digest())
    dealt: dict[str, str] = {}
    empty = dict.fromkeys(lacking)
    for left, group in zip(range(len(order), 0, -1), order, strict=True):
        split = max(empty if left <= len(empty) else lacking, key=lacking.__getitem__)
        empty.pop(split, None)
        lacking[split] -= sizes[group]
        dealt[group] = split
    return dealt


def _miss(dealt: Mapping[str, str], sizes: Mapping[str, int], shares: Sequence[Share]) -> float:
    """Return by how many samples the splits miss their shares."""
    placed: Counter[str] = Counter()
    for group, split in dealt.items():
        placed[split] += sizes[group]
    return sum(abs(placed[split] - share * sum(sizes.values())) for split, share in shares)
