"""Predict the test split of each fold with the fold's model, and measure all predictions together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.config.params import RunParams
from pipeline.errors import PipelineError
from pipeline.evaluate.params import EvaluateParams
from pipeline.tables.contracts import MODEL_FOLDER, SHARDS_FOLDER

if TYPE_CHECKING:
    from pipeline.models.model import Model
    from pipeline.models.record import ModelRecord
    from pipeline.tasks.report import TaskReport
    from pipeline.tasks.task import Predictions


@dataclass(frozen=True)
class Pooled:
    """The models of all folds, and what they predict together.

    Attributes:
        split: that was predicted.
        dataset: hashes of the folds' datasets.
        description: what each model is.
        titles: of the task's scores by name.
        metrics: of all predictions together, as in the `metrics.json` of one model; None where the task does not pool.
        report: of the task on them, likewise.
    """

    split: str
    dataset: str
    description: str
    titles: Mapping[str, str]
    metrics: Mapping[str, Any] | None = None
    report: "TaskReport | None" = None


def pool_predictions(folders: Sequence[Path], params: EvaluateParams, run: RunParams, work: Path) -> Pooled:
    """Measure the predictions of the models in the data folders `folders`, one for each fold, as those of one model.

    Args:
        work: new and empty, for columns of numbers; what is returned needs it.

    Raises:
        InputError: a model or dataset is missing or damaged.
        PipelineError: the folds have different classes.
    """
    from pipeline.models.checkpoint import load_model

    loaded = [load_model(folder / MODEL_FOLDER) for folder in folders]
    for folder, (_, record) in zip(folders, loaded, strict=True):
        if record.classes != loaded[0][1].classes:
            raise PipelineError(f"{folder} has other classes than {folders[0]}: predictions cannot be put together")
    model, _ = loaded[0]
    task, plan = model.task, model.plan
    hashes = ", ".join(record.dataset[:12] for _, record in loaded)
    pooled = Pooled(params.split, hashes, task.describe_model(plan), task.scores)
    if not task.pools:
        return pooled
    together = predict_folds(folders, loaded, (params, run), work)
    metrics = task.measure(together, plan, params.split)
    return replace(pooled, metrics=metrics, report=task.build_report(together, plan, metrics, params.worst))


def predict_folds(
    folders: Sequence[Path],
    loaded: "Sequence[tuple[Model, ModelRecord]]",
    how: tuple[EvaluateParams, RunParams],
    work: Path,
) -> "Predictions":
    """Return the predictions of all folds, one fold after the other."""
    from pipeline.evaluate.predict import make_meters, predict, read_keys, read_split
    from pipeline.models.batches import open_split
    from pipeline.models.determinism import choose_device, deterministic_mode
    from pipeline.tasks.task import Predictions

    params, run = how
    meters = make_meters(loaded[0][0])
    folds = []
    for number, (folder, (model, record)) in enumerate(zip(folders, loaded, strict=True)):
        data, columns = open_split(folder / SHARDS_FOLDER, params.split), work / str(number)
        columns.mkdir()
        with deterministic_mode(seed=0, threads=record.params["threads"]):
            device = choose_device("cpu" if record.params["device"] == "cpu" else "auto")
            batches = read_split(data, params, run)
            folds.append(predict(model.to(device), batches, read_keys(data), columns, meters))
    columns_together = {name: np.concatenate([fold.columns[name] for fold in folds]) for name in folds[0].columns}
    return Predictions(np.concatenate([fold.keys for fold in folds]), folds[-1].scores, columns_together)
