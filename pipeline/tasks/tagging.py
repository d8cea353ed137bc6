"""Tag: each sample has any number of tags, or one of two classes; the head has an output, a logit, for each tag.

The tags of a sample are the parts of its label's name, `guitar|drums`; of two classes the positive one is the only tag.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pipeline.errors import InputError
from pipeline.tasks.labels import LABEL
from pipeline.tasks.linear_head import LinearHead
from pipeline.tasks.metrics.tally import Tally
from pipeline.tasks.options import BinaryOptions, MultiLabelOptions
from pipeline.tasks.probabilities import Probabilities
from pipeline.tasks.read_targets import read_targets
from pipeline.tasks.tag_report import SCORE_TITLES, build_report, describe_metrics, measure, score_tags, tabulate
from pipeline.tasks.task import ForwardPass, Plan, Predictions, Task
from shardwright import ShardDataset

if TYPE_CHECKING:
    from pipeline.models.inputs import PartInput
    from pipeline.models.model import Model

THRESHOLD = 0.5
"""The probability from which on a tag is given."""


@dataclass(frozen=True)
class TagPlan(Plan):
    """The plan of a tagging.

    Attributes:
        tags: their names.
        members: for each label, in the order of their numbers, the numbers of its tags.
        counts: of the training samples with each tag.
        weights: how much a sample with a tag counts beside one without, for each tag; empty where both count alike.
    """

    tags: tuple[str, ...]
    members: tuple[tuple[int, ...], ...]
    counts: tuple[int, ...]
    weights: tuple[float, ...] = ()


def plan_tags(options: MultiLabelOptions, data: ShardDataset, inputs: "Sequence[PartInput]") -> TagPlan:
    """Divide the names of the labels into tags.

    Raises:
        InputError: the dataset has no labels.
    """
    named = [[tag for tag in name.split(options.separator) if tag] for name in _list_classes(data)]
    tags = tuple(sorted({tag for each in named for tag in each}))
    members = tuple(tuple(sorted({tags.index(tag) for tag in each})) for each in named)
    return _count_tags(TagPlan(_list_parts(inputs), tags, members, ()), options.class_weights, data)


def plan_positive(options: BinaryOptions, data: ShardDataset, inputs: "Sequence[PartInput]") -> TagPlan:
    """Make the positive class the only tag.

    Raises:
        InputError: the dataset has not two classes, or not the one that is to be the positive.
    """
    classes = _list_classes(data)
    if len(classes) != 2:
        raise InputError(
            f"train.task is binary, and {data.root} has {len(classes)} classes: {', '.join(classes)}; choose two by "
            "align.classes, or set train.task to classification"
        )
    positive = classes[1] if options.positive is None else options.positive
    if positive not in classes:
        raise InputError(f"train.task.positive is {positive}; it must be {' or '.join(classes)}")
    members = tuple((0,) if name == positive else () for name in classes)
    return _count_tags(TagPlan(_list_parts(inputs), (positive,), members, ()), options.class_weights, data)


def _list_classes(data: ShardDataset) -> tuple[str, ...]:
    if not data.classes or LABEL not in data.fields:
        raise InputError(f"{data.root} has no labels to learn: set align.label to where they come from")
    return tuple(data.classes)


def _list_parts(inputs: "Sequence[PartInput]") -> tuple[str, ...]:
    return tuple(source.part for source in inputs)


def _count_tags(plan: TagPlan, rule: str, data: ShardDataset) -> TagPlan:
    """Return the plan with the counts of the training split, and the weights that follow from them."""
    labels = np.bincount(read_targets(data, LABEL), minlength=len(plan.members))
    counts = labels @ build_table(plan)
    weights = (labels.sum() - counts) / np.maximum(counts, 1) if rule == "balanced" else np.empty(0)
    return replace(plan, counts=tuple(counts.tolist()), weights=tuple(weights.tolist()))


def build_table(plan: TagPlan) -> NDArray[np.int64]:
    """Return which tags each label has, 0 or 1, int64 (labels, tags)."""
    table = np.zeros((len(plan.members), len(plan.tags)), np.int64)
    for row, members in enumerate(plan.members):
        table[row, list(members)] = 1
    return table


def read_tags(forward: ForwardPass) -> Tensor:
    """Return the tags of a batch, float32 (batch, tags)."""
    labels: Tensor = forward.batch[LABEL]
    return torch.from_numpy(build_table(forward.plan)).to(labels.device)[labels].float()


def describe_plan(plan: TagPlan) -> list[str]:
    """Name the tags without training samples."""
    absent = [name for name, count in zip(plan.tags, plan.counts, strict=True) if count == 0]
    return [f"no training sample of {len(absent)} of {len(plan.tags)} tags: {', '.join(absent)}"] * bool(absent)


def describe_model(plan: TagPlan) -> str:
    """Return what the model is."""
    return f"a detector of {plan.tags[0]}" if len(plan.tags) == 1 else f"a tagger of {len(plan.tags)} tags"


def build_head(plan: TagPlan, model: "Model") -> LinearHead:
    """Return a linear head with an output a tag."""
    return LinearHead(model.width, len(plan.tags), model.dropout)


def compute_loss(forward: ForwardPass, training: bool) -> Tensor:
    """Return the binary cross-entropy of the logits, the mean over the tags, a scalar."""
    plan: TagPlan = forward.plan
    logits, tags = forward.outputs, read_tags(forward)
    weights = logits.new_tensor(plan.weights) if plan.weights and training else None
    loss = functional.binary_cross_entropy_with_logits(logits, tags, pos_weight=weights)
    return loss if training else loss * len(logits)


class TagMeter:
    """Counts for each tag the samples given it rightly, having it and given it, int64 (3, tags); and the samples whose
    tags are all right, of all."""

    def __init__(self, plan: TagPlan) -> None:
        self.counts = np.zeros((3, len(plan.tags)), np.int64)
        self.exact = self.samples = 0

    def add(self, forward: ForwardPass) -> None:
        """Count the samples of a batch."""
        truth, given = read_tags(forward).bool(), forward.outputs.sigmoid() >= THRESHOLD
        counted = torch.stack([(truth & given).sum(0), truth.sum(0), given.sum(0)])
        self.counts += counted.cpu().numpy()
        self.exact += int((truth == given).all(1).sum())
        self.samples += len(truth)

    def compute(self) -> dict[str, float]:
        """Return the scores by name."""
        return score_tags(Tally.from_counts(self.counts), self.exact, self.samples)


def list_columns(plan: TagPlan) -> dict[str, np.dtype[Any]]:
    """Return the tags and their probabilities, five bytes a tag."""
    count = len(plan.tags)
    return {"truth": np.dtype((np.uint8, (count,))), "probability": np.dtype((np.float32, (count,)))}


def compute_columns(forward: ForwardPass) -> dict[str, NDArray[Any]]:
    """Return the columns of `list_columns`, (batch, tags)."""
    return {
        "truth": read_tags(forward).cpu().numpy().astype(np.uint8),
        "probability": forward.outputs.sigmoid().cpu().numpy(),
    }


def find_right(predictions: Predictions, plan: TagPlan) -> NDArray[np.bool_]:
    """Return which samples have all tags right, (n,)."""
    given = np.asarray(predictions.columns["probability"]) >= THRESHOLD
    right: NDArray[np.bool_] = (given == (predictions.columns["truth"] > 0)).all(1)
    return right


def list_probabilities(predictions: Predictions, plan: TagPlan) -> Probabilities:
    """Return the probability of each tag of each sample, and whether the sample has it."""
    probability, truth = (np.asarray(predictions.columns[name]) for name in ("probability", "truth"))
    return Probabilities(probability.reshape(-1), truth.reshape(-1) > 0, plan.tags, truth, probability)


def average_columns(models: Sequence[Mapping[str, NDArray[Any]]], plan: TagPlan) -> dict[str, NDArray[Any]]:
    """Return the tags and the means of their probabilities, (n, tags)."""
    probability = np.mean([columns["probability"] for columns in models], axis=0)
    return {"truth": np.asarray(models[0]["truth"]), "probability": probability}


MULTI_LABEL = Task(
    options=MultiLabelOptions,
    plan_type=TagPlan,
    scores=SCORE_TITLES,
    make_plan=plan_tags,
    describe_plan=describe_plan,
    describe_model=describe_model,
    build_head=build_head,
    compute_loss=compute_loss,
    make_meter=TagMeter,
    list_columns=list_columns,
    compute_columns=compute_columns,
    measure=measure,
    describe_metrics=describe_metrics,
    build_report=build_report,
    tabulate=tabulate,
    find_right=find_right,
    list_probabilities=list_probabilities,
    average=average_columns,
)

BINARY = replace(MULTI_LABEL, options=BinaryOptions, make_plan=plan_positive)
