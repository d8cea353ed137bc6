"""Classify: each sample has one label, the number of its class; the head has an output, a logit, for each class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pipeline.errors import InputError
from pipeline.tasks.class_report import (
    HEADLINES,
    SCORE_TITLES,
    build_report,
    compute_probabilities,
    describe_metrics,
    measure_classes,
    score_tally,
)
from pipeline.tasks.labels import LABEL
from pipeline.tasks.linear_head import LinearHead
from pipeline.tasks.metrics.sums import GroupSums, count_by_row, count_shares, deal_groups, join_tallies
from pipeline.tasks.metrics.table import SCORES
from pipeline.tasks.metrics.tally import Floats, Tally, count_classes
from pipeline.tasks.options import ClassificationOptions
from pipeline.tasks.probabilities import Probabilities
from pipeline.tasks.read_targets import read_targets
from pipeline.tasks.report import TaskReport
from pipeline.tasks.task import ForwardPass, Plan, Predictions, Task
from shardwright import ShardDataset

if TYPE_CHECKING:
    from pipeline.models.inputs import PartInput
    from pipeline.models.model import Model

SCORES_COLUMN = "probabilities"
MOST_KEPT = 100
"""Classes up to which the probabilities of all are kept, for curves and the mean of several models: 400 bytes a
sample."""


@dataclass(frozen=True)
class ClassPlan(Plan):
    """The plan of a classifier.

    Attributes:
        classes: the names of the labels, in the order of their numbers.
        counts: of the training samples of each.
        smoothing: share of the target that is spread over all classes in training.
        weights: how much a sample of each class counts in training; empty where all count alike.
        focus: exponent of the focal loss.
    """

    classes: tuple[str, ...]
    counts: tuple[int, ...]
    smoothing: float = 0.0
    weights: tuple[float, ...] = ()
    focus: float = 0.0


def has_labels(data: ShardDataset, inputs: "Sequence[PartInput]") -> bool:
    """Return whether the samples have labels."""
    return bool(data.classes) and LABEL in data.fields


def make_plan(options: ClassificationOptions, data: ShardDataset, inputs: "Sequence[PartInput]") -> ClassPlan:
    """Count the labels of the training split.

    Raises:
        InputError: the dataset has no labels.
    """
    if not data.classes or not has_labels(data, inputs):
        raise InputError(
            f"{data.root} has no labels to learn: set align.label to where they come from, or train.task to a task "
            "that needs none"
        )
    counts = np.bincount(read_targets(data, LABEL), minlength=len(data.classes))
    return ClassPlan(
        parts=tuple(source.part for source in inputs),
        classes=tuple(data.classes),
        counts=tuple(counts.tolist()),
        smoothing=options.label_smoothing,
        weights=weigh_classes(counts, options.class_weights),
        focus=options.focus,
    )


def weigh_classes(counts: NDArray[np.int64], rule: str) -> tuple[float, ...]:
    """Return the weight of each class by the number of its samples (classes,), such that samples count 1 in the mean;
    0 for a class without samples. `balanced` is that of scikit-learn's `compute_class_weight`."""
    if rule == "none":
        return ()
    power = 1.0 if rule == "balanced" else 0.5
    raw = np.where(counts > 0, np.maximum(counts, 1) ** -power, 0.0)
    weights = raw * counts.sum() / (raw * counts).sum()
    return tuple(weights.tolist())


def describe_plan(plan: ClassPlan) -> list[str]:
    """Name the classes without training samples."""
    absent = [name for name, count in zip(plan.classes, plan.counts, strict=True) if count == 0]
    return [f"no training sample of {len(absent)} of {len(plan.classes)} classes: {', '.join(absent)}"] * bool(absent)


def describe_model(plan: ClassPlan) -> str:
    """Return what the model is."""
    return f"a classifier of {len(plan.classes)} classes"


def build_head(plan: ClassPlan, model: "Model") -> LinearHead:
    """Return a linear head with an output a class."""
    return LinearHead(model.width, len(plan.classes), model.dropout)


def compute_loss(forward: ForwardPass, training: bool) -> Tensor:
    """Return the cross-entropy of the logits, a scalar."""
    logits, labels = forward.outputs, forward.batch[LABEL]
    if not training:
        return functional.cross_entropy(logits, labels, reduction="sum")
    plan: ClassPlan = forward.plan
    if not plan.weights and plan.focus == 0:
        return functional.cross_entropy(logits, labels, label_smoothing=plan.smoothing)
    weights = logits.new_tensor(plan.weights or (1.0,) * logits.shape[1])
    losses = functional.cross_entropy(logits, labels, weight=weights, label_smoothing=plan.smoothing, reduction="none")
    probabilities = logits.softmax(1).gather(1, labels.unsqueeze(1)).squeeze(1)
    return (losses * (1 - probabilities) ** plan.focus).sum() / weights[labels].sum()


class ClassMeter:
    """Counts the samples predicted correctly, all samples and the predictions of each class, int64 (3, classes)."""

    def __init__(self, plan: ClassPlan) -> None:
        self.counts = np.zeros((3, len(plan.classes)), np.int64)

    def add(self, forward: ForwardPass) -> None:
        """Count the samples of a batch."""
        truth, prediction = forward.batch[LABEL].cpu().numpy(), forward.outputs.argmax(1).cpu().numpy()
        self.counts += count_classes(truth, prediction, self.counts.shape[1]).stack()

    def compute(self) -> dict[str, float]:
        """Return `HEADLINES` by name."""
        return score_tally(Tally.from_counts(self.counts))


def list_columns(plan: ClassPlan) -> dict[str, np.dtype[Any]]:
    """Return the numbers of the true and of the predicted class in as few bytes as their count takes, the
    probabilities of both in the precision of `PREDICTIONS`, 18 bytes a sample up to 256 classes; and up to `MOST_KEPT`
    classes the probabilities of all, four bytes each."""
    count = len(plan.classes)
    number, probability = np.min_scalar_type(count - 1), np.dtype(np.float64)
    columns = {"truth": number, "prediction": number, "probability": probability, "truth_probability": probability}
    return columns | ({SCORES_COLUMN: np.dtype((np.float32, (count,)))} if count <= MOST_KEPT else {})


def compute_columns(forward: ForwardPass) -> dict[str, NDArray[Any]]:
    """Return the columns of `list_columns`, (batch,)."""
    outputs = forward.outputs.cpu()
    truth, prediction = forward.batch[LABEL].cpu().numpy(), outputs.argmax(1).numpy()
    probabilities = compute_probabilities(outputs.numpy())
    rows = np.arange(len(truth))
    columns = {
        "truth": truth,
        "prediction": prediction,
        "probability": probabilities[rows, prediction],
        "truth_probability": probabilities[rows, truth],
    }
    return columns | ({SCORES_COLUMN: probabilities.astype(np.float32)} if probabilities.shape[1] <= MOST_KEPT else {})


def measure(predictions: Predictions, plan: ClassPlan, split: str) -> dict[str, Any]:
    """Return the content of `metrics.json`, see `measure_classes`."""
    return measure_classes(predictions, plan.classes, split)


def report(predictions: Predictions, plan: ClassPlan, metrics: Mapping[str, Any], worst: int) -> TaskReport:
    """Return the tables, the figures and the sections of the page."""
    return build_report(predictions, plan.classes, metrics, worst)


def tabulate(predictions: Predictions, plan: ClassPlan) -> GroupSums:
    """Return accuracy and macro F1 as functions of counts by group."""
    truth, predicted = predictions.columns["truth"], predictions.columns["prediction"]
    rows = deal_groups(predictions.groups, 3 * len(plan.classes))
    counts = count_by_row(rows, truth, predicted, len(plan.classes))

    def compute(tallies: Sequence[Tally]) -> dict[str, Floats]:
        return {name: SCORES[name].compute(tally) for name, tally in zip(HEADLINES, tallies, strict=True)}

    return join_tallies([count_shares(rows, truth == predicted), counts], compute)


def find_right(predictions: Predictions, plan: ClassPlan) -> NDArray[np.bool_]:
    """Return which samples are predicted right, (n,)."""
    right: NDArray[np.bool_] = np.asarray(predictions.columns["truth"]) == predictions.columns["prediction"]
    return right


def average_columns(models: Sequence[Mapping[str, NDArray[Any]]], plan: ClassPlan) -> dict[str, NDArray[Any]]:
    """Return the columns of the mean of the probabilities; of more classes than are kept, those of the first model."""
    if SCORES_COLUMN not in models[0]:
        return dict(models[0])
    mean = np.mean([columns[SCORES_COLUMN] for columns in models], axis=0, dtype=np.float64)
    return {**models[0], "prediction": mean.argmax(1), SCORES_COLUMN: mean}


def list_probabilities(predictions: Predictions, plan: ClassPlan) -> Probabilities:
    """Return the probability of each prediction, and those of all classes where they are kept."""
    columns = predictions.columns
    scores = columns.get(SCORES_COLUMN)
    return Probabilities(
        columns["probability"], find_right(predictions, plan), plan.classes, np.asarray(columns["truth"]), scores
    )


CLASSIFICATION = Task(
    options=ClassificationOptions,
    plan_type=ClassPlan,
    scores=SCORE_TITLES,
    suits=has_labels,
    make_plan=make_plan,
    describe_plan=describe_plan,
    describe_model=describe_model,
    build_head=build_head,
    compute_loss=compute_loss,
    make_meter=ClassMeter,
    list_columns=list_columns,
    compute_columns=compute_columns,
    measure=measure,
    describe_metrics=describe_metrics,
    build_report=report,
    tabulate=tabulate,
    find_right=find_right,
    average=average_columns,
    list_probabilities=list_probabilities,
)
