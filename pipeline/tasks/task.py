"""Describe what train, evaluate and the model have to know of a task: a bundle of functions.

`outputs` are what the model's head gives, float32 (batch, outputs). A `Batch` is a dict with a tensor for each field of
the dataset, samples first.

Evaluation keeps no outputs. Of each batch a task keeps counts, which are summed, with subsets of a sample's parts, and
with all parts some columns, a row a sample, which go to files.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.tasks.metrics.tally import Counts
from pipeline.tasks.report import TaskReport

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.models.batches import Batch
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
class Loss:
    """How to compute a loss: `smoothing` is the share of the target spread over all classes; the mean over the batch,
    or the sum."""

    smoothing: float = 0.0
    reduction: Literal["mean", "sum"] = "mean"


@dataclass(frozen=True)
class Predictions:
    """What a task keeps of the model's outputs for the n samples of a split, in stored order.

    Attributes:
        keys: of the samples, S64 (n,), ASCII; may be on disk.
        counts: the sums of `Task.count_results` with each subset of the parts; the last subset is all of them.
        columns: those of `Task.list_columns`, (n, …), with all parts; may be on disk.
    """

    keys: NDArray[np.bytes_]
    counts: Mapping[Subset, Counts]
    columns: Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Task:
    """A bundle of functions. `classes` are the names of the labels, empty where the dataset has none.

    Attributes:
        scores: the names of the validation scores; the epoch with the highest value of the last one is the best.
        count_outputs: how many outputs the head has for a dataset. Raises `InputError` where the dataset lacks what the
            task learns; the message names the setting.
        describe_model: what the model is, for the report, from `classes`: `a classifier of 12 classes`.
        compute_loss: the loss of outputs on a batch, a scalar.
        count_targets: int64 (outputs,) counts of a batch's targets, from a batch and the number of outputs.
        describe_targets: lines for the summary about such counts over the training split, from them and `classes`.
        count_nothing: such counts as `count_results` returns for no samples, from the number of outputs.
        count_results: int64 counts of outputs against a batch, which may be summed over batches.
        score_counts: the values of `scores` by name, from such sums.
        list_columns: the columns that metrics and report need of each sample, from the number of outputs: each with
            its dtype, which has a shape where a sample has more than one number: `np.dtype((np.float16, (100,)))`.
        compute_columns: their values (batch, …) by name, from outputs and a batch, both on the CPU.
        measure: the content of `metrics.json`, from predictions, `classes` and the name of the split. Its keys `split`
            and `samples` are those of every task.
        describe_metrics: lines for the summary, from that content.
        build_report: what to write and show, from predictions, `classes`, that content, and the most mistakes to show.
    """

    scores: tuple[str, ...]
    count_outputs: "Callable[[ShardDataset], int]"
    describe_model: Callable[[Sequence[str]], str]
    compute_loss: "Callable[[Tensor, Batch, Loss], Tensor]"
    count_targets: "Callable[[Batch, int], Tensor]"
    describe_targets: Callable[[Sequence[int], Sequence[str]], list[str]]
    count_nothing: Callable[[int], Counts]
    count_results: "Callable[[Tensor, Batch], Counts]"
    score_counts: Callable[[Counts], dict[str, float]]
    list_columns: Callable[[int], Mapping[str, np.dtype[Any]]]
    compute_columns: "Callable[[Tensor, Batch], Mapping[str, NDArray[Any]]]"
    measure: Callable[[Predictions, Sequence[str], str], dict[str, Any]]
    describe_metrics: Callable[[Mapping[str, Any]], list[str]]
    build_report: Callable[[Predictions, Sequence[str], Mapping[str, Any], int], TaskReport]
