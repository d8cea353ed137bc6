"""Write and read `history.tsv`: a row for each epoch of training."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HISTORY_NAME = "history.tsv"
SCORE_PREFIX = "val_"
LOSS = "loss"
"""The name of the validation loss among the scores."""


@dataclass(frozen=True)
class Epoch:
    """One epoch. Without validation samples `val_loss` and the scores are None, and empty in the file.

    Attributes:
        number: counted from 1.
        train_loss: mean over the training samples, as augmented and with smoothed targets.
        val_loss: mean over the validation samples, not augmented and not smoothed.
        val_scores: over the validation samples by name, the higher the better; the last one selects the best epoch.
        learning_rate: of the epoch's last step.
    """

    number: int
    train_loss: float
    val_loss: float | None
    val_scores: Mapping[str, float | None]
    learning_rate: float

    def beats(self, other: "Epoch | None", monitor: str | None = None, minimizes: bool = False) -> bool:
        """Return whether the selecting score is higher, or lower where that is better, or the same at a lower loss;
        without scores, always.

        `monitor` names the score, `LOSS` the validation loss; None is the last score.
        """
        if other is None:
            return True
        mine, theirs = (epoch.find_score(monitor) for epoch in (self, other))
        if mine is None or theirs is None:
            return True
        if minimizes:
            mine, theirs = -mine, -theirs
        return (mine, -(self.val_loss or 0)) > (theirs, -(other.val_loss or 0))

    def find_score(self, monitor: str | None) -> float | None:
        """Return the score that selects the best epoch."""
        if monitor == LOSS:
            return self.val_loss
        return self.val_scores[monitor or list(self.val_scores)[-1]]

    def to_row(self) -> dict[str, int | float | None]:
        """Return the columns of the file: `epoch`, the losses, `val_` and each score's name, `learning_rate`."""
        return {
            "epoch": self.number,
            "train_loss": self.train_loss,
            "val_loss": self.val_loss,
            **{f"{SCORE_PREFIX}{name}": value for name, value in self.val_scores.items()},
            "learning_rate": self.learning_rate,
        }


def write_history(path: Path, epochs: Sequence[Epoch]) -> None:
    """Write a row for each epoch."""
    write_rows(path, [epoch.to_row() for epoch in epochs])


def write_rows(path: Path, rows: Sequence[Mapping[str, int | float | None]]) -> None:
    """Write a header and rows, tab-separated, six digits a number."""
    lines = ["\t".join(rows[0]), *map(format_row, rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def format_row(row: Mapping[str, int | float | None]) -> str:
    """Return the values of a row, tab-separated; nothing for None."""
    return "\t".join("" if value is None else f"{value:.6g}" for value in row.values())


def read_history(path: Path) -> dict[str, list[float]]:
    """Return the columns by name; NaN where the file has an empty cell."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return {name: [float(row[name] or "nan") for row in rows] for name in rows[0]}
