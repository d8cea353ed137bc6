"""Keep what a report was measured from in its folder, such that two reports can be compared: `shardwright compare`."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import InputError
from pipeline.tasks.table import TASKS
from pipeline.tasks.task import Plan, Predictions, Task
from shardwright.errors import FormatError
from shardwright.format.canonical_json import decode_json, encode_canonical
from shardwright.format.dataclass_json import load_value

FOLDER = "kept"
RECORD = "kept.json"
GROUPS = "group_numbers"


@dataclass(frozen=True)
class KeptPredictions:
    """Predictions of a split, their task and its plan, and the hash of the dataset. Keys are not kept: the dataset and
    the split say which samples they are, in stored order."""

    predictions: Predictions
    task: str
    plan: Plan
    dataset: str
    split: str

    def find_task(self) -> Task[Any]:
        """Return the task."""
        return TASKS[self.task]


def write_kept(folder: Path, kept: KeptPredictions) -> None:
    """Write the folder `kept` into a report's folder; nothing for predictions that only the dataset's vocabulary makes
    readable."""
    predictions = kept.predictions
    if predictions.decode is not None and kept.find_task().needs_texts:
        return
    (folder / FOLDER).mkdir()
    facts = {"samples": len(predictions.keys), "columns": sorted(predictions.columns)}
    record = {"task": kept.task, "plan": asdict(kept.plan), "dataset": kept.dataset, "split": kept.split, **facts}
    (folder / FOLDER / RECORD).write_bytes(encode_canonical(record, indent=1) + b"\n")
    for name, column in {**predictions.columns, GROUPS: predictions.groups}.items():
        np.save(folder / FOLDER / f"{name}.npy", column, allow_pickle=False)


def read_kept(folder: Path) -> KeptPredictions:
    """Read what `write_kept` wrote, from the folder of a report or the folder `data` that has it.

    Raises:
        InputError: it is missing or damaged.
    """
    kept = folder / FOLDER
    try:
        record = decode_json((kept / RECORD).read_bytes())
        columns = {name: np.load(kept / f"{name}.npy", "r", False) for name in record["columns"]}
        groups = np.load(kept / f"{GROUPS}.npy", "r", False)
        keys = np.zeros(record["samples"], "S1")
        plan = load_value(TASKS[record["task"]].plan_type, record["plan"], "the plan")
    except FileNotFoundError:
        raise InputError(f"{kept / RECORD} is missing: evaluate again (`dvc repro`); texts are not compared") from None
    except (FormatError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{kept} is damaged: evaluate again (`dvc repro`)") from error
    predictions = Predictions(keys, {}, columns, group_numbers=groups)
    return KeptPredictions(predictions, record["task"], plan, record["dataset"], record["split"])
