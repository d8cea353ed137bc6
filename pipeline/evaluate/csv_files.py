"""The report's tables as CSV, for spreadsheets and for `dvc plots`."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.evaluate.predict import Predictions

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
