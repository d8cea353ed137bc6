"""Sum up the scores of all folds: a table, a page, and the same as TSV and JSON."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from pipeline.evaluate.own_metrics import OWN
from pipeline.evaluate.page import Page, build_page
from pipeline.evaluate.report import neutralize, write_tables
from pipeline.tables.table_files import write_batches
from pipeline.tasks.report import Cell, ReportTable, Section, TaskReport, Tile, format_score

if TYPE_CHECKING:
    from pipeline.experiments.pool_predictions import Pooled

SAMPLES = "samples"
Scores = Mapping[str, float | None]


@dataclass(frozen=True)
class FoldScores:
    """A fold: its number, its name if it has one, and the numbers of the report on it."""

    number: int
    name: str | None
    scores: Scores


@dataclass(frozen=True)
class FoldTable:
    """Scores by name: of each fold, their mean and sample standard deviation, and those of all predictions together.

    Attributes:
        pooled: empty where predictions of several models cannot be measured together.
    """

    folds: Sequence[FoldScores]
    mean: Scores
    deviation: Scores
    pooled: Scores

    def list_rows(self, names: Sequence[str]) -> Iterable[list[Cell]]:
        """Yield a row for each fold, then those of the mean, the deviation and the pooled predictions: first what it
        is, then the scores of these names."""
        for fold in self.folds:
            title = (
                f"fold {fold.number}"
                if fold.name in (None, f"fold {fold.number}")
                else f"fold {fold.number}, {fold.name}"
            )
            yield [title, *(fold.scores.get(name) for name in names)]
        further = {"mean": self.mean, "standard deviation": self.deviation, "pooled": self.pooled}
        for title, scores in further.items():
            if scores:
                yield [title, *(scores.get(name) for name in names)]


def select_numbers(metrics: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the numbers in the content of a `metrics.json`; the user's own metrics are among them."""
    numbers = {name: value for name, value in metrics.items() if value is None or isinstance(value, int | float)}
    return {**numbers, **metrics.get(OWN, {})}


def tabulate_folds(folds: Sequence[FoldScores], pooled: Mapping[str, Any] | None) -> FoldTable:
    """Return the table.

    Numbers of samples have no mean; a mean or deviation is null where a fold lacks the score, as without a class.
    """
    means: dict[str, float | None] = {}
    deviations: dict[str, float | None] = {}
    for name in filter(lambda name: name != SAMPLES, folds[0].scores):
        values = [value for fold in folds if (value := fold.scores.get(name)) is not None]
        whole = len(values) == len(folds)
        means[name] = mean(values) if whole else None
        deviations[name] = stdev(values) if whole and len(values) > 1 else None
    return FoldTable(folds, means, deviations, {} if pooled is None else select_numbers(pooled))


def write_fold_report(folder: Path, folds: Sequence[FoldScores], pooled: "Pooled") -> list[str]:
    """Write the report into `folder`, which is made: `folds.json`, `folds.tsv` and `index.html`; of the predictions of
    all folds together, `metrics.json`, the tables of the task, and `predictions`. Return the table for the terminal."""
    table = tabulate_folds(folds, pooled.metrics)
    folder.mkdir()
    content = {
        "folds": [{"fold": fold.number, "name": fold.name, **fold.scores} for fold in folds],
        "mean": table.mean,
        "standard_deviation": table.deviation,
        "pooled": table.pooled or None,
    }
    write_json(folder / "folds.json", content)
    write_tsv(folder / "folds.tsv", table)
    shown = {SAMPLES: SAMPLES, **pooled.titles}
    report = pooled.report
    if report is not None and pooled.metrics is not None:
        write_json(folder / "metrics.json", pooled.metrics)
        write_tables(folder, report)
        write_batches(folder / "predictions", report.predictions, report.columns)
    (folder / "index.html").write_text(build_fold_page(table, pooled, shown), encoding="utf-8")
    return format_table(table, shown)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object."""
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def write_tsv(path: Path, table: FoldTable) -> None:
    """Write all numbers, a row a fold; null is an empty cell."""
    names = list(table.folds[0].scores)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(["fold", *names])
        writer.writerows([neutralize(cell) for cell in row] for row in table.list_rows(names))


def format_table(table: FoldTable, shown: Mapping[str, str]) -> list[str]:
    """Return the table as aligned lines, with the columns `shown`, each with its title."""
    rows = [["", *shown.values()], *([str(row[0]), *map(format_cell, row[1:])] for row in table.list_rows(list(shown)))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]


def format_cell(cell: Cell) -> str:
    """Return a number of the table: counts as they are, scores with three decimals."""
    return str(cell) if isinstance(cell, int | str) else format_score(cell)


def build_fold_page(table: FoldTable, pooled: "Pooled", shown: Mapping[str, str]) -> str:
    """Return the page: the table of the folds, then what the task reports on all predictions together."""
    from pipeline.evaluate.draw_figure import draw_figure

    means = [
        (title, table.mean[name], table.deviation[name]) for name, title in pooled.titles.items() if name in table.mean
    ]
    tiles = [
        Tile(f"{format_score(value)} ± {format_score(spread)}", f"{title}, mean and standard deviation over folds")
        for title, value, spread in reversed(means)
    ]
    text = (
        "Each sample is tested on once, by a model that saw none of its group in training. The mean and the standard "
        "deviation are over folds; pooled are the predictions of all folds together."
    )
    report = pooled.report or TaskReport([], [], {}, {}, {}, [], [])
    folds = ReportTable({"fold": "", **shown}, list(table.list_rows(list(shown))))
    combined = replace(
        report,
        tiles=tiles,
        sections=[Section("Folds", text, table="folds"), *report.sections],
        tables={**report.tables, "folds": folds},
    )
    figures = {name: draw_figure(figure) for name, figure in report.figures.items()}
    described = f"Cross-validation over {len(table.folds)} folds: {pooled.description}."
    return build_page(Page(pooled.split, pooled.dataset, described, combined, figures, []))
