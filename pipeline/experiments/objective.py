"""Read what a search looks at: the validation score of the epoch that is published. The test split is never read."""

import csv
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

from pipeline.errors import InputError
from pipeline.models.history import SCORE_PREFIX
from pipeline.models.seed_folders import SEEDS_NAME
from pipeline.models.untrained import read_untrained
from pipeline.tables.contracts import MODEL_FOLDER

if TYPE_CHECKING:
    from pipeline.models.record import ModelRecord


@dataclass(frozen=True)
class Objective:
    """A validation score: its column in `history.tsv`, its title, and whether less is better."""

    column: str
    title: str
    minimizes: bool


def read_objective(record: "ModelRecord") -> Objective:
    """Return what selects the best epoch of a model: `train.monitor`, or the main score of its task."""
    from pipeline.tasks.table import TASKS

    task = TASKS[record.task]
    name = record.params["monitor"] or list(task.scores)[-1]
    return Objective(f"{SCORE_PREFIX}{name}", task.scores.get(name, name), task.minimizes(name))


def read_value(data: Path) -> tuple[Objective, float]:
    """Return the score of the model in a data folder: over several seeds, their mean.

    Raises:
        InputError: there is no model, or it has no such score.
    """
    from pipeline.models.record import read_record

    folder = data / MODEL_FOLDER
    untrained = read_untrained(folder)
    if untrained is not None:
        raise InputError(untrained.reason)
    record = read_record(folder)
    objective = read_objective(record)
    values = [record.best.get(objective.column)]
    if (folder / SEEDS_NAME).is_file():
        values = read_column(folder / SEEDS_NAME, objective.column)
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        raise InputError(f"the model has no {objective.column}: a search needs validation samples (align.shares.val)")
    return objective, mean(known)


def read_column(path: Path, column: str) -> list[float | None]:
    """Return a column of a table of numbers; None where a cell is empty."""
    with path.open(encoding="utf-8", newline="") as file:
        return [float(row[column]) if row[column] else None for row in csv.DictReader(file, delimiter="\t")]
