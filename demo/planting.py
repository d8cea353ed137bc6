"""Choose which things get which flaws, and the originals of duplicates. Pure.

A thing with a flaw that costs a part, and a duplicate, has no other flaw; harmless flaws of picture, sound and caption
are combined freely.
"""

import numpy as np

from demo.flaws import EXPECTED, Flaw, count_planted

HARMLESS = (
    tuple(flaw for flaw in Flaw if EXPECTED[flaw].part == "picture" and not EXPECTED[flaw].loses_thing),
    (Flaw.OGG_COMMENT,),
    (Flaw.EMAIL_IN_CAPTION, Flaw.PHONE_IN_CAPTION),
)
"""The flaws with which a thing stays a sample, a group a part: a thing has at most one of each group."""

SLOW_THING = 1
"""The number of the thing with the slow picture: the first of the second list, so that a crawl waits for that picture
while it fetches the others. Pages of the first list have the links to the licences, which are dropped too."""


def plant_flaws(things: int, rng: np.random.Generator) -> list[tuple[Flaw, ...]]:
    """Return the flaws of each thing, in the order of their numbers."""
    flaws: list[list[Flaw]] = [[] for _ in range(things)]
    flaws[SLOW_THING].append(Flaw.SLOW_PICTURE)
    order = [int(number) for number in rng.permutation(things) if number != SLOW_THING]
    elsewhere = {Flaw.SLOW_PICTURE}.union(*HARMLESS)
    for flaw in Flaw:
        if flaw not in elsewhere:
            for _ in range(count_planted(flaw, things)):
                flaws[order.pop()].append(flaw)
    for group in HARMLESS:
        left = [int(number) for number in rng.permutation(order)]
        for flaw in group:
            for _ in range(count_planted(flaw, things)):
                flaws[left.pop()].append(flaw)
    return [tuple(planted) for planted in flaws]


def choose_originals(flaws: list[tuple[Flaw, ...]], rng: np.random.Generator) -> dict[int, int]:
    """Choose a flawless original for each duplicate: {number of the duplicate: number of the original}."""
    duplicates = [n for n, of in enumerate(flaws) if {Flaw.EXACT_DUPLICATE, Flaw.NEAR_DUPLICATE} & set(of)]
    flawless = [n for n, of in enumerate(flaws) if not of]
    chosen = rng.choice(flawless, size=len(duplicates), replace=False)
    return dict(zip(duplicates, map(int, chosen), strict=True))
