"""Train for epochs of steps, validate after each, and keep the best weights."""

import copy
import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from pipeline.config.params import RunParams
from pipeline.errors import PipelineError
from pipeline.models.batches import Batch, ReadOrder, move_batch, read_batches
from pipeline.models.model import Model
from pipeline.runtime.progress import show_progress
from pipeline.tasks.task import ForwardPass
from pipeline.train.augment import augment_part, hide_parts
from pipeline.train.keyed_random import KeyedRandom
from pipeline.train.params import TrainParams
from pipeline.train.progress import Progress
from pipeline.train.saved_states import SavedStates
from pipeline.train.training_state import pack_state
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


class Trainer:
    """A model in training: with its optimizer and its progress all that the next step depends on.

    Attributes:
        epoch_steps: number of steps of an epoch.
        steps: that training takes at most, on which the learning rate depends.
        progress: what was done.
        best_state: the weights of the best epoch so far; none before the first epoch has ended.
    """

    def __init__(self, model: Model, params: TrainParams, epoch_steps: int) -> None:
        self.model = model
        self.params = params
        self.epoch_steps = epoch_steps
        self.steps = epoch_steps * params.epochs
        self.device = next(model.parameters()).device
        self.optimizer = torch.optim.AdamW(group_parameters(model, params.weight_decay), lr=params.learning_rate)
        self.progress = Progress()
        self.best_state: dict[str, Tensor] = {}

    def train_epoch(self, batches: Iterable[Batch], states: SavedStates) -> None:
        """Take a step on each of the batches that are left of the epoch; save the state when it is time to."""
        self.model.train()
        for batch in batches:
            self.progress.add_batch(self.take_step(batch), len(batch["key"]))
            if states.is_due():
                states.save(pack_state(self))

    def finish_epoch(self, val: ShardDataset | None) -> None:
        """Validate, and keep the weights if they are the best so far."""
        val_loss, val_scores = (None, dict.fromkeys(self.model.task.scores)) if val is None else self.validate(val)
        if self.progress.end_epoch(val_loss, val_scores):
            self.best_state = copy.deepcopy(self.model.state_dict())

    def take_step(self, batch: Batch) -> float:
        """Take one step on one batch and return its mean loss.

        Raises:
            PipelineError: the loss is not a number; the message has the step and the keys of the batch.
        """
        progress = self.progress
        loss = self.compute_loss(batch, KeyedRandom(self.params.seed, progress.epoch, batch["key"]))
        value = loss.item()
        check_loss(value, f"in epoch {progress.epoch}, at step {progress.step + 1}", batch)
        progress.rate = self.params.learning_rate * scale_rate(progress.step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = progress.rate
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.model.parameters(), MAX_GRADIENT)
        self.optimizer.step()
        return value

    def compute_loss(self, batch: Batch, rng: KeyedRandom) -> Tensor:
        """Return the mean loss over the batch, augmented and with parts hidden as the params say."""
        present = hide_parts(self.model.find_present(batch), self.params.modality_dropout, rng)
        if self.params.augment:
            batch = batch | {source.name: augment_part(batch, source, rng) for source in self.model.inputs}
        batch, present = move_batch(batch, self.device), present.to(self.device)
        forward = ForwardPass(self.model, self.model(batch, present), batch, present)
        return self.model.task.compute_loss(forward, True)

    @torch.inference_mode()
    def validate(self, val: ShardDataset) -> tuple[float, dict[str, float | None]]:
        """Return the mean loss and the task's scores over the samples of `val`, which are not augmented.

        Raises:
            PipelineError: the loss is not a number.
        """
        task = self.model.task
        losses, meter = [], task.make_meter(self.model.plan)
        self.model.eval()
        for batch in read_batches(self.params.reader, val, ReadOrder(self.params.batch_size)):
            moved = move_batch(batch, self.device)
            present = self.model.find_present(moved)
            forward = ForwardPass(self.model, self.model(moved, present), moved, present)
            losses.append(task.compute_loss(forward, False).item())
            check_loss(losses[-1], "in validation", batch)
            meter.add(forward)
        return math.fsum(losses) / len(val), {**meter.compute()}


def fit(
    trainer: Trainer, splits: tuple[ShardDataset, ShardDataset | None], states: SavedStates, run: RunParams
) -> None:
    """Train on the first of `splits`; the second decides which epoch is the best and when to stop.

    Where `states` has a state, training goes on from it.

    Raises:
        PipelineError: the loss is not a number, in training or validation; the message has the keys of the batch.
    """
    data, val = splits
    params, progress = trainer.params, trainer.progress
    while progress.epoch <= params.epochs and not progress.is_stale(params.patience):
        order = ReadOrder(params.batch_size, True, params.seed, progress.epoch, progress.batches)
        unit = f"batches of epoch {progress.epoch}/{params.epochs}"
        batches = read_batches(params.reader, data, order)
        trainer.train_epoch(show_progress(batches, trainer.epoch_steps - progress.batches, unit, run), states)
        trainer.finish_epoch(val)


def count_steps(data: ShardDataset, params: TrainParams) -> int:
    """Return the number of steps of an epoch."""
    return math.ceil(len(data) / params.batch_size)


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
