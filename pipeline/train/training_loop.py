"""The training loop: epochs of steps, a validation after each, the best weights kept."""

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.config.params import RunParams
from pipeline.errors import PipelineError
from pipeline.models.batches import Batch, ReadOrder, move_batch, read_batches
from pipeline.models.model import Model
from pipeline.models.scores import Tally, count_confusion, find_accuracy, find_f1, find_macro
from pipeline.runtime.progress import show_progress
from pipeline.train.augment import AUGMENTATIONS, hide_modalities
from pipeline.train.history import Epoch
from pipeline.train.keyed_random import KeyedRandom
from pipeline.train.params import TrainParams
from shardwright import ShardDataset

WARM_UP = 0.1
"""Share of the steps; AdamW's first estimates of the variance are poor, and large steps on them do harm."""


def scale_rate(step: int, steps: int) -> float:
    """The share of the highest learning rate at `step` of `steps`: a rise in a line, then half a cosine down to 0."""
    warm = max(1, round(steps * WARM_UP))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


MAX_GRADIENT = 1.0
"""Norm above which a step is shortened (Pascanu, Mikolov and Bengio 2013): one odd batch must not undo an epoch."""


@dataclass
class TrainingResult:
    """What came of training so far: a row an epoch, the best of them, the weights, and how many training samples there
    are of each class, int64 (classes,)."""

    history: list[Epoch] = field(default_factory=list)
    best: Epoch | None = None
    best_state: dict[str, Tensor] = field(default_factory=dict)
    last_state: dict[str, Tensor] = field(default_factory=dict)
    counts: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))

    def add(self, epoch: Epoch, model: Model) -> None:
        """Note an epoch, and keep its weights where it is the best so far."""
        self.history.append(epoch)
        self.last_state = copy.deepcopy(model.state_dict())
        if epoch.beats(self.best):
            self.best, self.best_state = epoch, self.last_state

    def is_stale(self, patience: int) -> bool:
        """Whether the last `patience` epochs brought nothing better."""
        return self.best is not None and len(self.history) - self.best.epoch >= patience


def fit(
    model: Model, data: ShardDataset, val: ShardDataset | None, params: TrainParams, run: RunParams
) -> TrainingResult:
    """Train `model` in place on `data`; `val` says which epoch is the best and when to stop.

    Raises:
        PipelineError: the loss is not a number, in training or validation; the message has the keys of the batch.
    """
    steps = math.ceil(len(data) / params.batch_size)
    trainer = Trainer(model, params, steps * params.epochs)
    result = TrainingResult()
    for number in range(1, params.epochs + 1):
        order = ReadOrder(params.batch_size, shuffle=True, seed=params.seed, epoch=number)
        unit = f"batches of epoch {number}/{params.epochs}"
        batches = show_progress(read_batches(params.reader, data, order), steps, unit, run)
        loss, counts = trainer.train_epoch(number, batches)
        val_loss, val_accuracy, val_macro_f1 = (None, None, None) if val is None else validate(model, val, params)
        result.counts = counts
        result.add(Epoch(number, loss, val_loss, val_accuracy, val_macro_f1, trainer.rate), model)
        if result.is_stale(params.patience):
            break
    return result


class Trainer:
    """A model in training: its optimiser, and the step that it is at."""

    def __init__(self, model: Model, params: TrainParams, steps: int) -> None:
        self.model = model
        self.params = params
        self.steps = steps
        self.step = 0
        self.rate = 0.0
        self.device = next(model.parameters()).device
        self.optimizer = torch.optim.AdamW(group_parameters(model, params.weight_decay), lr=params.learning_rate)

    def train_epoch(self, epoch: int, batches: Iterable[Batch]) -> tuple[float, Tensor]:
        """The mean loss over the samples, and how many of each class there were, int64 (classes,)."""
        classes = self.model.classes
        total, counts = 0.0, torch.zeros(classes, dtype=torch.int64)
        self.model.train()
        for batch in batches:
            total += self.take_step(epoch, batch) * len(batch["key"])
            counts += torch.bincount(batch["label"], minlength=classes)
        return total / max(1, int(counts.sum())), counts

    def take_step(self, epoch: int, batch: Batch) -> float:
        """One step on one batch; gives its mean loss.

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

    def compute_loss(self, batch: Batch, draws: KeyedRandom) -> Tensor:
        """Mean cross-entropy over the batch, varied and with modalities hidden as the params say."""
        present = hide_modalities(self.model.find_present(batch), self.params.modality_dropout, draws)
        if self.params.augment:
            batch = batch | {
                source.field: AUGMENTATIONS[source.modality](
                    batch[source.field], None if source.length is None else batch[source.length], source, draws
                )
                for source in self.model.inputs
            }
        batch = move_batch(batch, self.device)
        logits = self.model(batch, present.to(self.device))
        return functional.cross_entropy(logits, batch["label"], label_smoothing=self.params.label_smoothing)


def check_loss(value: float, place: str, batch: Batch) -> None:
    """See that a loss is a number.

    Raises:
        PipelineError: it is not; the message has the place and the keys of the batch.
    """
    if not math.isfinite(value):
        raise PipelineError(
            f"the loss is {value} {place}, on the samples {', '.join(batch['key'])}: "
            "lower train.learning_rate, or look at them with `shardwright show`"
        )


def group_parameters(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Weight decay is for matrices: on biases and the gains of norms it pulls at what has no reason to be small."""
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


@torch.inference_mode()
def validate(model: Model, val: ShardDataset, params: TrainParams) -> tuple[float, float, float]:
    """Mean cross-entropy, accuracy and macro F1 over the samples of `val` as they are.

    Raises:
        PipelineError: the loss is not a number.
    """
    device = next(model.parameters()).device
    losses, truths, guesses = [], [], []
    model.eval()
    for batch in read_batches(params.reader, val, ReadOrder(params.batch_size)):
        moved = move_batch(batch, device)
        logits = model(moved)
        losses.append(functional.cross_entropy(logits, moved["label"], reduction="sum").item())
        check_loss(losses[-1], "in validation", batch)
        truths.append(batch["label"].numpy())
        guesses.append(logits.argmax(1).cpu().numpy())
    confusion = count_confusion(np.concatenate(truths), np.concatenate(guesses), model.classes)
    tally = Tally.from_confusion(confusion)
    return math.fsum(losses) / len(val), float(find_accuracy(tally)), float(find_macro(find_f1(tally), tally))
