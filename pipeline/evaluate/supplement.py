"""Add to the report of a task what the stage measures of every task: intervals, seeds, slices and so on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.tasks.report import Figure, ReportTable, Section, TaskReport


@dataclass(frozen=True)
class Supplement:
    """What was measured beside the task's own scores.

    Attributes:
        metrics: further keys of `metrics.json`.
        undefined: why keys of these are null.
        sections: of the page, after those of the task.
        figures, tables: by name, as in `TaskReport`.
        notes: lines for the summary of the stage.
        warnings: lines that stand in red above all else of the page.
        summary: further numbers of `summary.json`.
    """

    metrics: Mapping[str, Any] = field(default_factory=dict)
    undefined: Mapping[str, str] = field(default_factory=dict)
    sections: Sequence[Section] = ()
    figures: Mapping[str, Figure] = field(default_factory=dict)
    tables: Mapping[str, ReportTable] = field(default_factory=dict)
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()
    summary: Mapping[str, float | None] = field(default_factory=dict)


def extend_metrics(metrics: Mapping[str, Any], supplement: Supplement) -> dict[str, Any]:
    """Return the content of `metrics.json` with what a supplement has for it."""
    undefined = {**metrics["undefined"], **supplement.undefined}
    return {**metrics, **supplement.metrics, "undefined": undefined}


def extend_report(report: TaskReport, supplements: Sequence[Supplement]) -> TaskReport:
    """Return the report with what the supplements have for the page and the folder."""
    figures, tables = dict(report.figures), dict(report.tables)
    for each in supplements:
        figures |= each.figures
        tables |= each.tables
    sections = [*report.sections, *(section for each in supplements for section in each.sections)]
    warnings = [*report.warnings, *(line for each in supplements for line in each.warnings)]
    return replace(report, sections=sections, figures=figures, tables=tables, warnings=warnings)
