"""Test whether one model is better than another on the same samples: paired bootstrap, and McNemar's test."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from pipeline.errors import InputError
from pipeline.tasks.kept_predictions import KeptPredictions
from pipeline.tasks.metrics.bootstrap import estimate_intervals
from pipeline.tasks.metrics.sums import GroupSums
from pipeline.tasks.metrics.tally import Floats


@dataclass(frozen=True)
class ScoreDifference:
    """A score of both, how much higher it is in the second, the 95 % interval of that, and which one is better:
    `first`, `second`, or `neither` where the interval has 0."""

    first: float
    second: float
    difference: float
    low: float | None
    high: float | None
    better: str


@dataclass(frozen=True)
class McNemar:
    """Samples that are right in one alone, and the p-value of the exact test that both are equally often right."""

    first_alone: int
    second_alone: int
    p_value: float


@dataclass(frozen=True)
class PairedComparison:
    """What two reports differ in.

    Attributes:
        samples, groups: of the split.
        scores: by name.
        mcnemar: None for a task whose predictions are not right or wrong.
    """

    samples: int
    groups: int
    scores: Mapping[str, ScoreDifference] = field(default_factory=dict)
    mcnemar: McNemar | None = None


def compare_predictions(first: KeptPredictions, second: KeptPredictions) -> PairedComparison:
    """Compare the main scores of two models.

    Raises:
        InputError: they were measured on other samples, or are of other tasks.
    """
    check_comparable(first, second)
    task = first.find_task()
    if task.tabulate is None:
        raise InputError(f"the task {first.task} has no scores that can be compared")
    one, other = (task.tabulate(each.predictions, each.plan) for each in (first, second))
    intervals = estimate_intervals(pair_sums(one, other))
    before, after = one.score(), other.score()
    scores = {}
    for name, interval in intervals.items():
        low, high = interval or (None, None)
        better = "neither"
        if low is not None and high is not None and (low > 0 or high < 0):
            better = "second" if (low > 0) != (name in one.errors) else "first"
        scores[name] = ScoreDifference(before[name], after[name], after[name] - before[name], low, high, better)
    groups = len(np.unique(first.predictions.groups))
    return PairedComparison(len(first.predictions.keys), groups, scores, run_mcnemar(first, second))


def check_comparable(first: KeptPredictions, second: KeptPredictions) -> None:
    """Check that two models have the same task, and were measured on the same samples.

    Raises:
        InputError: they do not; the message has both values.
    """
    for name in ("task", "dataset", "split"):
        one, other = getattr(first, name), getattr(second, name)
        if one != other:
            raise InputError(f"the reports cannot be compared: the first is of the {name} {one}, the second of {other}")


def pair_sums(first: GroupSums, second: GroupSums) -> GroupSums:
    """Return the differences of scores, second less first, as functions of the sums of both side by side: both have the
    same weights of groups in each resample."""
    cut = first.table.shape[1]

    def compute(sums: Floats) -> dict[str, Floats]:
        before, after = first.compute(sums[..., :cut]), second.compute(sums[..., cut:])
        return {name: after[name] - before[name] for name in before}

    names = first.compute(first.totals)
    return GroupSums(
        table=np.concatenate([first.table, second.table], axis=1),
        compute=compute,
        prior=np.concatenate([first.prior, second.prior], axis=1),
        shapes=(first.shapes + second.shapes) / 2,
        bounds=dict.fromkeys(names, (-np.inf, np.inf)),
    )


def run_mcnemar(first: KeptPredictions, second: KeptPredictions) -> McNemar | None:
    """Return McNemar's exact test of which samples are right (McNemar 1947): of those right in one alone, how likely a
    fair coin divides them as unevenly. It takes samples for independent, also where they have groups."""
    from scipy.special import bdtr

    find_right = first.find_task().find_right
    if find_right is None:
        return None
    one, other = (find_right(each.predictions, each.plan) for each in (first, second))
    alone = int((one & ~other).sum()), int((other & ~one).sum())
    p_value = min(1.0, 2 * float(bdtr(min(alone), sum(alone), 0.5))) if sum(alone) else 1.0
    return McNemar(*alone, p_value)
