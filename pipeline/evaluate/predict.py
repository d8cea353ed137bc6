"""Predict a whole split with every subset of the modalities, in one pass over the data."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.config.params import RunParams
from pipeline.errors import PipelineError
from pipeline.evaluate.params import EvaluateParams
from pipeline.models.batches import Batch, ReadOrder, move_batch, read_batches
from pipeline.models.model import Model
from pipeline.runtime.progress import show_progress
from pipeline.tasks.task import Predictions, list_subsets
from shardwright import ShardDataset


def read_split(data: ShardDataset | None, params: EvaluateParams, run: RunParams) -> Iterable[Batch]:
    """Return the batches of a split in stored order; none without data."""
    if data is None:
        return []
    batches = read_batches(params.reader, data, ReadOrder(params.batch_size))
    return show_progress(batches, math.ceil(len(data) / params.batch_size), "batches", run)


@torch.inference_mode()
def predict(model: Model, batches: Iterable[Batch], fields: Sequence[str]) -> Predictions:
    """Predict every sample, and collect the `fields` that hold its target.

    The encoders run once a sample; only fusion and head run once a subset. A sample that has none of a subset's
    modalities gets the outputs of the model without any modality.

    Raises:
        PipelineError: an output is not a finite number; the message has the keys of the samples.
    """
    device = next(model.parameters()).device
    modalities = [source.modality for source in model.inputs]
    subsets = list_subsets(modalities)
    keys: list[str] = []
    targets: dict[str, list[NDArray[Any]]] = {name: [] for name in fields}
    rows = [np.zeros((len(subsets), 0, model.outputs), np.float32)]
    for batch in batches:
        keys += batch["key"]
        for name in fields:
            targets[name].append(batch[name].numpy())
        moved = move_batch(batch, device)
        embeddings, present = model.embed(moved), model.find_present(moved)
        outputs = []
        for subset in subsets:
            chosen = torch.tensor([modality in subset for modality in modalities], device=device)
            outputs.append(model.predict(embeddings, present & chosen))
        rows.append(torch.stack(outputs).cpu().numpy())
        check_outputs(rows[-1], batch["key"])
    return Predictions(
        keys=keys,
        outputs=dict(zip(subsets, np.concatenate(rows, axis=1), strict=True)),
        targets={name: np.concatenate(arrays) if arrays else np.zeros(0, np.int64) for name, arrays in targets.items()},
    )


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
