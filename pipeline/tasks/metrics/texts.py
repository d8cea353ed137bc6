"""Score generated texts against true ones with sacrebleu: BLEU (Papineni et al. 2002) and chrF (Popović 2015).

BLEU is computed from counts that are added up over samples, so that resamples need not count again.
"""

from collections import Counter
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError

if TYPE_CHECKING:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

ORDERS = 4
"""BLEU compares runs of one to four tokens."""

Counts = NDArray[np.int64]
"""Of a text, (10,), or of several, (texts, 10): for each order the runs of the text that a true one has, as often as it
has them; for each order all runs; the length of the text, and that of the true text whose length is nearest, in
tokens."""


def check_installed() -> None:
    """Check that sacrebleu is installed.

    Raises:
        InputError: it is not.
    """
    if find_spec("sacrebleu") is None:
        raise InputError(
            "train.task is generation, whose texts sacrebleu scores, and it is not installed: pip install sacrebleu"
        )


@cache
def make_bleu() -> "BLEU":
    """Return sacrebleu's BLEU with its defaults; it counts sentence by sentence, for which it asks for
    `effective_order`."""
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(effective_order=True)


@cache
def make_chrf() -> "CHRF":
    """Return sacrebleu's chrF with its defaults."""
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()


def count_matches(texts: Sequence[str], truths: Sequence[Sequence[str]]) -> Counts:
    """Return the counts of each text against its true ones, (texts, 10)."""
    scored = [make_bleu().sentence_score(text, own) for text, own in zip(texts, truths, strict=True)]
    rows = [[*each.counts, *each.totals, each.sys_len, each.ref_len] for each in scored]
    return np.array(rows, np.int64).reshape(len(rows), 2 * ORDERS + 2)


def count_token_matches(text: Sequence[int], truth: Sequence[int]) -> Counts:
    """Return the counts of a text against one true text, (10,), both given as their tokens."""
    hits, totals = [], []
    for order in range(1, ORDERS + 1):
        mine, theirs = (
            Counter(zip(*(tokens[start:] for start in range(order)), strict=False)) for tokens in (text, truth)
        )
        hits.append((mine & theirs).total())
        totals.append(mine.total())
    return np.array([*hits, *totals, len(text), len(truth)], np.int64)


def compute_bleu(counts: Counts) -> float:
    """Return the BLEU, 0 to 100, of texts whose counts have the sum `counts`, (10,)."""
    hits, totals = counts[:ORDERS].tolist(), counts[ORDERS : 2 * ORDERS].tolist()
    score = float(make_bleu().compute_bleu(hits, totals, int(counts[-2]), int(counts[-1]), "exp").score)
    return min(score, 100.0)  # 100.00000000000004 by rounding


COUNTS = 2 * ORDERS + 2
"""Counts of a text: n-grams found and all, by their order, and the lengths of the text and of the nearest true one."""


def score_counts(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the BLEU, 0 to 100, of sums of counts (…, 10), (…).

    The same as `compute_bleu`, for many sums at once (Papineni et al. 2002; exponential smoothing as in Chen and Cherry
    2014, method 3).
    """
    hits, totals = counts[..., :ORDERS], counts[..., ORDERS : 2 * ORDERS]
    with np.errstate(divide="ignore", invalid="ignore"):
        smoothed = 1 / 2.0 ** np.cumsum(hits == 0, axis=-1)
        precisions = np.where(hits == 0, smoothed, hits) / totals
        brevity = np.minimum(1, np.exp(1 - counts[..., -1] / counts[..., -2]))
        scores: NDArray[np.float64] = np.minimum(100, 100 * brevity * np.exp(np.log(precisions).mean(-1)))
    return np.where((totals > 0).all(-1) & hits.any(-1), scores, 0)


def compute_chrf(texts: Sequence[str], truths: Sequence[Sequence[str]]) -> float:
    """Return the chrF, 0 to 100, of texts, each against its true ones."""
    most = max(map(len, truths))
    streams = [[own[number] if number < len(own) else None for own in truths] for number in range(most)]
    return float(make_chrf().corpus_score(texts, streams).score)  # type: ignore[arg-type]  # None is allowed


def compute_sentence_chrf(text: str, truths: Sequence[str]) -> float:
    """Return the chrF, 0 to 100, of one text."""
    return float(make_chrf().sentence_score(text, truths).score)


def name_settings() -> str:
    """Return how sacrebleu computed BLEU and chrF, in its own words, which make scores comparable."""
    from sacrebleu import __version__

    return f"sacrebleu {__version__}, BLEU tok:13a smooth:exp case:mixed, chrF nc:6 nw:0"
