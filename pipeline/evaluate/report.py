"""Write the folder `7_report/`: metrics, tables, figures and the page."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.evaluate.cards import collect_cards
from pipeline.evaluate.draw_figure import draw_figure
from pipeline.evaluate.figures import draw_history
from pipeline.evaluate.page import Page, build_page
from pipeline.models.history import HISTORY_NAME, read_history
from pipeline.models.record import ModelRecord
from pipeline.tables.table_files import write_batches
from pipeline.tasks.report import TaskReport
from shardwright import ShardDataset

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Evaluated:
    """What was measured.

    Attributes:
        metrics: the content of `metrics.json`.
        summary: the content of `summary.json`.
        report: what the task reports.
        record: of the model.
        description: what the model is: `a classifier of 12 classes`.
        titles: of the validation scores by name.
        data: the split, or None where it has no samples.
    """

    metrics: Mapping[str, Any]
    summary: Mapping[str, float | None]
    report: TaskReport
    record: ModelRecord
    description: str
    titles: Mapping[str, str]
    data: ShardDataset | None


def write_report(folder: Path, evaluated: Evaluated, model: Path) -> None:
    """Write all files into `folder`. `model` is the model's folder, which has the history of training."""
    report, record = evaluated.report, evaluated.record
    write_numbers(folder, evaluated.metrics, evaluated.summary)
    write_tables(folder, report)
    write_batches(folder / "predictions", report.predictions, report.columns)
    figures = {"history": draw_history(read_history(model / HISTORY_NAME), record.best["epoch"], evaluated.titles)}
    figures |= {name: draw_figure(figure) for name, figure in report.figures.items()}
    for name, png in figures.items():
        (folder / f"{name}.png").write_bytes(png)
    cards, examples = (
        [] if evaluated.data is None else collect_cards(evaluated.data, chosen)
        for chosen in (report.mistakes, report.examples)
    )
    page = Page(evaluated.metrics["split"], record.dataset, describe_model(evaluated), report, figures, cards, examples)
    (folder / "index.html").write_text(build_page(page), encoding="utf-8")


def write_dataset_report(folder: Path, page: Page, metrics: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
    """Write the files of a dataset without a model into `folder`."""
    write_numbers(folder, metrics, summary)
    write_tables(folder, page.report)
    (folder / "index.html").write_text(build_page(page), encoding="utf-8")


def write_numbers(folder: Path, metrics: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
    """Write `metrics.json` and `summary.json`."""
    for name, content in (("metrics", metrics), ("summary", summary)):
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
        (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def write_tables(folder: Path, report: TaskReport) -> None:
    """Write the tables of a task as CSV, and its arrays; no table is whole in memory."""
    for name, table in report.tables.items():
        write_csv(folder / f"{name}.csv", list(table.columns), table.rows)
    for name, array in report.arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table as CSV; None is an empty cell.

    Text that a spreadsheet would run as a formula gets a `'` before it (owasp.org, CSV Injection).
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([neutralize(cell) for cell in row] for row in rows)


def neutralize(cell: Any) -> Any:
    """Return the cell, harmless in a spreadsheet."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_STARTS) else cell


def describe_model(evaluated: Evaluated) -> str:
    """Return a sentence on the model: what it is, its encoders, its fusion, its epoch."""
    record = evaluated.record
    names = record.architecture.encoders
    encoders = [f"{source.part} ({names[source.modality]})" for source in record.architecture.inputs]
    fuses = len(encoders) > 1 and record.architecture.fusion is not None
    fusion = f"; fusion: {record.architecture.fusion}" if fuses else ""
    description = evaluated.description[:1].upper() + evaluated.description[1:]
    return f"{description} from {', '.join(encoders)}{fusion}; weights of epoch {record.best['epoch']}."
