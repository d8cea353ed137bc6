"""Regress: each sample has one number, its label or a field; the head has one output, in standard deviations."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pipeline.errors import InputError
from pipeline.tasks.labels import LABEL
from pipeline.tasks.linear_head import LinearHead
from pipeline.tasks.options import RegressionOptions
from pipeline.tasks.read_targets import read_targets
from pipeline.tasks.regression_report import (
    build_report,
    compute_mae,
    compute_r2,
    describe_metrics,
    measure,
    tabulate,
)
from pipeline.tasks.task import ForwardPass, Plan, Task
from shardwright import ShardDataset

if TYPE_CHECKING:
    from pipeline.models.inputs import PartInput
    from pipeline.models.model import Model


@dataclass(frozen=True)
class NumberPlan(Plan):
    """The plan of a regression.

    Attributes:
        field: that holds the target: a number, or `label`.
        values: the number of each label, in the order of the labels; empty where the field holds the numbers.
        loss: its name.
        mean, std: of the targets of the training samples; the head gives `(target - mean) / std`.
        median: of the same: what the floor predicts.
    """

    field: str
    values: tuple[float, ...]
    loss: str
    mean: float
    std: float
    median: float


def make_plan(options: RegressionOptions, data: ShardDataset, inputs: "Sequence[PartInput]") -> NumberPlan:
    """Read the targets of the training split.

    Raises:
        InputError: there is no such field, it holds no number a sample, or a label is no number.
    """
    values = () if options.field else _read_numbers(data)
    field = options.field or LABEL
    spec = data.fields.get(field)
    seen = {name for source in inputs for name in source.fields}
    if spec is None or spec.shape != () or field in seen:
        scalars = ", ".join(name for name, each in data.fields.items() if each.shape == () and name not in seen)
        raise InputError(
            f"train.task.field is {field}; it must be a field with one number a sample that the model does not see: "
            f"{scalars or 'there is none'}"
        )
    targets = read_targets(data, field)
    numbers = np.asarray(values)[targets.astype(np.int64)] if values else targets.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise InputError(f"{data.root}: the field `{field}` has a value that is no finite number")
    return NumberPlan(
        parts=tuple(source.part for source in inputs),
        field=field,
        values=values,
        loss=options.loss,
        mean=float(numbers.mean()),
        std=float(numbers.std()) or 1.0,
        median=float(np.median(numbers)),
    )


def _read_numbers(data: ShardDataset) -> tuple[float, ...]:
    """Return the labels as numbers."""
    if not data.classes:
        raise InputError(
            f"{data.root} has no labels to learn: set align.label to where the numbers come from, or train.task.field "
            "to a field that holds them"
        )
    numbers = []
    for name in data.classes:
        try:
            numbers.append(float(name))
        except ValueError:
            numbers.append(math.nan)
        if not math.isfinite(numbers[-1]):
            raise InputError(f"train.task is regression, but the label {name!r} in {data.root} is no finite number")
    return tuple(numbers)


def read_numbers(forward: ForwardPass) -> Tensor:
    """Return the targets of a batch, float64 (batch,)."""
    plan: NumberPlan = forward.plan
    stored: Tensor = forward.batch[plan.field]
    if plan.values:
        return torch.tensor(plan.values, dtype=torch.float64, device=stored.device)[stored]
    return stored.double()


def predict_numbers(forward: ForwardPass) -> Tensor:
    """Return the predictions of a batch, float64 (batch,)."""
    plan: NumberPlan = forward.plan
    return forward.outputs[:, 0].double() * plan.std + plan.mean


LOSSES: Mapping[str, Callable[..., Tensor]] = {
    "squared": functional.mse_loss,
    "absolute": functional.l1_loss,
    "huber": functional.huber_loss,
}


def compute_loss(forward: ForwardPass, training: bool) -> Tensor:
    """Return the loss of the standardised targets, a scalar."""
    plan: NumberPlan = forward.plan
    targets = ((read_numbers(forward) - plan.mean) / plan.std).float()
    return LOSSES[plan.loss](forward.outputs[:, 0], targets, reduction="mean" if training else "sum")


class NumberMeter:
    """Keeps targets and predictions, 16 bytes a sample."""

    def __init__(self, plan: NumberPlan) -> None:
        self.batches: list[NDArray[np.float64]] = [np.empty((2, 0))]

    def add(self, forward: ForwardPass) -> None:
        """Keep those of a batch."""
        both = torch.stack([read_numbers(forward), predict_numbers(forward)])
        self.batches.append(both.cpu().numpy())

    def compute(self) -> dict[str, float]:
        """Return `SCORE_TITLES` by name."""
        truth, predicted = np.concatenate(self.batches, axis=1)
        return {"mae": compute_mae(truth, predicted), "r2": compute_r2(truth, predicted)}


def compute_columns(forward: ForwardPass) -> dict[str, NDArray[Any]]:
    """Return the target and the prediction, (batch,)."""
    return {"truth": read_numbers(forward).cpu().numpy(), "prediction": predict_numbers(forward).cpu().numpy()}


def average_columns(models: Sequence[Mapping[str, NDArray[Any]]], plan: NumberPlan) -> dict[str, NDArray[Any]]:
    """Return the targets and the means of the predictions, (n,)."""
    predicted = np.mean([columns["prediction"] for columns in models], axis=0)
    return {"truth": np.asarray(models[0]["truth"]), "prediction": predicted}


def build_head(plan: NumberPlan, model: "Model") -> LinearHead:
    """Return a linear head with one output."""
    return LinearHead(model.width, 1, model.dropout)


SCORE_TITLES = {"mae": "mean absolute error", "r2": "R²"}

REGRESSION = Task(
    options=RegressionOptions,
    plan_type=NumberPlan,
    scores=SCORE_TITLES,
    errors=frozenset({"mae"}),
    make_plan=make_plan,
    describe_model=lambda plan: f"a regression of {plan.field}",
    build_head=build_head,
    compute_loss=compute_loss,
    make_meter=NumberMeter,
    list_columns=lambda plan: {"truth": np.dtype(np.float64), "prediction": np.dtype(np.float64)},
    compute_columns=compute_columns,
    measure=measure,
    describe_metrics=describe_metrics,
    build_report=build_report,
    tabulate=tabulate,
    average=average_columns,
)
