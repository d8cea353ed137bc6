"""Generate a text part of a sample: the head is a decoder, whose outputs are logits of the true texts' tokens."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pipeline.tasks.generation.decoder import TextHead
from pipeline.tasks.generation.plan import GenerationPlan, make_plan
from pipeline.tasks.generation.report import SCORE_TITLES, build_report, describe_metrics, measure, tabulate
from pipeline.tasks.generation.targets import read_texts
from pipeline.tasks.generation.texts import NO_TOKEN
from pipeline.tasks.labels import compute_label_column, list_label_column
from pipeline.tasks.options import GenerationOptions
from pipeline.tasks.task import ForwardPass, Task

UNLEARNED = -100
"""In the place of a target that is left out of the loss."""


def find_targets(forward: ForwardPass) -> tuple[Tensor, Tensor]:
    """Return the true tokens of a batch, int64 (batch, texts, steps), and which of them count, bool; one that is not
    learned is `UNLEARNED`."""
    plan: GenerationPlan = forward.plan
    tokens, counted = read_texts(plan, forward.batch)
    silent = torch.tensor(plan.silent, dtype=torch.int64, device=tokens.device)
    return tokens.masked_fill(~counted | torch.isin(tokens, silent), UNLEARNED), counted


def compute_loss(forward: ForwardPass, training: bool) -> Tensor:
    """Return the cross-entropy of the tokens that are learned, a scalar, in units of the mean sample's tokens.

    Each token counts alike, whatever batch or process it is in: the sum over the tokens is divided by the number of
    samples, and by the tokens of a sample in the mean over the training split, not in this batch.
    """
    plan: GenerationPlan = forward.plan
    targets, _ = find_targets(forward)
    loss = functional.cross_entropy(
        forward.outputs.flatten(0, 2),
        targets.flatten(),
        ignore_index=UNLEARNED,
        reduction="sum",
        label_smoothing=plan.smoothing if training else 0.0,
    )
    loss = loss / plan.mean_tokens
    return loss / len(targets) if training else loss


class TokenMeter:
    """Adds up tokens, those that are the most probable ones given the true ones before them, and log-probabilities."""

    def __init__(self, plan: GenerationPlan) -> None:
        self.tokens = self.learned = self.hits = 0
        self.log_probability = 0.0

    def add(self, forward: ForwardPass) -> None:
        """Add the tokens of a batch."""
        targets, counted = find_targets(forward)
        logits = forward.outputs.float()
        self.tokens += int(counted.sum())
        self.learned += int((targets != UNLEARNED).sum())
        self.hits += int((logits.argmax(3) == targets).sum())
        loss = functional.cross_entropy(
            logits.flatten(0, 2), targets.flatten(), ignore_index=UNLEARNED, reduction="sum"
        )
        self.log_probability -= loss.item()

    def compute(self) -> dict[str, float]:
        """Return `SCORE_TITLES` by name; NaN without tokens."""
        return {
            "token_probability": math.exp(self.log_probability / self.learned) if self.learned else math.nan,
            "token_accuracy": self.hits / self.tokens if self.tokens else math.nan,
        }


def list_columns(plan: GenerationPlan) -> dict[str, np.dtype[Any]]:
    """Return the tokens of the generated text and of the true ones, `NO_TOKEN` after their ends, and the labels where
    there are some."""
    stored = np.dtype((np.int32, (plan.texts, plan.steps)))
    columns = {"generated": np.dtype((np.int32, (plan.steps,))), "truth": stored}
    return columns | list_label_column(plan.classes)


def compute_columns(forward: ForwardPass) -> dict[str, NDArray[Any]]:
    """Return the columns of `list_columns`, (batch, …).

    The encoders run once more: outputs are those of the true texts, and a search needs what the decoder attends to.
    """
    model, plan = forward.model, forward.plan
    features = model.fuse(model.encode(forward.batch), forward.present)
    found = forward.head.generate(features)
    generated = functional.pad(found, (0, plan.steps - found.shape[1]), value=plan.end)
    truth, _ = read_texts(plan, forward.batch)
    columns = {
        name: tokens.masked_fill(tokens == plan.end, NO_TOKEN).int().cpu().numpy()
        for name, tokens in (("generated", generated), ("truth", truth))
    }
    return columns | compute_label_column(forward)


def describe_plan(plan: GenerationPlan) -> list[str]:
    """Return what is generated, from what."""
    return [f"generates {plan.target.part} from {', '.join(plan.parts)}, {plan.mean_tokens:.1f} tokens a sample"]


GENERATION = Task(
    options=GenerationOptions,
    plan_type=GenerationPlan,
    scores=SCORE_TITLES,
    make_plan=make_plan,
    describe_plan=describe_plan,
    describe_model=lambda plan: f"a generator of {plan.target.part}",
    build_head=TextHead,
    compute_loss=compute_loss,
    make_meter=TokenMeter,
    list_columns=list_columns,
    compute_columns=compute_columns,
    measure=measure,
    tabulate=tabulate,
    needs_texts=True,
    describe_metrics=describe_metrics,
    build_report=build_report,
)
