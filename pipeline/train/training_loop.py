"""Train for epochs of steps, validate after each, and keep the best weights."""

import itertools
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from pipeline.errors import PipelineError
from pipeline.models.batches import Batch, ReadOrder, move_batch, read_batches
from pipeline.models.model import Model
from pipeline.tasks.task import ForwardPass
from pipeline.train.augment import augment_part, hide_parts
from pipeline.train.keyed_random import KeyedRandom
from pipeline.train.optimizer import build_optimizer, clip_gradients, scale_rate
from pipeline.train.params import TrainParams
from pipeline.train.progress import Progress
from pipeline.train.saved_states import SavedStates
from pipeline.train.training_log import SAVING, VALIDATING, TrainingLog
from pipeline.train.training_state import pack_state
from pipeline.train.weight_average import WeightAverage, Weights, use_weights
from shardwright import ShardDataset


class Trainer:
    """A model in training: with its optimizer and its progress all that the next step depends on.

    Attributes:
        epoch_batches: number of batches of an epoch.
        steps: that training takes at most, on which the learning rate depends.
        progress: what was done.
        average: of the weights, which is what is validated and published.
        best_state: the weights of the best epoch so far; none before the first epoch has ended.
    """

    def __init__(self, model: Model, params: TrainParams, samples: int) -> None:
        self.model = model
        self.forward = torch.compile(model) if params.compile else model
        self.params = params
        self.epoch_batches = math.ceil(samples / params.batch_size)
        self.steps = math.ceil(self.epoch_batches / params.accumulate) * params.epochs
        self.device = next(model.parameters()).device
        self.optimizer = build_optimizer(model, params)
        self.progress = Progress()
        self.average = WeightAverage(model, params.ema, params.average_epochs)
        self.best_state: Weights = {}

    def train_epoch(self, batches: Iterator[Batch], states: SavedStates, log: TrainingLog) -> None:
        """Take a step on all that is left of the epoch; save the state when it is time to."""
        self.model.train()
        while group := list(itertools.islice(batches, self.params.accumulate)):
            self.take_step(group)
            if states.is_due():
                with log.measure(SAVING):
                    states.save(pack_state(self))

    def finish_epoch(self, val: ShardDataset | None) -> None:
        """Validate, and keep the weights if they are the best so far."""
        self.average.add_epoch(self.model, self.progress.epoch)
        weights = self.average.compute(self.model)
        val_loss: float | None = None
        scores: dict[str, float | None] = dict.fromkeys(self.model.task.scores)
        if val is not None:
            with use_weights(self.model, weights):
                val_loss, scores = self.validate(val)
        if self.progress.end_epoch(val_loss, scores, self.params.monitor):
            self.best_state = weights

    def take_step(self, batches: Sequence[Batch]) -> None:
        """Take one step on the mean loss over the samples of some batches, and count it.

        Raises:
            PipelineError: the loss is not a number; the message has the step and the keys of the batch.
        """
        progress, loss_sum = self.progress, 0.0
        samples = sum(len(batch["key"]) for batch in batches)
        self.optimizer.zero_grad()
        for batch in batches:
            count = len(batch["key"])
            loss = self.compute_loss(batch, KeyedRandom(self.params.seed, progress.epoch, batch["key"]))
            value = loss.item()
            check_loss(value, f"in epoch {progress.epoch}, at step {progress.step + 1}", batch)
            torch.autograd.backward(loss if count == samples else loss * (count / samples))
            loss_sum += value * count
        progress.rate = self.params.learning_rate * scale_rate(progress.step, self.steps, self.params.warm_up)
        for group in self.optimizer.param_groups:
            group["lr"] = progress.rate
        clip_gradients(self.model, self.params.max_gradient)
        self.optimizer.step()
        progress.add_step(loss_sum, samples, len(batches))
        self.average.add_step(self.model, progress.step)

    def compute_loss(self, batch: Batch, rng: KeyedRandom) -> Tensor:
        """Return the mean loss over the batch, augmented and with parts hidden as the params say."""
        chance = self.params.modality_dropout if self.model.task.fuses else 0.0
        present = hide_parts(self.model.find_present(batch), chance, rng)
        if self.params.augment:
            batch = batch | {source.name: augment_part(batch, source, rng) for source in self.model.inputs}
        batch, present = move_batch(batch, self.device), present.to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.params.precision == "bfloat16"):
            forward = ForwardPass(self.model, self.forward(batch, present), batch, present)
            return self.model.task.compute_loss(forward, True)

    @torch.inference_mode()
    def validate(self, val: ShardDataset) -> tuple[float, dict[str, float | None]]:
        """Return the mean loss and the task's scores over the samples of `val`, which are not augmented.

        A score that is not defined is None.

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
        scores = {name: None if math.isnan(value) else value for name, value in meter.compute().items()}
        return math.fsum(losses) / len(val), scores


def fit(
    trainer: Trainer, splits: tuple[ShardDataset, ShardDataset | None], states: SavedStates, log: TrainingLog
) -> None:
    """Train on the first of `splits`; the second decides which epoch is the best and when to stop.

    A trainer that was stopped goes on where it was.

    Raises:
        PipelineError: the loss is not a number, in training or validation; the message has the keys of the batch.
    """
    data, val = splits
    params = trainer.params
    log.start(trainer.progress)
    while not is_finished(trainer):
        progress = trainer.progress
        order = ReadOrder(params.batch_size, True, params.seed, progress.epoch, progress.batches)
        unit = f"batches of epoch {progress.epoch}/{params.epochs}"
        batches = read_batches(params.reader, data, order)
        left = trainer.epoch_batches - progress.batches
        trainer.train_epoch(log.show_batches(batches, left, unit, progress), states, log)
        with log.measure(VALIDATING):
            trainer.finish_epoch(val)
        log.add_epoch(progress.history[-1], params.epochs)


def is_finished(trainer: Trainer) -> bool:
    """Return whether all epochs are done, or none of the last ones was the best."""
    progress, params = trainer.progress, trainer.params
    return progress.epoch > params.epochs or progress.is_stale(params.patience)


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
