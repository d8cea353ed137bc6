"""Predict a whole split with every subset of the parts, in one pass over the data."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.config.params import RunParams
from pipeline.errors import PipelineError
from pipeline.evaluate.column_files import open_columns
from pipeline.evaluate.params import EvaluateParams
from pipeline.evaluate.subsets import fuse_subsets
from pipeline.models.batches import Batch, ReadOrder, move_batch, read_batches
from pipeline.models.model import Model
from pipeline.runtime.progress import show_progress
from pipeline.tasks.task import ForwardPass, Meter, Predictions, Subset
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
def predict(
    model: Model,
    batches: Iterable[Batch],
    keys: NDArray[np.bytes_],
    folder: Path,
    meters: Mapping[Subset, Meter] | None = None,
) -> Predictions:
    """Predict every sample of a split, whose keys are `keys`, and keep what the task needs, its columns in `folder`.

    The encoders run once a sample, and the fusion for many subsets at a time; with all parts it runs by itself, so that
    the columns are the same bits whatever is measured beside them. A sample that has none of a subset's parts gets the
    outputs of the model without any part. With `meters`, from `make_meters`, which have seen the samples of other
    models, the scores are over all of them.

    Raises:
        PipelineError: an output is not a finite number; the message has the keys of the samples.
    """
    task, parts = model.task, [source.part for source in model.inputs]
    meters = make_meters(model) if meters is None else meters
    device, samples = next(model.parameters()).device, 0
    every = tuple(parts)
    masks = {
        subset: torch.tensor([part in subset for part in parts], device=device) for subset in meters if subset != every
    }
    with open_columns(folder, task.list_columns(model.plan)) as columns:
        for batch in batches:
            expected = keys[samples : samples + len(batch["key"])].tolist()
            assert batch["key"] == [decode_key(key) for key in expected], "batches come in stored order"
            samples += len(expected)
            moved = move_batch(batch, device)
            encoded, present = model.encode(moved), model.find_present(moved)
            forward = ForwardPass(model, model.predict(encoded, present, moved), moved, present)
            check_outputs(forward.outputs, batch["key"])
            columns.append(task.compute_columns(forward))
            if every in meters:
                meters[every].add(forward)
            shown = [present & mask for mask in masks.values()]
            for subset, features in zip(masks, fuse_subsets(model, encoded, shown), strict=True):
                forward = ForwardPass(model, model.head(features, moved), moved, features.present)
                check_outputs(forward.outputs, batch["key"])
                meters[subset].add(forward)
        assert samples == len(keys), "batches have every sample"
        scores = {subset: meter.compute() for subset, meter in meters.items()}
        return Predictions(keys, scores, columns.map())


def make_meters(model: Model) -> dict[Subset, Meter]:
    """Return an empty meter for each subset of the parts that the task lists."""
    parts = [source.part for source in model.inputs]
    return {subset: model.task.make_meter(model.plan) for subset in model.task.list_subsets(parts)}


def check_outputs(outputs: Tensor, keys: Sequence[str]) -> None:
    """Check that outputs (samples, …) are finite: the largest of NaN would be an arbitrary class.

    Raises:
        PipelineError: they are not.
    """
    if math.isfinite(outputs.sum().item()):  # with one that is not, the sum is not
        return
    bad = (~outputs.isfinite()).flatten(1).any(1).nonzero()[:, 0].tolist()
    if bad:
        raise PipelineError(
            f"the model's outputs for the samples {', '.join(keys[row] for row in bad)} are not finite numbers: "
            "look at them with `shardwright show`"
        )
