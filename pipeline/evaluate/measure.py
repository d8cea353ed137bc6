"""Measure predictions: the task's own scores, the user's metrics, and what is measured of every task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.evaluate.intervals import measure_intervals
from pipeline.evaluate.metadata import GROUP, Categories
from pipeline.evaluate.own_metrics import describe_own, measure_own
from pipeline.evaluate.params import EvaluateParams
from pipeline.evaluate.supplement import Supplement, extend_metrics, extend_report
from pipeline.models.model import Model
from pipeline.tasks.report import TaskReport
from pipeline.tasks.task import Predictions


@dataclass(frozen=True)
class Measured:
    """The content of `metrics.json`, the report, and lines for the summary of the stage."""

    metrics: Mapping[str, Any]
    report: TaskReport
    notes: Sequence[str]


def measure_predictions(
    predictions: Predictions,
    model: Model,
    classes: Sequence[str],
    params: EvaluateParams,
    columns: Mapping[str, Categories],
) -> Measured:
    """Measure the predictions of a model; `columns` are those of the samples' metadata that are read."""
    task, plan = model.task, model.plan
    metrics = task.measure(predictions, plan, params.split)
    metrics |= measure_own(params.metrics, predictions, classes)
    supplements = list_supplements(predictions, model, columns)
    for supplement in supplements:
        metrics = extend_metrics(metrics, supplement)
    report = extend_report(task.build_report(predictions, plan, metrics, params.worst), supplements)
    notes = [*task.describe_metrics(metrics), *describe_own(metrics)]
    return Measured(metrics, report, [*notes, *(note for each in supplements for note in each.notes)])


def list_supplements(predictions: Predictions, model: Model, columns: Mapping[str, Categories]) -> list[Supplement]:
    """Return what is measured beside the task's own scores; nothing of a task without scores that are sums."""
    if model.task.tabulate is None:
        return []
    sums = model.task.tabulate(predictions, model.plan)
    return [measure_intervals(sums, len(columns[GROUP].values), len(predictions.keys))]
