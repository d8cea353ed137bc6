"""Choose few combinations of settings that have every pair of their values."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, product

Setting = tuple[str, str]


def list_pairs(row: Mapping[str, str], names: Sequence[str]) -> Iterator[tuple[Setting, Setting]]:
    """Yield the pairs of settings of a row, each in the order of `names`."""
    yield from combinations(((name, row[name]) for name in names if name in row), 2)


def cover_pairs(choices: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """Return rows with a value for each name, such that any two values of two names are together in one.

    Each row starts with the first pair that is left, and takes the values with most new pairs.
    """
    names = list(choices)
    pairs = combinations([[(name, value) for value in choices[name]] for name in names], 2)
    left = dict.fromkeys(pair for one, other in pairs for pair in product(one, other))
    rows = []
    while left:
        row = dict(next(iter(left)))
        for name in names:
            if name not in row:
                row[name] = max(
                    choices[name],
                    key=lambda value: sum(pair in left for pair in list_pairs({**row, name: value}, names)),
                )
        for pair in list_pairs(row, names):
            left.pop(pair, None)
        rows.append(row)
    return rows
