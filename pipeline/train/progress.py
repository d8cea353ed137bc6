"""Count what a training has done: with the weights, the optimizer and the random numbers all that it goes on from."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.models.history import Epoch
from pipeline.train.params import TrainParams


@dataclass
class Progress:
    """What a training has done so far. The position in the data is two numbers, `epoch` and `batches`.

    Attributes:
        step: number of steps taken.
        epoch: the one to go on with, counted from 1.
        batches: number of batches of it that are done; 0 at its start.
        loss_sum: of the samples since the start of the latest epoch.
        samples: number of them.
        rate: learning rate of the last step.
        history: a row for each epoch that has ended.
        best: the number of the best of them; 0 before the first has ended.
    """

    step: int = 0
    epoch: int = 1
    batches: int = 0
    loss_sum: float = 0.0
    samples: int = 0
    rate: float = 0.0
    history: tuple[Epoch, ...] = ()
    best: int = 0

    @property
    def best_epoch(self) -> Epoch | None:
        """The best epoch so far."""
        return self.history[self.best - 1] if self.best else None

    def add_step(self, loss_sum: float, samples: int, batches: int) -> None:
        """Count a step on some batches."""
        if self.batches == 0:
            self.loss_sum, self.samples = 0.0, 0
        self.step += 1
        self.batches += batches
        self.loss_sum += loss_sum
        self.samples += samples

    def end_epoch(
        self,
        val_loss: float | None,
        val_scores: Mapping[str, float | None],
        monitor: str | None = None,
        minimizes: bool = False,
    ) -> bool:
        """Add the epoch to the history; return whether it is the best so far, see `Epoch.beats`."""
        loss = self.loss_sum / max(1, self.samples)
        row = Epoch(self.epoch, loss, val_loss, val_scores, self.rate)
        is_best = row.beats(self.best_epoch, monitor, minimizes)
        self.history = (*self.history, row)
        if is_best:
            self.best = self.epoch
        self.epoch, self.batches = self.epoch + 1, 0
        return is_best

    def is_stale(self, patience: int) -> bool:
        """Return whether none of the last `patience` epochs was the best."""
        return self.best > 0 and len(self.history) - self.best >= patience


def find_epoch(progress: Progress, params: TrainParams) -> Epoch:
    """Return the epoch whose weights are evaluated."""
    best = progress.best_epoch
    assert best is not None, "there is at least one epoch"
    return progress.history[-1] if params.select_epoch == "last" else best
