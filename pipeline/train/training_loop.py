"""Train for epochs of steps, validate after each, and keep the best weights."""

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pipeline.config.params import RunParams
from pipeline.errors import PipelineError
from pipeline.models.batches import Batch, ReadOrder, move_batch, read_batches
from pipeline.models.history import Epoch
from pipeline.models.model import Model
from pipeline.runtime.progress import show_progress
from pipeline.tasks.task import Loss, Task
from pipeline.train.augment import augment_part, hide_parts
from pipeline.train.keyed_random import KeyedRandom
from pipeline.train.params import TrainParams
from shardwright import ShardDataset

WARM_UP = 0.1
"""Share of the steps: AdamW's first estimates of the variance are poor, and large steps on them do harm."""


def scale_rate(step: int, steps: int) -> float:
    """Return the share of the highest learning rate at `step` of `steps`: a linear rise, then half a cosine to 0."""
    warm = max(1, round(steps * WARM_UP))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


MAX_GRADIENT = 1.0
"""Norm to which gradients are clipped (Pascanu, Mikolov and Bengio 2013): one odd batch must not undo an epoch."""


@dataclass
class TrainingResult:
    """The result of training so far.

    Attributes:
        history: a row for each epoch.
        best: the best of them.
        best_state: its weights.
        last_state: the weights of the last epoch.
        counts: of the training targets, as the task counts them, int64 (outputs,).
    """

    history: list[Epoch] = field(default_factory=list)
    best: Epoch | None = None
    best_state: dict[str, Tensor] = field(default_factory=dict)
    last_state: dict[str, Tensor] = field(default_factory=dict)
    counts: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))

    def add(self, epoch: Epoch, model: Model) -> None:
        """Add an epoch, and keep its weights if it is the best so far."""
        self.history.append(epoch)
        self.last_state = copy.deepcopy(model.state_dict())
        if epoch.beats(self.best):
            self.best, self.best_state = epoch, self.last_state

    def is_stale(self, patience: int) -> bool:
        """Return whether none of the last `patience` epochs was the best."""
        return self.best is not None and len(self.history) - self.best.number >= patience


def fit(
    model: Model, splits: tuple[ShardDataset, ShardDataset | None], task: Task, params: TrainParams, run: RunParams
) -> TrainingResult:
    """Train `model` in place on the first of `splits`; the second decides which epoch is the best and when to stop.

    Raises:
        PipelineError: the loss is not a number, in training or validation; the message has the keys of the batch.
    """
    data, val = splits
    steps = math.ceil(len(data) / params.batch_size)
    trainer = Trainer(model, task, params, steps * params.epochs)
    result = TrainingResult()
    for number in range(1, params.epochs + 1):
        order = ReadOrder(params.batch_size, shuffle=True, seed=params.seed, epoch=number)
        unit = f"batches of epoch {number}/{params.epochs}"
        batches = show_progress(read_batches(params.reader, data, order), steps, unit, run)
        loss, result.counts = trainer.train_epoch(number, batches)
        val_loss, val_scores = (None, dict.fromkeys(task.scores)) if val is None else trainer.validate(val)
        result.add(Epoch(number, loss, val_loss, val_scores, trainer.rate), model)
        if result.is_stale(params.patience):
            break
    return result


class Trainer:
    """A model in training, with its optimizer and the number of the step."""

    def __init__(self, model: Model, task: Task, params: TrainParams, steps: int) -> None:
        self.model = model
        self.task = task
        self.params = params
        self.steps = steps
        self.step = 0
        self.rate = 0.0
        self.device = next(model.parameters()).device
        self.optimizer = torch.optim.AdamW(group_parameters(model, params.weight_decay), lr=params.learning_rate)

    def train_epoch(self, epoch: int, batches: Iterable[Batch]) -> tuple[float, Tensor]:
        """Take a step on each batch; return the mean loss over the samples, and the counts of their targets."""
        total, samples = 0.0, 0
        counts = torch.zeros(self.model.outputs, dtype=torch.int64)
        self.model.train()
        for batch in batches:
            total += self.take_step(epoch, batch) * len(batch["key"])
            samples += len(batch["key"])
            counts += self.task.count_targets(batch, self.model.outputs)
        return total / max(1, samples), counts

    def take_step(self, epoch: int, batch: Batch) -> float:
        """Take one step on one batch and return its mean loss.

        Raises:
            PipelineError: the loss is not a number.
        """
        loss = self.compute_loss(batch, KeyedRandom(self.params.seed, epoch, batch["key"]))
        value = loss.item()
        check_loss(value, f"in epoch {epoch}", batch)
        self.rate = self.params.learning_rate * scale_rate(self.step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.model.parameters(), MAX_GRADIENT)
        self.optimizer.step()
        self.step += 1
        return value

    def compute_loss(self, batch: Batch, rng: KeyedRandom) -> Tensor:
        """Return the mean loss over the batch, augmented and with parts hidden as the params say."""
        present = hide_parts(self.model.find_present(batch), self.params.modality_dropout, rng)
        if self.params.augment:
            batch = batch | {source.field: augment_part(batch, source, rng) for source in self.model.inputs}
        batch = move_batch(batch, self.device)
        outputs = self.model(batch, present.to(self.device))
        return self.task.compute_loss(outputs, batch, Loss(smoothing=self.params.label_smoothing))

    @torch.inference_mode()
    def validate(self, val: ShardDataset) -> tuple[float, dict[str, float | None]]:
        """Return the mean loss and the task's scores over the samples of `val`, which are not augmented.

        Raises:
            PipelineError: the loss is not a number.
        """
        losses, counts = [], self.task.count_nothing(self.model.outputs)
        self.model.eval()
        for batch in read_batches(self.params.reader, val, ReadOrder(self.params.batch_size)):
            moved = move_batch(batch, self.device)
            outputs = self.model(moved)
            losses.append(self.task.compute_loss(outputs, moved, Loss(reduction="sum")).item())
            check_loss(losses[-1], "in validation", batch)
            counts += self.task.count_results(outputs, moved)
        return math.fsum(losses) / len(val), {**self.task.score_counts(counts)}


def check_loss(value: float, where: str, batch: Batch) -> None:
    """Check that a loss is a number.

    Raises:
        PipelineError: it is not; the message says `where`, and has the keys of the batch.
    """
    if not math.isfinite(value):
        raise PipelineError(
            f"the loss is {value} {where}, on the samples {', '.join(batch['key'])}: "
            "lower train.learning_rate, or look at them with `shardwright show`"
        )


def group_parameters(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Return the parameters in two groups: weight decay is for matrices.

    Biases and the gains of norms have no reason to be small.
    """
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
