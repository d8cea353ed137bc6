"""Propose how samples are split: as the data says, or by a hash of their groups."""

from collections import Counter
from collections.abc import Mapping

from pipeline.align.given_splits import SPELLINGS
from pipeline.align.params import AlignParams
from pipeline.init.proposal import Guess

FULL_SHARES = dict(AlignParams().shares)

FEW_SHARES = {1: (1.0, 0.0, 0.0), 2: (0.5, 0.0, 0.5)}
"""Shares of train, val and test for fewer groups than there are splits."""


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
    if not groups:
        return {}, []
    keys, questions = {}, []
    if len(groups) < len(FULL_SHARES):
        shares = FEW_SHARES[len(groups)]
        keys["align.shares"] = Guess(dict(zip(FULL_SHARES, shares, strict=True)), "as few groups can be divided")
        questions.append(f"{len(groups)} groups cannot fill three splits")
    largest = max(groups.values()) / groups.total()
    if largest > AlignParams().max_group:
        keys["align.max_group"] = Guess(min(1.0, round(largest + 0.05, 2)), f"the largest has {largest:.0%}")
    return keys, questions
