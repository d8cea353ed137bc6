"""Predict a whole split with every subset of the parts, in one pass over the data."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.config.params import RunParams
from pipeline.errors import PipelineError
from pipeline.evaluate.column_files import open_columns
from pipeline.evaluate.params import EvaluateParams
from pipeline.models.batches import Batch, ReadOrder, move_batch, read_batches
from pipeline.models.model import Model
from pipeline.runtime.progress import show_progress
from pipeline.tasks.task import Predictions, Subset, Task, list_subsets
from shardwright import ShardDataset
from shardwright.format.index import decode_key


def read_split(data: ShardDataset | None, params: EvaluateParams, run: RunParams) -> Iterable[Batch]:
    """Return the batches of a split in stored order; none without data."""
    if data is None:
        return []
    batches = read_batches(params.reader, data, ReadOrder(params.batch_size))
    return show_progress(batches, math.ceil(len(data) / params.batch_size), "batches", run)


def read_keys(data: ShardDataset | None) -> NDArray[np.bytes_]:
    """Return the keys of a split in stored order, S64 (samples,), on disk; none without data."""
    return np.empty(0, "S64") if data is None else data.keys


@torch.inference_mode()
def predict(model: Model, batches: Iterable[Batch], keys: NDArray[np.bytes_], task: Task, folder: Path) -> Predictions:
    """Predict every sample of a split, whose keys are `keys`, and keep what `task` needs, its columns in `folder`.

    Raises:
        PipelineError: an output is not a finite number; the message has the keys of the samples.
    """
    subsets = list_subsets([source.part for source in model.inputs])
    counts = {subset: task.count_nothing(model.outputs) for subset in subsets}
    samples = 0
    with open_columns(folder, task.list_columns(model.outputs)) as columns:
        for batch in batches:
            expected = keys[samples : samples + len(batch["key"])].tolist()
            assert batch["key"] == [decode_key(key) for key in expected], "batches come in stored order"
            samples += len(expected)
            outputs = predict_subsets(model, batch, subsets)
            check_outputs(outputs.numpy(), batch["key"])
            for subset, shown in zip(subsets, outputs, strict=True):
                counts[subset] += task.count_results(shown, batch)
            columns.append(task.compute_columns(outputs[-1], batch))
        assert samples == len(keys), "batches have every sample"
        return Predictions(keys, counts, columns.map())


def predict_subsets(model: Model, batch: Batch, subsets: Sequence[Subset]) -> Tensor:
    """Return the outputs with each subset of the parts, float32 (subsets, batch, outputs), on the CPU.

    The encoders run once a sample; only fusion and head run once a subset. A sample that has none of a subset's
    parts gets the outputs of the model without any part.
    """
    device = next(model.parameters()).device
    moved = move_batch(batch, device)
    embeddings, present = model.embed(moved), model.find_present(moved)
    outputs = []
    for subset in subsets:
        chosen = torch.tensor([source.part in subset for source in model.inputs], device=device)
        outputs.append(model.predict(embeddings, present & chosen))
    return torch.stack(outputs).cpu()


def check_outputs(outputs: NDArray[np.float32], keys: Sequence[str]) -> None:
    """Check that outputs (subsets, samples, outputs) are finite: the largest of NaN would be an arbitrary class.

    Raises:
        PipelineError: they are not.
    """
    bad = np.flatnonzero(~np.isfinite(outputs).all((0, 2))).tolist()
    if bad:
        raise PipelineError(
            f"the model's outputs for the samples {', '.join(keys[row] for row in bad)} are not finite numbers: "
            "look at them with `shardwright show`"
        )
