"""Propose how samples are split: as the data says, or by a hash under which few groups fill all splits."""

from collections import Counter
from collections.abc import Mapping

from pipeline.align.assign_splits import SPELLINGS, choose_split, sum_shares
from pipeline.align.params import AlignParams, Shares
from pipeline.init.proposal import Guess

MANY = 100
"""So many groups fill all splits by any hash."""

SALTS = 200


def propose_given(source: str, values: Mapping[str, int], where: str) -> dict[str, Guess]:
    """Return the keys for splits that the data gives: `source` is `path` or `column`."""
    found = {SPELLINGS[value.lower()] for value in values}
    shown = ", ".join(f"{value} {count}" for value, count in sorted(values.items()))
    keys = {"align.split": Guess(source, f"{where}: {shown}")}
    if "test" not in found and "val" in found:
        keys["evaluate.split"] = Guess("val", "there is no test split")
    return keys


def propose_hash(groups: Counter[str]) -> tuple[dict[str, Guess], list[str]]:
    """Return the keys for splits by a hash of these groups (samples of each by name), and what cannot be decided."""
    if not groups or len(groups) > MANY:
        return {}, []
    params = AlignParams()
    if len(groups) < 3:
        return {}, [f"{len(groups)} groups cannot fill three splits"]
    keys = {}
    salt = min(map(str, range(SALTS)), key=lambda each: (_miss(groups, each, params.shares), int(each)))
    if salt != params.salt:
        keys["align.salt"] = Guess(salt, f"with which the {len(groups)} groups fill all splits")
    largest = max(groups.values()) / groups.total()
    if largest > params.max_group:
        keys["align.max_group"] = Guess(min(1.0, round(largest + 0.05, 2)), f"the largest has {largest:.0%}")
    return keys, []


def _miss(groups: Counter[str], salt: str, shares: Shares) -> float:
    """Return how far a salt is from the shares; an empty split is worse than any."""
    placed: Counter[str] = Counter()
    edges = sum_shares(shares)
    for group, size in groups.items():
        placed[choose_split(group, edges, salt)] += size
    empty = sum(not placed[split] for split, _ in shares)
    misses: float = sum(abs(placed[split] / groups.total() - share) for split, share in shares)
    return empty + misses / 2
