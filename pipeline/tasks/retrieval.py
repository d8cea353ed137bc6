"""Retrieve: of each part find the others of the same sample. Learned by contrast, without labels.

The head gives a unit vector a part; those of one sample shall be similar, those of different samples not.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pipeline.errors import InputError
from pipeline.models.model import Features
from pipeline.tasks.labels import LABEL, compute_label_column, list_label_column
from pipeline.tasks.metrics.ranks import rank_candidates, score_ranks, title_score
from pipeline.tasks.options import RetrievalOptions
from pipeline.tasks.retrieval_report import build_report, describe_metrics, measure, select_pair, tabulate
from pipeline.tasks.task import ForwardPass, Plan, Subset, Task
from shardwright import ShardDataset

if TYPE_CHECKING:
    from pipeline.models.inputs import PartInput
    from pipeline.models.model import Model

MAX_SCALE = 100.0
"""Limit on what similarities are multiplied by (Radford et al. 2021: Learning transferable visual models, 2.5)."""

SIGLIP_SCALE = 10.0
"""What similarities are multiplied by at the start of the sigmoid loss (Zhai et al. 2023: Sigmoid loss, 3.2)."""


@dataclass(frozen=True)
class RetrievalPlan(Plan):
    """The plan of a retrieval: `parts` are those compared with each other.

    Attributes:
        loss: its name.
        temperature: that InfoNCE starts with.
        bias: that SigLIP starts with.
        width: numbers in a vector.
        classes: the names of the labels where samples have some: how often a sample of the same class is found is
            counted too.
    """

    loss: str
    temperature: float
    bias: float
    width: int
    classes: tuple[str, ...] = ()


def has_several_parts(data: ShardDataset, inputs: "Sequence[PartInput]") -> bool:
    """Return whether samples have parts to compare."""
    return len(inputs) > 1


def make_plan(options: RetrievalOptions, data: ShardDataset, inputs: "Sequence[PartInput]") -> RetrievalPlan:
    """Return the plan: the parts that the options name, or all.

    Raises:
        InputError: there are fewer than two such parts, or a part that is named is not among those that the model may
            see.
    """
    known = [source.part for source in inputs]
    chosen = known if options.parts is None else list(options.parts)
    if absent := [part for part in chosen if part not in known]:
        raise InputError(f"train.task.parts has `{absent[0]}`; it must name some of {', '.join(known)}")
    if len(set(chosen)) < 2:
        raise InputError(
            f"train.task retrieval compares parts of a sample, and there is only {', '.join(chosen)}: add a part to "
            "align.modalities or align.parts, or to train.modalities"
        )
    parts = tuple(part for part in known if part in chosen)
    classes = tuple(data.classes or ()) if LABEL in data.fields else ()
    return RetrievalPlan(parts, options.loss, options.temperature, options.bias, options.width, classes)


def describe_model(plan: RetrievalPlan) -> str:
    """Return what the model is."""
    return f"a retrieval between {', '.join(plan.parts)} by vectors of {plan.width} numbers"


class ContrastHead(nn.Module):
    """A projection a part to unit vectors, and what the loss multiplies and adds to their similarities."""

    def __init__(self, plan: RetrievalPlan, model: "Model") -> None:
        super().__init__()
        self.dropout = nn.Dropout(model.dropout)
        self.projections = nn.ModuleList(nn.Linear(model.width, plan.width) for _ in model.inputs)
        siglip = plan.loss == "siglip"
        self.log_scale = nn.Parameter(torch.tensor(math.log(SIGLIP_SCALE if siglip else 1 / plan.temperature)))
        if siglip:
            self.bias = nn.Parameter(torch.tensor(plan.bias))

    def forward(self, features: Features, batch: Mapping[str, Tensor]) -> Tensor:
        """Return a unit vector a part, (batch, parts, width); zeros where a sample lacks the part."""
        pooled = features.pooled.unbind(1)
        projected = [project(self.dropout(each)) for project, each in zip(self.projections, pooled, strict=True)]
        vectors = functional.normalize(torch.stack(projected, dim=1), dim=2)
        return vectors.masked_fill(~features.present.unsqueeze(2), 0)

    def scale(self, similarities: Tensor) -> Tensor:
        """Return similarities as logits."""
        scaled = similarities * self.log_scale.exp().clamp(max=MAX_SCALE)
        return scaled + self.bias if hasattr(self, "bias") else scaled


def compute_loss(forward: ForwardPass, training: bool) -> Tensor:
    """Return the mean over all pairs of parts of their loss on the samples that have both, a scalar.

    The other samples of the batch are the wrong candidates, so the loss depends on the size of the batch.
    """
    outputs, present = forward.outputs, forward.present
    compare = COMPARISONS[forward.plan.loss]
    losses = []
    for one, other in itertools.combinations(range(outputs.shape[1]), 2):
        both = present[:, one] & present[:, other]
        if both.any():
            losses.append(compare(forward.head.scale(outputs[both, one] @ outputs[both, other].T)))
    # Without a pair, zero with gradients of zero.
    loss = torch.stack(losses).mean() if losses else forward.head.scale(outputs.sum()) * 0
    return loss if training else loss * len(outputs)


def compare_by_softmax(logits: Tensor) -> Tensor:
    """Return the InfoNCE loss of logits (n, n), right ones on the diagonal: the mean over both directions of the
    cross-entropy (van den Oord et al. 2018; in both directions Radford et al. 2021)."""
    right = torch.arange(len(logits), device=logits.device)
    return (functional.cross_entropy(logits, right) + functional.cross_entropy(logits.T, right)) / 2


def compare_by_sigmoid(logits: Tensor) -> Tensor:
    """Return the SigLIP loss of logits (n, n): each pair is right or wrong by itself, summed over the candidates of a
    query, the mean over the queries (Zhai et al. 2023, algorithm 1)."""
    signs = 2 * torch.eye(len(logits), device=logits.device) - 1
    return -functional.logsigmoid(signs * logits).sum(1).mean()


COMPARISONS = {"infonce": compare_by_softmax, "siglip": compare_by_sigmoid}


class VectorMeter:
    """Keeps the vectors of all samples, float32 (samples, parts, width)."""

    def __init__(self, plan: RetrievalPlan) -> None:
        self.plan = plan
        self.batches: list[NDArray[np.float32]] = []

    def add(self, forward: ForwardPass) -> None:
        """Keep the vectors of a batch."""
        self.batches.append(forward.outputs.float().cpu().numpy())

    def compute(self) -> dict[str, float]:
        """Return the mean over both directions of all pairs of parts; NaN where no sample has two."""
        empty = np.empty((0, len(self.plan.parts), self.plan.width), np.float32)
        vectors = np.concatenate([empty, *self.batches])
        scores = [score_ranks(rank_candidates(*pair).ranks) for pair in _list_pairs(vectors) if len(pair[0])]
        return {name: float(np.mean([each[name] for each in scores] or [math.nan])) for name in SCORE_TITLES}


def _list_pairs(vectors: NDArray[np.float32]) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Yield queries and candidates of each ordered pair of parts, of the samples that have both."""
    for one, other in itertools.permutations(range(vectors.shape[1]), 2):
        rows = select_pair(vectors, one, other)
        yield vectors[rows, one], vectors[rows, other]


def list_columns(plan: RetrievalPlan) -> dict[str, np.dtype[Any]]:
    """Return the vectors, and the labels where there are some."""
    vectors = {"vectors": np.dtype((np.float32, (len(plan.parts), plan.width)))}
    return vectors | list_label_column(plan.classes)


def compute_columns(forward: ForwardPass) -> dict[str, NDArray[Any]]:
    """Return the columns of `list_columns`, (batch, …)."""
    columns = {"vectors": forward.outputs.float().cpu().numpy()}
    return columns | compute_label_column(forward)


def list_no_subsets(parts: Sequence[str]) -> list[Subset]:
    """Return nothing: the parts are compared with each other, so there is nothing to leave out."""
    return []


SCORE_TITLES = {name: title_score(name) for name in ("recall_at_1", "mrr")}
"""The mean reciprocal rank selects the epoch: every rank counts, where recall@1 of a few samples is some hits."""

RETRIEVAL = Task(
    options=RetrievalOptions,
    plan_type=RetrievalPlan,
    scores=SCORE_TITLES,
    suits=has_several_parts,
    make_plan=make_plan,
    describe_model=describe_model,
    build_head=ContrastHead,
    compute_loss=compute_loss,
    make_meter=VectorMeter,
    list_columns=list_columns,
    compute_columns=compute_columns,
    measure=measure,
    describe_metrics=describe_metrics,
    build_report=build_report,
    tabulate=tabulate,
    list_subsets=list_no_subsets,
    fuses=False,
    pools=False,
)
