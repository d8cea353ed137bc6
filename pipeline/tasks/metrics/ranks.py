"""Rank the right candidate of each query among all, and sum the ranks up, with the values of chance beside them.

Ties count against us: a model that gives all the same embedding finds nothing. No matrix of all pairs is in memory.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

CELLS = 1 << 22
"""Similarities that are computed at once, if a query has no more: 16 MB."""

TIE = 1e-6
"""Similarities of unit vectors in float32 that are no further apart are a tie: a product of matrices may round equal
columns differently."""

DEPTHS = (1, 5, 10)
"""The k of recall@k."""


@dataclass(frozen=True)
class Ranking:
    """What a search for the candidate of each of n queries found.

    Attributes:
        ranks: of the right candidate, from 1, int64 (n,).
        nearest: the row of the most similar other candidate, int64 (n,); -1 where there is no other.
    """

    ranks: NDArray[np.int64]
    nearest: NDArray[np.int64]


def rank_candidates(queries: Vectors, candidates: Vectors, cells: int = CELLS) -> Ranking:
    """Rank candidate i for query i among all candidates, both (n, width) unit vectors that may be on disk.

    The time grows with n², the memory with n: `cells` similarities are computed at once.
    """
    count = len(queries)
    ranks, nearest = np.zeros(count, np.int64), np.full(count, -1, np.int64)
    step = max(1, cells // max(1, count))
    whole = np.ascontiguousarray(np.asarray(candidates, np.float32).T)
    for start in range(0, count, step):
        rows = np.arange(start, min(start + step, count))
        similar = np.asarray(queries[rows], np.float32) @ whole
        own = similar[rows - start, rows]
        ranks[rows] = (similar >= own[:, None] - TIE).sum(1)
        if count > 1:
            similar[rows - start, rows] = -np.inf
            nearest[rows] = similar.argmax(1)
    return Ranking(ranks, nearest)


def count_same_class(ranking: Ranking, labels: NDArray[np.int64]) -> int:
    """Return how many queries find a candidate of their class first: their own, or else the most similar other."""
    return int(((ranking.ranks == 1) | (labels[ranking.nearest] == labels)).sum())


def score_ranks(ranks: NDArray[np.int64]) -> dict[str, float]:
    """Return `recall_at_<k>`, `median_rank` and `mrr` (mean reciprocal rank) of ranks (n,); NaN without queries."""
    if len(ranks) == 0:
        return dict.fromkeys(name_scores(), float("nan"))
    recalls = {f"recall_at_{depth}": float((ranks <= depth).mean()) for depth in DEPTHS}
    return {**recalls, "median_rank": float(np.median(ranks)), "mrr": float((1 / ranks).mean())}


def score_chance(count: int) -> dict[str, float]:
    """Return what `score_ranks` has in the mean where the order of `count` candidates is random; NaN without any."""
    if count == 0:
        return dict.fromkeys(name_scores(), float("nan"))
    recalls = {f"recall_at_{depth}": min(depth, count) / count for depth in DEPTHS}
    return {**recalls, "median_rank": (count + 1) / 2, "mrr": float((1 / np.arange(1, count + 1)).mean())}


def name_scores() -> list[str]:
    """Return the names of the scores of ranks."""
    return [*(f"recall_at_{depth}" for depth in DEPTHS), "median_rank", "mrr"]


def title_score(name: str) -> str:
    """Return the name of a score on pages: `recall@5`."""
    return {"median_rank": "median rank", "mrr": "mean reciprocal rank"}.get(name, name.replace("_at_", "@"))
