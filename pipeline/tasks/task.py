"""Describe what train, evaluate and the model have to know of a task: a bundle of functions.

A model is a trunk, which encodes and fuses the parts of a sample, and the head of a task. `outputs` are what the head
gives, float32, samples first. A `Batch` is a dict with a tensor for each field of the dataset, samples first.

Evaluation keeps no outputs. Of each batch a meter keeps what the scores need, with subsets of a sample's parts, and
with all parts a task keeps some columns, a row a sample, which go to files.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.models.history import LOSS
from pipeline.tasks.metrics.sums import GroupSums
from pipeline.tasks.options import TaskOptions
from pipeline.tasks.probabilities import Probabilities
from pipeline.tasks.report import TaskReport

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pipeline.models.batches import Batch
    from pipeline.models.inputs import PartInput
    from pipeline.models.model import Model
    from shardwright import ShardDataset

MOST_COMBINED = 6
"""Parts with 63 subsets, of which a reader still finds one; ten have 1,023."""

Subset: TypeAlias = tuple[str, ...]
"""Names of parts of a sample."""


def list_subsets(parts: Sequence[str]) -> list[Subset]:
    """Return non-empty subsets of parts, the smallest first, each in the order of `parts`; the last one is all.

    Every subset of up to `MOST_COMBINED` parts; of more each part alone, all but each, and all.
    """
    sizes = range(1, len(parts) + 1) if len(parts) <= MOST_COMBINED else (1, len(parts) - 1, len(parts))
    return [subset for size in sizes for subset in combinations(parts, size)]


def name_subset(subset: Subset) -> str:
    """Return the name of a subset in reports: `image + text`."""
    return " + ".join(subset)


@dataclass(frozen=True)
class Plan:
    """What a task learns from a dataset: made once from its options and the training split, kept in `model.json`.

    Each task has a type of its own, whose further attributes are JSON.

    Attributes:
        parts: the parts that the model sees; a part that is the target is not among them.
    """

    parts: tuple[str, ...]


@dataclass(frozen=True)
class ForwardPass:
    """A batch that went through a model.

    Attributes:
        model: with its head and its plan.
        outputs: of the head.
        batch: on the model's device.
        present: the parts that the model was shown of each sample, (batch, parts) bool.
    """

    model: "Model"
    outputs: "Tensor"
    batch: "Batch"
    present: "Tensor"

    @property
    def head(self) -> Any:
        """The head of the model."""
        return self.model.head

    @property
    def plan(self) -> Any:
        """The plan of the model's task."""
        return self.model.plan


class Meter(Protocol):
    """Collects what scores need, batch by batch."""

    def add(self, forward: ForwardPass) -> None:
        """Add the samples of a batch."""

    def compute(self) -> Mapping[str, float]:
        """Return the values of `Task.scores` by name; NaN where one is not defined."""


@dataclass(frozen=True)
class Predictions:
    """What a task keeps of the model's outputs for the n samples of a split, in stored order.

    Attributes:
        keys: of the samples, S64 (n,), ASCII; may be on disk.
        scores: by name with each subset of the parts that the task lists; the last subset is all of them.
        columns: those of `Task.list_columns`, (n, …), with all parts; may be on disk.
        decode: returns the text of token ids of the dataset.
        group_numbers: of the group of each sample, int64 (n,), counted from 0; None where each is a group of its own.
        derived: what a task computed of these and needs again, see `derive`.
    """

    keys: NDArray[np.bytes_]
    scores: Mapping[Subset, Mapping[str, float]]
    columns: Mapping[str, NDArray[Any]]
    decode: Callable[[Sequence[int]], str] | None = None
    group_numbers: NDArray[np.int64] | None = None
    derived: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def groups(self) -> NDArray[np.int64]:
        """The number of the group of each sample, (n,): samples of one are not independent of each other."""
        return np.arange(len(self.keys)) if self.group_numbers is None else self.group_numbers

    def derive(self, name: str, compute: Callable[[], Any]) -> Any:
        """Return what `compute` gives, computed once a `name`."""
        if name not in self.derived:
            self.derived[name] = compute()
        return self.derived[name]

    def select(self, rows: NDArray[np.int64]) -> "Predictions":
        """Return those of some samples, without the scores of subsets."""
        columns = {name: column[rows] for name, column in self.columns.items()}
        return Predictions(self.keys[rows], {}, columns, self.decode, self.groups[rows])


P = TypeVar("P", bound=Plan)


@dataclass(frozen=True)
class Task(Generic[P]):
    """A bundle of functions.

    Attributes:
        options: the type of what `train.task` may say beside the name.
        plan_type: the type of the plan, a dataclass.
        scores: the titles of the validation scores by name; the epoch with the best value of the last one is the best.
        errors: names of those scores of which lower values are better.
        make_plan: from the options, the training split and the inputs of all parts. Raises `InputError` where the
            dataset lacks what the task learns; the message names the setting.
        describe_model: what the model is, for the report: `a classifier of 12 classes`.
        build_head: the head, a module that maps `Features` and a batch to outputs.
        fuses: whether the head reads `Features.fused`; if not, the model has no fusion.
        compute_loss: a scalar: in training the mean over the batch, else the sum, without what only regularizes.
        make_meter: a meter without samples.
        pools: whether predictions of several models can be measured together; vectors of different models cannot.
        tabulate: the scores that get intervals, as functions of sums over samples by `Predictions.groups`; their names
            are keys of what `measure` returns. None for a task that has no such scores.
        find_right: which samples are predicted right, bool (n,). None for a task whose predictions are neither right
            nor wrong.
        average: the columns that models predict together, from those of each: their mean. None for a task that has no
            such mean.
        list_probabilities: what calibration and curves are measured from. None for a task without probabilities.
        suits: whether the task is the one to choose for a dataset with these inputs, where `train.task` is `auto`. None
            by default: that labels are numbers, or that a sample has a text, does not say that they are to be learned.
        describe_plan: lines for the summary of the training about the plan.
        needs_texts: whether scores need `Predictions.decode`.
        list_subsets: the subsets of the parts whose scores are reported; the last one is all. None where the parts are
            compared with each other.
        list_columns: the columns that metrics and report need of each sample: each with its dtype, which has a shape
            where a sample has more than one number: `np.dtype((np.float16, (100,)))`.
        compute_columns: their values (batch, …) by name.
        measure: the content of `metrics.json`, from predictions, plan and the name of the split. Its keys `split` and
            `samples` are those of every task; the stage adds what it measures of every task, such as intervals.
        describe_metrics: lines for the summary, from that content.
        build_report: what to write and show, from predictions, plan, that content, and the most mistakes to show.
    """

    options: type[TaskOptions]
    plan_type: type[P]
    scores: Mapping[str, str]
    make_plan: "Callable[[Any, ShardDataset, Sequence[PartInput]], P]"
    describe_model: Callable[[P], str]
    build_head: "Callable[[P, Model], nn.Module]"
    compute_loss: "Callable[[ForwardPass, bool], Tensor]"
    make_meter: Callable[[P], Meter]
    list_columns: Callable[[P], Mapping[str, np.dtype[Any]]]
    compute_columns: Callable[[ForwardPass], Mapping[str, NDArray[Any]]]
    measure: Callable[[Predictions, P, str], dict[str, Any]]
    describe_metrics: Callable[[Mapping[str, Any]], list[str]]
    build_report: Callable[[Predictions, P, Mapping[str, Any], int], TaskReport]
    tabulate: Callable[[Predictions, P], GroupSums] | None = None
    find_right: Callable[[Predictions, P], NDArray[np.bool_]] | None = None
    average: Callable[[Sequence[Mapping[str, NDArray[Any]]], P], dict[str, NDArray[Any]]] | None = None
    list_probabilities: Callable[[Predictions, P], Probabilities] | None = None
    suits: "Callable[[ShardDataset, Sequence[PartInput]], bool]" = lambda data, inputs: False
    describe_plan: Callable[[P], list[str]] = lambda plan: []
    needs_texts: bool = False
    list_subsets: Callable[[Sequence[str]], list[Subset]] = list_subsets
    fuses: bool = True
    pools: bool = True
    errors: frozenset[str] = frozenset()

    def minimizes(self, monitor: str | None) -> bool:
        """Return whether lower values are better of what `train.monitor` names: the loss, a score, or None, the last
        score."""
        return monitor == LOSS or (monitor or list(self.scores)[-1]) in self.errors
