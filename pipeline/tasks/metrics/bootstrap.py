"""Resample groups of samples, and find the intervals of scores that are functions of sums.

Groups are drawn with replacement, with a multinomial up to `FEW` groups and else with independent Poisson counts
(Hanley and MacGibbon 2006: Creating non-parametric bootstrap samples using Poisson frequencies), so that resampling is
a product of matrices.

The percentile interval of plain resamples is too narrow where classes are rare: a class of one sample does not vary,
or leaves the mean. So each resample has a further group by the prior of `GroupSums`. The interval lies around the
scores of the smoothed sums, and its percentiles are widened for few groups (Hesterberg 2015: What teachers should know
about the bootstrap, 5.3). Measured coverage: `tests/evaluate/test_coverage.py`.
"""

import math
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from pipeline.tasks.metrics.sums import SCORE_BOUNDS, GroupSums
from pipeline.tasks.metrics.tally import Floats

RESAMPLES = 10_000
SEED = 0
LEVEL = 0.95
FEW = 256

DRAWN_CELLS = 1 << 19
"""Numbers that are drawn at once: weights of groups, 2 MB."""

POISSON = np.repeat(np.arange(6, dtype=np.float32), [94, 95, 46, 16, 4, 1])
"""Counts by the value of a random byte: those of a Poisson distribution to 1/256, with its mean and variance of 1."""

DIGITS = 4
"""Significant digits of the ends of intervals: those after are noise of resampling."""

Interval = tuple[float, float]


def resample_scores(sums: GroupSums, seed: int = SEED) -> dict[str, Floats]:
    """Return the scores of `RESAMPLES` resamples by name, (resamples,), smoothed by the prior."""
    chunks = [sums.compute(chunk) for chunk in _resample_sums(sums, np.random.default_rng(seed))]
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def _resample_sums(sums: GroupSums, rng: np.random.Generator) -> Iterator[Floats]:
    """Yield the sums of resamples, (some, width), `RESAMPLES` in all."""
    groups = len(sums.table)
    table, prior = sums.table.astype(np.float32), sums.prior.astype(np.float32)
    step = max(1, min(RESAMPLES, DRAWN_CELLS // max(1, *table.shape, len(prior))))
    for start in range(0, RESAMPLES, step):
        count = min(step, RESAMPLES - start)
        drawn = (_draw_weights(rng, count, groups) @ table).astype(np.float64)
        drawn += rng.standard_gamma(sums.shapes, (count, len(prior))).astype(np.float32) @ prior
        yield drawn


def _draw_weights(rng: np.random.Generator, count: int, groups: int) -> NDArray[np.float32]:
    """Return how often each group is in each resample, (count, groups)."""
    if groups <= FEW:
        return rng.multinomial(groups, np.full(groups, 1 / groups), count).astype(np.float32)
    weights = np.empty(count * groups, np.float32)
    np.take(POISSON, np.frombuffer(rng.bytes(len(weights)), np.uint8), out=weights, mode="clip")
    return weights.reshape(count, groups)


def estimate_intervals(sums: GroupSums) -> dict[str, Interval | None]:
    """Return the interval at `LEVEL` of each score, which contains the score; None where there are fewer than two
    groups, or where the score is not defined."""
    scores = sums.score()
    if len(sums.table) < 2:
        return dict.fromkeys(scores)
    centres, drawn = sums.compute(sums.smoothed), resample_scores(sums)
    return {
        name: _find_interval(drawn[name], scores[name], float(centres[name]), len(sums.table), bounds)
        for name in scores
        for bounds in (sums.bounds.get(name, SCORE_BOUNDS),)
    }


def _find_interval(drawn: Floats, score: float, centre: float, groups: int, bounds: Interval) -> Interval | None:
    """Return the interval around `centre` of the resampled scores (resamples,)."""
    drawn = drawn[np.isfinite(drawn)]
    if not math.isfinite(score) or not len(drawn):
        return None
    low, high = (centre + end - drawn.mean() for end in find_percentiles(drawn, groups))
    return min(score, round_end(max(bounds[0], low))), max(score, round_end(min(bounds[1], high)))


def find_percentiles(drawn: Floats, groups: int) -> Interval:
    """Return the percentiles at `LEVEL` of resampled scores (resamples,), widened as Student's t with `groups - 1`
    degrees of freedom is wider than the normal distribution, and by the bias of a variance of few."""
    from scipy.special import ndtr, stdtrit

    tail = float(ndtr(stdtrit(groups - 1, (1 - LEVEL) / 2) * math.sqrt(groups / (groups - 1))))
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)


def round_end(value: float) -> float:
    """Return the value with `DIGITS` significant digits."""
    return float(f"{value:.{DIGITS}g}")


def name_ends(intervals: Mapping[str, Interval | None]) -> dict[str, float | None]:
    """Return the ends by the name of the score with `_low` and `_high`, as `metrics.json` has them."""
    return {
        f"{name}_{end}": None if interval is None else interval[place]
        for name, interval in intervals.items()
        for place, end in enumerate(("low", "high"))
    }
