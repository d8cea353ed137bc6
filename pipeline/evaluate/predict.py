"""Predictions for a whole split, for every subset of the modalities, from one pass over the data."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.config.params import RunParams
from pipeline.errors import PipelineError
from pipeline.evaluate.subsets import Subset, list_subsets
from pipeline.models.batches import Batch, ReadOrder, move_batch, read_batches
from pipeline.models.model import Model
from pipeline.models.scores import Counts, Floats
from pipeline.runtime.progress import show_progress
from shardwright import ShardDataset


@dataclass(frozen=True)
class Predictions:
    """For n samples, in reading order.

    Attributes:
        keys: of the samples.
        truth: their classes, int64 (n,).
        by_subset: the predicted classes, int64 (n,), with each subset of the modalities; the last subset is all.
        probability: of the predicted class, with all modalities, float64 (n,).
        truth_probability: of the true class, likewise.
    """

    keys: list[str]
    truth: Counts
    by_subset: Mapping[Subset, Counts]
    probability: Floats
    truth_probability: Floats

    @property
    def predicted(self) -> Counts:
        """The predicted classes with all modalities, int64 (n,)."""
        return list(self.by_subset.values())[-1]

    def find_worst(self, count: int) -> list[int]:
        """Rows of the samples that were told wrong, `count` at most, the least likely truth first."""
        wrong = np.flatnonzero(self.predicted != self.truth)
        order = sorted(wrong.tolist(), key=lambda row: (self.truth_probability[row], self.keys[row]))
        return order[:count]


def predict_split(model: Model, data: ShardDataset | None, batch_size: int, run: RunParams) -> Predictions:
    """Predict every sample of `data`, in reading order; without data there is nothing to predict."""
    if data is None:
        return predict(model, [])
    batches = read_batches("shardwright", data, ReadOrder(batch_size))
    return predict(model, show_progress(batches, math.ceil(len(data) / batch_size), "batches", run))


@torch.inference_mode()
def predict(model: Model, batches: Iterable[Batch]) -> Predictions:
    """Predict every sample. Encoders run once a sample; only fusion and head run once a subset.

    A sample that has none of a subset's modalities gets what the model says to nothing at all.

    Raises:
        PipelineError: the model says something that is not a number; the message has the keys of the samples.
    """
    device = next(model.parameters()).device
    modalities = [source.modality for source in model.inputs]
    subsets = list_subsets(modalities)
    keys: list[str] = []
    truths: list[NDArray[np.int64]] = []
    rows: list[NDArray[np.float32]] = []
    for batch in batches:
        keys += batch["key"]
        truths.append(batch["label"].numpy())
        moved = move_batch(batch, device)
        embeddings, present = model.embed(moved), model.find_present(moved)
        logits = []
        for subset in subsets:
            chosen = torch.tensor([modality in subset for modality in modalities], device=device)
            logits.append(model.classify(embeddings, present & chosen))
        rows.append(torch.stack(logits).cpu().numpy())
        check_logits(rows[-1], batch["key"])
    if not keys:
        return _make_empty(subsets)
    logits_by_subset = np.concatenate(rows, axis=1)
    truth = np.concatenate(truths)
    probabilities = find_probabilities(logits_by_subset[-1])
    everyone = np.arange(len(keys))
    predicted = logits_by_subset.argmax(2)
    return Predictions(
        keys=keys,
        truth=truth,
        by_subset=dict(zip(subsets, predicted, strict=True)),
        probability=probabilities[everyone, predicted[-1]],
        truth_probability=probabilities[everyone, truth],
    )


def check_logits(logits: NDArray[np.float32], keys: Sequence[str]) -> None:
    """See that logits (subsets, samples, classes) are numbers: the largest of NaN would be some class or other.

    Raises:
        PipelineError: they are not.
    """
    bad = np.flatnonzero(~np.isfinite(logits).all((0, 2))).tolist()
    if bad:
        raise PipelineError(
            f"the model's answers to the samples {', '.join(keys[row] for row in bad)} are no numbers: "
            "look at them with `shardwright show`"
        )


def find_probabilities(logits: NDArray[np.float32]) -> Floats:
    """Softmax over the last axis, in float64."""
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    probabilities: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities


def _make_empty(subsets: list[Subset]) -> Predictions:
    none, nothing = np.zeros(0, np.int64), np.zeros(0)
    return Predictions([], none, dict.fromkeys(subsets, none), nothing, nothing)
