"""List the metrics and the ways to average them. To add a metric: a function in a file of this folder, a line here.

A metric is a function from a `Tally` (exact counts by class) to scores of 0 to 1, float64: (…) for the whole split, or
(…, classes); NaN where it is not defined. `metrics.json`, the report and the choice of the best epoch take their names
from `SCORES`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from pipeline.config.lazy_import import LazyObject, LazyTable

if TYPE_CHECKING:
    from pipeline.tasks.metrics.tally import Floats, Tally

ComputeMetric: TypeAlias = "Callable[[Tally], Floats]"

AVERAGES: "LazyTable[Callable[[ComputeMetric, Tally], Floats]]" = LazyTable(
    {
        "macro": LazyObject("pipeline.tasks.metrics.tally:average_macro"),
        "weighted": LazyObject("pipeline.tasks.metrics.tally:average_weighted"),
        "micro": LazyObject("pipeline.tasks.metrics.tally:average_micro"),
    }
)
"""From a metric per class and a tally to one number."""


@dataclass(frozen=True)
class Metric:
    """A row of `METRICS`.

    Attributes:
        compute: the function.
        title: its name on the page and in figures.
        averages: the names in `AVERAGES` of a metric per class; empty for a metric of the whole split.
        undefined: why a class may have no such score, where `undefined` of `metrics.json` says so.
    """

    compute: LazyObject
    title: str
    averages: tuple[str, ...] = ()
    undefined: str = ""

    def load(self) -> ComputeMetric:
        """Import and return the function."""
        compute: ComputeMetric = self.compute.load()
        return compute


METRICS: Mapping[str, Metric] = {
    "accuracy": Metric(LazyObject("pipeline.tasks.metrics.scores:compute_accuracy"), "accuracy"),
    "precision": Metric(
        LazyObject("pipeline.tasks.metrics.scores:compute_precision"),
        "precision",
        tuple(AVERAGES),
        "the class is never predicted",
    ),
    "recall": Metric(
        LazyObject("pipeline.tasks.metrics.scores:compute_recall"),
        "recall",
        tuple(AVERAGES),
        "the split has no sample of the class",
    ),
    "f1": Metric(
        LazyObject("pipeline.tasks.metrics.scores:compute_f1"),
        "F1",
        tuple(AVERAGES),
        "the split has no sample of the class, and it is never predicted",
    ),
}


@dataclass(frozen=True)
class Score:
    """One number for a split: a metric of the whole split, or the average over the classes of a metric per class."""

    metric: str
    average: str = ""

    @property
    def title(self) -> str:
        """Its name on the page and in figures: `macro F1`."""
        return f"{self.average} {METRICS[self.metric].title}".strip()

    def compute(self, tally: "Tally") -> "Floats":
        """Return the score (…) of each tally; NaN where it is not defined."""
        compute = METRICS[self.metric].load()
        return AVERAGES[self.average](compute, tally) if self.average else compute(tally)


CLASS_METRICS: tuple[str, ...] = tuple(name for name, metric in METRICS.items() if metric.averages)
"""The metrics that each class has."""

SCORES: Mapping[str, Score] = {
    **{name: Score(name) for name, metric in METRICS.items() if not metric.averages},
    **{
        f"{average}_{name}": Score(name, average)
        for average in AVERAGES
        for name, metric in METRICS.items()
        if average in metric.averages
    },
}
"""Every score of a split by its name in `metrics.json`: `accuracy`, `macro_f1`."""
