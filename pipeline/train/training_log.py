"""Show a training while it runs, and measure where its time goes.

On a terminal there is a bar with the loss and the rate; in a log a line every ten seconds at most; and in a TSV file,
which `dvc plots` reads, a row as soon as an epoch has ended.
"""

import resource
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from pipeline.config.params import RunParams
from pipeline.models.batches import Batch
from pipeline.models.history import LOSS, format_row, write_history
from pipeline.runtime.progress import say_line
from pipeline.train.progress import Progress
from pipeline.train.scalar_events import ScalarEvents

LINE_SECONDS = 10.0
"""Between two lines in a log."""

STALL = 0.05
"""Share of the time spent waiting for data from which on reading is what limits a training."""

TRAINING, READING, AUGMENTING, SAVING, VALIDATING = (
    "training",
    "waiting for data",
    "augmenting",
    "saving states",
    "validating",
)


SHOWN = (READING, AUGMENTING, SAVING, VALIDATING)
"""Parts of the time whose shares are in the summary."""


class TrainingLog:
    """What is shown of a training, and the seconds of its parts.

    Args:
        path: of the TSV file; None shows nothing, in a process that follows another.
        run: whether to draw a bar.
        processes: that train together.
        scalars: a folder where each seed gets one of event files, for TensorBoard; None writes none.
        clock: seconds.
    """

    def __init__(
        self,
        path: Path | None,
        run: RunParams,
        processes: int = 1,
        scalars: Path | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.path = path
        self.scalars = scalars
        self.draws = path is not None and run.progress and sys.stderr.isatty()
        self.processes = processes
        self.clock = clock
        self.samples = 0
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._said = clock()
        self._stepped = clock()
        self._events: ScalarEvents | None = None

    @contextmanager
    def measure(self, part: str) -> Iterator[None]:
        """Count the time inside for `part`."""
        start = self.clock()
        try:
            yield
        finally:
            self.seconds[part] += self.clock() - start

    def start(self, progress: Progress, seed: int = 0) -> None:
        """Write the rows of the epochs that have ended, those of a training that goes on."""
        if self.scalars is not None:
            self._events = ScalarEvents(self.scalars / f"seed-{seed}", progress.step)
        if self.path is None:
            return
        self.path.unlink(missing_ok=True)
        if progress.history:
            write_history(self.path, progress.history)

    def show_batches(self, batches: Iterator[Batch], total: int, unit: str, progress: Progress) -> Iterator[Batch]:
        """Yield batches, on which steps are taken meanwhile; draw how much of `total` is done."""
        bar = self._open_bar(total, unit)
        start, before = self.clock(), self.samples
        self._stepped = start
        with self.measure(TRAINING):
            while True:
                with self.measure(READING):
                    batch = next(batches, None)
                if batch is None:
                    break
                yield batch
                self.samples += len(batch["key"]) * self.processes
                if bar is not None:
                    loss = progress.loss_sum / max(1, progress.samples)
                    rate = (self.samples - before) / max(self.clock() - start, 1e-9)
                    bar.set_postfix_str(f"loss {loss:.4f}, {rate:,.0f} samples/s", refresh=False)
                    bar.update()
        if bar is not None:
            bar.close()

    def _open_bar(self, total: int, unit: str) -> Any:
        if not self.draws:
            return None
        from tqdm import tqdm

        return tqdm(total=total, unit=f" {unit}", leave=False, dynamic_ncols=True)

    def add_step(self, progress: Progress, loss: float, samples: int) -> None:
        """Write the mean loss of a step on some samples, its learning rate, and the samples a second since the last
        one, where there are event files."""
        if self._events is None:
            return
        now = self.clock()
        rate = samples / max(now - self._stepped, 1e-9)
        self._stepped = now
        values = {"loss": loss, "learning_rate": progress.rate, "samples_per_second": rate}
        self._events.add(progress.step, {f"train/{name}": value for name, value in values.items()})

    def add_epoch(self, progress: Progress, epochs: int) -> None:
        """Write the row of an epoch that has ended, and say it where nothing was said for a while."""
        epoch = progress.history[-1]
        if self._events is not None:
            scores = {LOSS: epoch.val_loss, **epoch.val_scores}
            self._events.add(progress.step, {f"validation/{name}": value for name, value in scores.items()})
        if self.path is None:
            return
        row = epoch.to_row()
        if not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text("\t".join(row) + "\n", encoding="utf-8")
        with self.path.open("a", encoding="utf-8") as file:
            file.write(format_row(row) + "\n")
        now = self.clock()
        if not self.draws and now - self._said >= LINE_SECONDS:
            self._said = now
            values = ", ".join(f"{name} {value:.4g}" for name, value in row.items() if value and name != "epoch")
            say_line(f"train: epoch {epoch.number} of {epochs}: {values}; {self.find_rate():,.0f} samples/s")

    def find_rate(self) -> float:
        """Return the samples a second while training: without validation, and without the saving of states."""
        return self.samples / max(self.seconds[TRAINING] - self.seconds[SAVING], 1e-9)

    def describe(self, device: torch.device) -> str:
        """Return one line: the rate, the shares of the time, the peak of the memory, and what limits the training."""
        total = self.seconds[TRAINING] + self.seconds[VALIDATING]
        shares = {part: self.seconds[part] / max(total, 1e-9) for part in SHOWN}
        described = ", ".join(f"{share * 100:.1f} % {part}" for part, share in shares.items())
        limit = f"computing on {device.type}"
        if shares[READING] >= STALL:
            limit = "reading: a faster disk or train.reader: shardwright may help"
        elif shares[VALIDATING] > 0.5:
            limit = "validation: the split val is large beside train"
        memory = f"peak memory {find_peak_memory(device) / 1e6:,.0f} MB"
        return f"training {self.find_rate():,.0f} samples/s; {described}; {memory}; limited by {limit}"


def find_peak_memory(device: torch.device) -> int:
    """Return the most bytes that the tensors on a GPU, or this process on the CPU, had at a time."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
