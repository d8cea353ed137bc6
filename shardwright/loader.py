"""Batches of a split as PyTorch tensors, in an order that can be left and taken up again anywhere."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardwright.dataset import ShardDataset
from shardwright.errors import StateError
from shardwright.order import permute
from shardwright.readahead import read_ahead

STATE_VERSION = 1
PLANNED_POSITIONS = 16_384
"""Positions that are permuted at a time: one call costs some 100 microseconds however few they are."""


@dataclass(frozen=True)
class Plan:
    """One batch to come: row numbers (batch,) int64, and which of them are not repeats, (batch,) bool."""

    rows: NDArray[np.int64]
    valid: NDArray[np.bool_]


class Loader:
    """Iterates over a split in batches, each a dict: a tensor (batch, *shape) a field, `key` and `valid`.

    `key` is a list of str; `valid` is a bool tensor (batch,), False where a sample is a repeat that only
    fills up: every rank makes the same number of steps with the same batch sizes, and over all ranks each
    sample is there exactly once that is valid. With `drop_last`, what does not fill a batch on every rank is
    left out and nothing is repeated.

    The order is a function of (seed, epoch, number of samples), see `shardwright.order`, or that of the index
    without `shuffle`. Rank r of w takes the positions p with p ≡ r modulo w. `threads` changes when batches are
    read and nothing else: with 0 each is read when it is asked for, otherwise so many threads read ahead. A
    batch's memory is its own: nothing ever writes to it again.

    An iteration to the end advances the epoch; one that is left begins the same epoch again.

    Args:
        data: the split.
        batch_size: samples a batch and rank.
        shuffle: whether the order changes from epoch to epoch.
        seed: of the order.
        rank: of this process, 0 … world_size-1.
        world_size: processes that share the split.
        drop_last: leave out the last batch where it is not full.
        threads: that read ahead, each batch after batch. One is enough to hide the reading behind a training
            step; small samples are read fastest with 0.

    Raises:
        ValueError: a number is out of range.
    """

    def __init__(  # noqa: PLR0913  # the names are a contract
        self,
        data: ShardDataset,
        batch_size: int,
        *,
        shuffle: bool,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        drop_last: bool = False,
        threads: int = 1,
    ) -> None:
        if batch_size < 1 or threads < 0 or not 0 <= rank < world_size:
            raise ValueError(
                f"batch_size {batch_size} must be at least 1, threads {threads} at least 0, "
                f"and rank {rank} one of the {world_size} of world_size"
            )
        self.data = data
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.drop_last = drop_last
        self.threads = threads
        self._epoch = 0
        self._position = 0  # batches delivered in this epoch
        self._resumed = False  # whether the next iteration begins at the position, not at the start
        self._current = object()  # the latest iteration: an older one that is still going counts no more

    @property
    def epoch(self) -> int:
        """The epoch that the next batch belongs to."""
        return self._epoch

    def __len__(self) -> int:
        """Batches in an epoch, the same on every rank."""
        global_batch = self.batch_size * self.world_size
        return len(self.data) // global_batch if self.drop_last else -(-len(self.data) // global_batch)

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration that of `epoch`. A loaded position stays where this is its epoch."""
        if epoch != self._epoch or not self._resumed:
            self._epoch, self._position, self._resumed = epoch, 0, False
            self._current = object()

    def state_dict(self) -> dict[str, Any]:
        """Where the loader is, as JSON: the batches delivered, not those that were read ahead.

        The same on every rank, and to be loaded on every rank.
        """
        return {"version": STATE_VERSION, "epoch": self._epoch, "position": self._position, **self._identity()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Make the next iteration go on after the batches that were delivered when the state was taken.

        A state that was taken after an epoch's last batch gives an iteration without batches, and then the
        next epoch: just what the interrupted loop would have seen.

        Raises:
            StateError: the state is not one of this release, or belongs to another dataset, split, seed,
                shuffle, drop_last or global batch (batch_size × world_size: how it is divided over ranks may
                change); the message shows both values. The loader stays as it is.
        """
        for name, own in {"version": STATE_VERSION, **self._identity()}.items():
            if state.get(name) != own:
                raise StateError(f"the state was taken with {name} {state.get(name)!r}, the loader has {own!r}")
        epoch, position = state.get("epoch"), state.get("position")
        if type(epoch) is not int or type(position) is not int or not 0 <= position <= len(self):
            raise StateError(f"epoch {epoch!r}, position {position!r}: no place in an epoch of {len(self)} batches")
        self._epoch, self._position, self._resumed = epoch, position, True
        self._current = object()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The batches of the epoch, from the start or from a loaded position."""
        if not self._resumed:
            finished = 0 < len(self) == self._position  # delivered to the end, and the end not asked for
            self._epoch, self._position = self._epoch + finished, 0
        self._resumed = False
        self._current = iteration = object()
        return self._deliver(iteration, self._epoch, self._position)

    def _deliver(self, iteration: object, epoch: int, position: int) -> Iterator[dict[str, Any]]:
        plans = self._plan(epoch, position)
        with closing(read_ahead(self._read, plans, self.threads)) as batches:
            for delivered in range(position + 1, len(self) + 1):
                batch = next(batches)
                if self._current is iteration:
                    self._position = delivered
                yield batch
        if self._current is iteration:
            self._epoch, self._position = epoch + 1, 0

    def _plan(self, epoch: int, position: int) -> Iterator[Plan]:
        """The batches of an epoch from this position on; the rows depend on nothing but the arguments of the loader."""
        count, size = len(self.data), self.batch_size
        share = len(self) * size if self.drop_last else -(-count // self.world_size)
        block = max(1, PLANNED_POSITIONS // size) * size
        for start in range(position * size, share, block):
            positions = self.rank + self.world_size * np.arange(start, min(start + block, share))
            valid, rows = positions < count, positions % count
            if self.shuffle:
                rows = permute(rows, count, self.seed, epoch)
            for at in range(0, len(rows), size):
                yield Plan(rows[at : at + size], valid[at : at + size].copy())

    def _read(self, plan: Plan) -> dict[str, Any]:
        import torch

        batch = self.data.gather(plan.rows) | {"valid": plan.valid}
        return {name: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for name, v in batch.items()}

    def _identity(self) -> dict[str, Any]:
        """What a state and a loader must have in common, by the names that a user knows it by."""
        return {
            "dataset": self.data.hash,
            "split": self.data.split,
            "seed": self.seed,
            "shuffle": self.shuffle,
            "drop_last": self.drop_last,
            "global_batch": self.batch_size * self.world_size,
        }
