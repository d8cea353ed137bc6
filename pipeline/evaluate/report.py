"""Writes the folder `7_report/`."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.evaluate.figures import draw_confusion, draw_history, draw_subsets
from pipeline.evaluate.gallery import collect_cards
from pipeline.evaluate.page import Report, build_page
from pipeline.evaluate.predict import Predictions
from pipeline.models.checkpoint import ModelRecord
from pipeline.models.scores import count_confusion
from pipeline.tables.parquet import Columns, write_table
from shardwright import ShardDataset

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table; None is an empty cell, and a text that a spreadsheet would run as a formula gets a `'` before it
    (owasp.org, CSV Injection)."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([neutralise(cell) for cell in row] for row in rows)


def neutralise(cell: Any) -> Any:
    """The cell, harmless in a spreadsheet."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_STARTS) else cell


def write_tables(folder: Path, metrics: Mapping[str, Any], predictions: Predictions, classes: Sequence[str]) -> None:
    """Write `confusion.csv` (a row a sample: what it is, what it was taken for; `dvc plots` counts them),
    `per_class.csv` and `subsets.csv`."""
    pairs = zip(predictions.truth.tolist(), predictions.predicted.tolist(), strict=True)
    write_csv(folder / "confusion.csv", ["actual", "predicted"], ((classes[a], classes[p]) for a, p in pairs))
    columns = ["support", "predicted", "precision", "recall", "f1"]
    rows = ([name, *(values[column] for column in columns)] for name, values in metrics["per_class"].items())
    write_csv(folder / "per_class.csv", ["class", *columns], rows)
    subsets = metrics["subsets"].items()
    rows = ([name, values["accuracy"], values["macro_f1"]] for name, values in subsets)
    write_csv(folder / "subsets.csv", ["subset", "accuracy", "macro_f1"], rows)


HISTORY_NAME = "history.tsv"

PREDICTIONS: Columns = {
    "key": "string",
    "truth": "string",
    "prediction": "string",
    "probability": "float64",  # of the prediction
    "truth_probability": "float64",
}
"""`predictions.parquet`: a row a sample, in reading order."""


@dataclass(frozen=True)
class Measured:
    """What was measured: the content of `metrics.json`, the predictions, the model's record, and the data, None where
    the split has no samples."""

    metrics: Mapping[str, Any]
    predictions: Predictions
    record: ModelRecord
    data: ShardDataset | None


def write_report(folder: Path, measured: Measured, model: Path, worst: int) -> None:
    """Write everything into `folder`. `model` is the model's folder, for its history; `worst` is how many samples to
    show at most."""
    metrics, predictions, record = measured.metrics, measured.predictions, measured.record
    text = json.dumps(metrics, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / "metrics.json").write_text(text + "\n", encoding="utf-8")
    write_tables(folder, metrics, predictions, record.classes)
    write_predictions(folder / "predictions.parquet", predictions, record)
    figures = draw_figures(measured, model)
    for name, png in figures.items():
        (folder / f"{name}.png").write_bytes(png)
    cards = [] if measured.data is None else collect_cards(measured.data, predictions, record.classes, worst)
    page = build_page(Report(metrics, figures, cards, record.dataset, describe_model(record)))
    (folder / "index.html").write_text(page, encoding="utf-8")


def write_predictions(path: Path, predictions: Predictions, record: ModelRecord) -> None:
    """Write `predictions.parquet`."""
    columns = zip(
        predictions.keys,
        (record.classes[number] for number in predictions.truth),
        (record.classes[number] for number in predictions.predicted),
        predictions.probability.tolist(),
        predictions.truth_probability.tolist(),
        strict=True,
    )
    write_table(path, (dict(zip(PREDICTIONS, row, strict=True)) for row in columns), PREDICTIONS)


def draw_figures(measured: Measured, model: Path) -> dict[str, bytes]:
    """PNGs by name. Those of scores are left out where there is nothing to show."""
    figures = {"history": draw_history(read_history(model / HISTORY_NAME), measured.record.best["epoch"])}
    if measured.metrics["samples"]:
        truth, predicted, classes = measured.predictions.truth, measured.predictions.predicted, measured.record.classes
        figures["confusion"] = draw_confusion(count_confusion(truth, predicted, len(classes)), classes)
        figures["subsets"] = draw_subsets(measured.metrics["subsets"])
    return figures


def read_history(path: Path) -> dict[str, list[float]]:
    """The columns of `history.tsv`; what is empty is NaN."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return {name: [float(row[name] or "nan") for row in rows] for name in rows[0]}


def describe_model(record: ModelRecord) -> str:
    """A sentence on what was trained."""
    names = record.architecture.encoders
    encoders = [f"{source.modality} ({names[source.modality]})" for source in record.architecture.inputs]
    fusion = f", joined by {record.architecture.fusion}" if len(encoders) > 1 else ""
    epoch = f"epoch {record.best['epoch']} of training"
    return f"A classifier of {len(record.classes)} classes from {', '.join(encoders)}{fusion}; {epoch}."
