"""Measure predictions: the task's own scores, and what is measured of every task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.evaluate.calibration import measure_calibration
from pipeline.evaluate.intervals import measure_intervals
from pipeline.evaluate.metadata import GROUP, Categories
from pipeline.evaluate.params import EvaluateParams
from pipeline.evaluate.slices import measure_slices
from pipeline.evaluate.supplement import Supplement, extend_metrics, extend_report
from pipeline.evaluate.threshold_curves import measure_curves
from pipeline.models.model import Model
from pipeline.tasks.report import TaskReport
from pipeline.tasks.task import Predictions


@dataclass(frozen=True)
class Measured:
    """The content of `metrics.json`, the report, lines for the summary of the stage, and numbers for `summary.json`."""

    metrics: Mapping[str, Any]
    report: TaskReport
    notes: Sequence[str]
    summary: Mapping[str, float | None]


def measure_predictions(
    predictions: Predictions,
    model: Model,
    params: EvaluateParams,
    columns: Mapping[str, Categories],
    further: Sequence[Supplement] = (),
) -> Measured:
    """Measure the predictions of a model; `columns` are those of the samples' metadata that are read, `further` is what
    was measured before."""
    task, plan = model.task, model.plan
    metrics = task.measure(predictions, plan, params.split)
    supplements = [*list_supplements(predictions, model, params, columns), *further]
    for supplement in supplements:
        metrics = extend_metrics(metrics, supplement)
    report = extend_report(task.build_report(predictions, plan, metrics, params.worst), supplements)
    notes = list(task.describe_metrics(metrics))
    notes += [note for each in supplements for note in each.notes]
    summary = {name: value for each in supplements for name, value in each.summary.items()}
    return Measured(metrics, report, notes, summary)


def list_supplements(
    predictions: Predictions, model: Model, params: EvaluateParams, columns: Mapping[str, Categories]
) -> list[Supplement]:
    """Return what is measured beside the task's own scores, as far as the task has what it takes."""
    task, plan = model.task, model.plan
    found: list[Supplement] = []
    if task.list_probabilities is not None:
        probabilities = task.list_probabilities(predictions, plan)
        found += [measure_calibration(probabilities), measure_curves(probabilities)]
    if (tabulate := task.tabulate) is None:
        return found
    found.insert(0, measure_intervals(tabulate(predictions, plan), len(columns[GROUP].values), len(predictions.keys)))
    if params.slices:
        chosen = {name: columns[name] for name in params.slices}
        found.append(measure_slices(lambda selected: tabulate(selected, plan), predictions, chosen))
    return found
