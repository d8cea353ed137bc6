"""Measure how much scores depend on which groups of samples are in the split: 95 % intervals."""

from collections.abc import Sequence
from typing import Any

from pipeline.evaluate.supplement import Supplement
from pipeline.tasks.metrics.bootstrap import RESAMPLES, estimate_intervals, name_ends
from pipeline.tasks.metrics.sums import GroupSums
from pipeline.tasks.report import Cell, ReportTable, Section, Whiskers

TEXT = (
    "The scores with their 95 % intervals: a bootstrap over {count:,} {unit}, {resamples:,} times, smoothed such that "
    "rare classes vary. They show how much a score depends on which samples are in the split, not how much it depends "
    "on the seed of training."
)


def measure_intervals(sums: GroupSums, groups: int, samples: int) -> Supplement:
    """Return the ends of the intervals, `_low` and `_high`, and the number of groups; null where there are none."""
    intervals = estimate_intervals(sums)
    ends = name_ends(intervals)
    scores = sums.score()
    rows: list[list[Cell]] = [
        [name, scores[name], *interval] for name, interval in intervals.items() if interval is not None
    ]
    reason = "all samples are one group" if groups == 1 else "the score is not defined"
    undefined = {name: reason for name, value in ends.items() if value is None} if samples else {}
    metrics = {"groups": groups, **ends}
    if not rows:
        return Supplement(metrics, undefined=undefined, notes=[f"no intervals: {reason}"] * bool(samples))
    unit = "samples" if groups == samples else "groups of samples"
    text = TEXT.format(count=groups, unit=unit, resamples=RESAMPLES)
    shares = [row for row in rows if row[0] not in sums.bounds]
    return Supplement(
        metrics,
        undefined,
        [Section("Intervals", text, figure="intervals", alt="Scores with their intervals", table="intervals")],
        {"intervals": plan_whiskers("Scores with 95 % intervals", shares)} if shares else {},
        {"intervals": ReportTable({"score": "score", "value": "value", "low": "from", "high": "to"}, rows)},
    )


def plan_whiskers(title: str, rows: Sequence[Sequence[Any]], axis: str = "score") -> Whiskers:
    """Return the figure of rows whose first cell is a name, and whose next are a value and the ends of its interval."""
    return Whiskers(title, axis, {str(name): (value, low, high) for name, value, low, high in rows})
