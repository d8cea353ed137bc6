"""Train for epochs of steps, validate after each, and keep the best weights."""

import itertools
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from pipeline.errors import PipelineError
from pipeline.models.batches import Batch, ReadOrder, drop_padding, move_batch, read_batches
from pipeline.models.checkpoint import BEST, LAST
from pipeline.models.model import Model
from pipeline.tasks.task import ForwardPass
from pipeline.train.augment import PreparedBatch, prepare_batch
from pipeline.train.optimizer import build_optimizer, clip_gradients, scale_rate
from pipeline.train.params import TrainParams
from pipeline.train.progress import Progress
from pipeline.train.saved_states import SavedStates
from pipeline.train.team import ALONE, Team
from pipeline.train.training_log import AUGMENTING, SAVING, VALIDATING, TrainingLog
from pipeline.train.training_state import pack_state
from pipeline.train.weight_average import WeightAverage, Weights, use_weights
from shardwright import ShardDataset


class Trainer:
    """A model in training: with its optimizer and its progress all that the next step depends on.

    Attributes:
        epoch_batches: number of batches of an epoch.
        samples: number of samples of an epoch.
        team: the processes that train together.
        steps: that training takes at most, on which the learning rate depends.
        progress: what was done.
        average: of the weights, which is what is validated and published.
        best_state: the weights of the best epoch so far; none before the first epoch has ended.
        published: at the end, in the leader, whole weights by the names of their files.
    """

    def __init__(self, model: Model, params: TrainParams, samples: int, team: Team = ALONE) -> None:
        self.model = model
        self.samples = samples
        self.team = team
        self.forward = torch.compile(model) if params.compile else model
        self.params = params
        self.epoch_batches = math.ceil(samples / params.batch_size)
        self.steps = count_steps(samples, params) * params.epochs
        self.device = next(model.parameters()).device
        self.optimizer = build_optimizer(model, params)
        self.progress = Progress()
        self.average = WeightAverage(model, params.ema, params.average_epochs)
        self.best_state: Weights = {}
        self.published: dict[str, Weights] = {}

    def train_epoch(self, batches: Iterator[Batch], states: SavedStates, log: TrainingLog) -> None:
        """Take a step on all that is left of the epoch; save the state when it is time to."""
        self.model.train()
        while group := list(itertools.islice(batches, self.params.accumulate)):
            with log.measure(AUGMENTING):
                prepared = [self.prepare(batch) for batch in group]
            log.add_step(self.progress, *self.take_step(prepared))
            if any(self.team.add(self.team.leads and states.is_due())):
                with log.measure(SAVING):
                    self.save(states)

    def save(self, states: SavedStates) -> None:
        """Save the state of all processes."""
        state = pack_state(self)
        if self.team.leads:
            states.save(state)

    def publish(self) -> None:
        """Find the weights of both files of a model. Those that are evaluated are `BEST` also where
        `train.select_epoch` is `last`; all processes call this."""
        last = self.average.compute(self.model)
        best = last if self.params.select_epoch == "last" else self.best_state
        self.published = {name: self.team.unshard(weights) for name, weights in ((BEST, best), (LAST, last))}

    def finish_epoch(self, val: ShardDataset | None) -> None:
        """Validate, and keep the weights if they are the best so far."""
        self.team.share_buffers(self.model)
        self.average.add_epoch(self.model, self.progress.epoch)
        weights = self.average.compute(self.model)
        val_loss: float | None = None
        scores: dict[str, float | None] = dict.fromkeys(self.model.task.scores)
        if val is not None:
            with use_weights(self.model, weights):
                val_loss, scores = self.team.broadcast(self.validate(val))
        monitor = self.params.monitor
        if self.progress.end_epoch(val_loss, scores, monitor, self.model.task.minimizes(monitor)):
            self.best_state = weights

    def prepare(self, batch: Batch) -> PreparedBatch:
        """Return a batch on the model's device, without padding, augmented and with parts hidden as the params say."""
        moved = move_batch(drop_padding(batch), self.device)
        return prepare_batch(moved, self.model, self.params, self.progress.epoch)

    def take_step(self, batches: Sequence[PreparedBatch]) -> tuple[float, int]:
        """Take one step on the mean loss over the samples of some batches, and count it; return that, and their number.

        Raises:
            PipelineError: the loss is not a number; the message has the step and the keys of the batch.
        """
        progress, params = self.progress, self.params
        left = self.samples - progress.batches * params.batch_size
        samples = min(left, len(batches) * params.batch_size)
        loss_sum = self.add_gradients(batches, samples)
        progress.rate = params.learning_rate * scale_rate(progress.step, self.steps, params.warm_up)
        for group in self.optimizer.param_groups:
            group["lr"] = progress.rate * group["lr_mult"]
        clip_gradients(self.model, params.max_gradient)
        self.optimizer.step()
        progress.add_step(loss_sum, samples, len(batches))
        self.average.add_step(self.model, progress.step)
        return loss_sum / samples, samples

    def add_gradients(self, batches: Sequence[PreparedBatch], samples: int) -> float:
        """Compute the gradients of the mean loss over `samples`, those of some batches in all processes; return the sum
        of their losses.

        Raises:
            PipelineError: it is not a number.
        """
        self.optimizer.zero_grad()
        progress, loss_sum, lost = self.progress, 0.0, []
        for batch, present in batches:
            keys, count = batch["key"], int(batch["valid"].sum())
            loss = self.compute_loss(batch, present)
            value = loss.item() if count else 0.0
            if not math.isfinite(value):
                lost += keys
            torch.autograd.backward(loss if count == samples else loss * (count / samples))
            loss_sum += value * count
        (loss_sum,) = self.team.add(loss_sum)
        if not math.isfinite(loss_sum):
            all_lost = [key for one in self.team.gather(lost) for key in one]
            raise explain_loss(loss_sum, f"in epoch {progress.epoch}, at step {progress.step + 1}", all_lost)
        self.team.add_gradients(self.model)
        return loss_sum

    def compute_loss(self, batch: Batch, present: Tensor) -> Tensor:
        """Return the mean loss over a prepared batch."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.params.precision == "bfloat16"):
            forward = ForwardPass(self.model, self.forward(batch, present), batch, present)
            return self.model.task.compute_loss(forward, True)

    @torch.no_grad()  # not inference_mode: FSDP trains on with what it gathers here
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
            if not math.isfinite(losses[-1]):
                raise explain_loss(losses[-1], "in validation", batch["key"])
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
    log.start(trainer.progress, params.seed)
    while not is_finished(trainer):
        progress = trainer.progress
        start, team = progress.batches, trainer.team
        order = ReadOrder(params.batch_size, True, params.seed, progress.epoch, start, team.rank, team.size)
        unit = f"batches of epoch {progress.epoch}/{params.epochs}"
        batches = read_batches(params.reader, data, order)
        left = trainer.epoch_batches - progress.batches
        trainer.train_epoch(log.show_batches(batches, left, unit, progress), states, log)
        with log.measure(VALIDATING):
            trainer.finish_epoch(val)
        log.add_epoch(progress, params.epochs)


def count_steps(samples: int, params: TrainParams) -> int:
    """Return the number of steps of an epoch of some samples."""
    return math.ceil(math.ceil(samples / params.batch_size) / params.accumulate)


def is_finished(trainer: Trainer) -> bool:
    """Return whether all epochs are done, or none of the last ones was the best."""
    progress, params = trainer.progress, trainer.params
    return progress.epoch > params.epochs or progress.is_stale(params.patience)


def explain_loss(value: float, where: str, keys: Sequence[str]) -> PipelineError:
    """Return the error for a loss that is not a number."""
    return PipelineError(
        f"the loss is {value} {where}, on the samples {', '.join(keys)}: "
        "lower train.learning_rate, or look at them with `shardwright show`"
    )
