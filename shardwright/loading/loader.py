"""Iterate over samples in batches of PyTorch tensors, in an order that can be resumed at any batch."""

import operator
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from shardwright.datasets.base import SampleSource
from shardwright.errors import DamageError, ShardwrightError
from shardwright.loading.batch_plan import RankShares, Uneven
from shardwright.loading.batch_reader import LOGGER, OnError, ReadTask, Skip, log_skips
from shardwright.loading.batch_stream import BatchStream
from shardwright.loading.block_shuffle import BlockOrder
from shardwright.loading.device import check_torch
from shardwright.loading.length_buckets import plan_buckets
from shardwright.loading.loader_state import STATE_VERSION, read_position
from shardwright.loading.mesh import choose_ranks
from shardwright.loading.prefetch import start_threads
from shardwright.loading.stats import LoaderStats
from shardwright.loading.stream_options import (
    Cache,
    StreamOptions,
    choose_threads,
    count_cores,
    is_helper_process,
)
from shardwright.loading.window_reader import DEFAULT_BLOCKS, Blocks, WindowReader

if TYPE_CHECKING:
    import torch
    from torch.distributed.device_mesh import DeviceMesh

SHOWN_SHARDS = 5
Order = Literal["global", "block", "none"]
ORDERS: Mapping[bool | str, Order] = {
    True: "global",
    False: "none",
    "global": "global",
    "block": "block",
    "none": "none",
}


class Loader:
    """Iterate over samples in batches: a dict with a tensor (batch, *shape) for each field, `key` and `valid`.

    `key` is a list of str. `valid` is a bool tensor (batch,), False for a sample that is repeated as padding: all
    ranks make the same number of steps with the same batch sizes, and over all ranks each sample is valid exactly
    once an epoch. Values that have no fixed shape are a list, one entry a sample.

    The order is a function of (seed, epoch, number of samples), see `shardwright.datasets.permutation`; with
    `shuffle="block"` also of the block boundaries. Rank r of w takes the positions p with p ≡ r modulo w. Threads,
    processes, caches and devices change when batches are read, never their contents. The memory of a batch is never
    written to while the batch, a view of it or anything that shares its memory is held.

    Each iteration is a new epoch, also after one that was left before its end (`break`, `limit_train_batches`); one
    that delivered nothing does not count. The loader is a context manager, which ends its worker processes on exit.

    Args:
        data: a `ShardDataset`, a view of one, or a mix.
        batch_size: samples a batch and rank; or `budget` and `by` instead.
        shuffle: True or "global": every permutation of all samples is possible, a new one each epoch. "block":
            blocks of neighbouring samples are shuffled, then the samples within a window of blocks, so that a disk or
            network is read sequentially; samples are checked at each delivery. False or "none": index order.
        seed: of the order, and of the random generators of transforms.
        rank: of this process, 0 … world_size-1.
        world_size: processes that share the data.
        uneven: what to do where world_size does not divide the samples: "pad" repeats the last ones, with `valid`
            False; "drop" omits some; "error" raises. With a budget it is about batches instead of samples.
        drop_last: omit the last batch where it is not full on every rank; nothing is repeated then.
        steps_multiple: make the number of batches a multiple of this, for gradient accumulation: with uneven="pad" by
            repeats with `valid` False, with "drop" or `drop_last` by leaving batches out; "error" raises.
        threads: threads that read batches ahead; 0 reads each batch when it is requested. None chooses from the
            cores and the size of a batch, see `choose_threads`.
        processes: read and transform in this many worker processes instead: for transforms in pure Python.
        timeout: seconds that a batch may take in a worker process.
        on_error: "raise" a `DamageError` before a damaged sample is delivered; or "skip" it: another sample takes its
            place with `valid` False, and `skipped` records it.
        skip_budget: damaged samples that this rank may skip in an epoch; one more raises `DamageError`.
        device: where the tensors are placed. With CUDA they are copied from page-locked memory on a separate stream,
            while the training step runs.
        cache: keep samples once they were read: on the "device"; in "memory", decoded; "auto" where they fit; or None.
        blocks: how `shuffle="block"` divides the samples.
        on_batch: called with `stats` before each batch is delivered, for a log or a dashboard.
        budget: batches of similar lengths, with as many samples as samples × longest stays within it, see
            `shardwright.loading.length_buckets`. The batches of an epoch are the same on any number of ranks.
        by: the lengths for it, see `shardwright.datasets.lengths.find_lengths`.
        steps_per_epoch: end each epoch after so many batches, and go on with the next, which has another order. The end
            of an epoch is then that of the trainer's, also for a state, where the trainer cuts epochs short.
        dp_mesh: a mesh of the dimensions that divide the data, such as `mesh["dp"]` or `mesh["dp_replicate",
            "dp_shard"]`, instead of `rank` and `world_size`: peers in other dimensions read the same samples.

    Raises:
        ValueError: an argument is out of range, or two arguments exclude each other.
        KeyError, FormatError: `by` gives no lengths, or a sample is over the budget.
        ModuleNotFoundError: PyTorch is not installed.
    """

    def __init__(  # noqa: PLR0913  # the names are a contract
        self,
        data: SampleSource,
        batch_size: int | None = None,
        *,
        shuffle: bool | Order,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        uneven: Uneven = "pad",
        drop_last: bool = False,
        steps_multiple: int = 1,
        threads: int | None = None,
        processes: int = 0,
        timeout: float | None = None,
        on_error: OnError = "raise",
        skip_budget: int = 100,
        device: "str | torch.device" = "cpu",
        cache: Cache | None = None,
        blocks: Blocks = DEFAULT_BLOCKS,
        on_batch: Callable[[LoaderStats], None] | None = None,
        budget: int | None = None,
        by: "str | NDArray[np.int64] | None" = None,
        steps_per_epoch: int | None = None,
        dp_mesh: "DeviceMesh | None" = None,
    ) -> None:
        check_torch()
        if shuffle not in ORDERS:
            raise ValueError(f"shuffle is {shuffle!r}; it must be one of {', '.join(map(repr, ORDERS))}")
        if skip_budget < 0:
            raise ValueError(f"skip_budget is {skip_budget}; it must be at least 0")
        self.data = data
        self.seed = operator.index(seed)  # a saved state holds Python ints, also where NumPy ints were passed
        self.skip_budget = skip_budget
        self._order = ORDERS[shuffle]
        self._blocks = blocks
        rank, world_size = map(operator.index, choose_ranks(dp_mesh, rank, world_size))
        steps = (operator.index(steps_multiple), None if steps_per_epoch is None else operator.index(steps_per_epoch))
        self._buckets = plan_buckets(data, batch_size, budget, by, self._order, drop_last or uneven == "error")
        self._shares, size = self._share_out(batch_size, (rank, world_size, uneven), bool(drop_last), steps)
        self._windowed = self._choose_windows(processes, cache)
        self._is_automatic = threads is None
        if threads is None:
            threads = choose_threads(data, size, count_cores() // world_size, self._windowed)
        self._threads = threads
        self._starts = data.cut_blocks(blocks.size) if self._windowed else None
        self._stream = BatchStream(data, StreamOptions(threads, processes, timeout, on_error, device, cache), seed)
        self._skipped: list[Skip] = []
        self._on_batch = on_batch
        self._stats = LoaderStats(0 if processes else self.threads, processes)
        self._epoch = 0
        self._position = 0  # batches delivered in this epoch
        self._resumed = False  # whether the next iteration starts at the position, not at 0
        self._epoch_was_set = False  # whether set_epoch requested the epoch of that position
        self._current = object()  # identifies the latest iteration: older ones that still run no longer move the state

    def _share_out(
        self, batch_size: int | None, ranks: tuple[int, int, Uneven], drop_last: bool, steps: tuple[int, int | None]
    ) -> tuple[RankShares, int]:
        """Return which rank delivers what, and the size of a batch; of buckets in the mean."""
        if self._buckets is None:
            assert batch_size is not None  # checked by plan_buckets
            size = operator.index(batch_size)
            return RankShares(len(self.data), size, *ranks, drop_last, *steps), size
        count = len(self._buckets)
        return RankShares(count, 1, *ranks, False, *steps), -(-len(self.data) // max(1, count))

    @property
    def epoch(self) -> int:
        """The epoch of the next batch where the iteration goes on: after the last of an epoch, the one after it."""
        return self._epoch + self._is_finished

    @property
    def threads(self) -> int:
        """Threads that the next iteration reads with: as given, or as chosen; without a choice, 0 in a helper process.

        A data loader's worker or a process of a pool is itself one of several that read ahead, see
        `is_helper_process`; the loader may have been made before that process was forked.
        """
        return 0 if self._is_automatic and is_helper_process() else self._threads

    @property
    def skipped(self) -> tuple[Skip, ...]:
        """The damaged samples that the latest iteration skipped."""
        return tuple(self._skipped)

    @property
    def stats(self) -> LoaderStats:
        """What the latest iteration delivered so far, and how long the training waited for it."""
        return self._stats

    def __len__(self) -> int:
        """Batches in an epoch, the same on every rank."""
        return self._shares.steps

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration that of `epoch`. A loaded position is kept if it belongs to that epoch.

        So after loading a state that was taken after an epoch's last batch, setting that epoch leaves no batches.

        Raises:
            ValueError: the epoch is negative.
        """
        epoch = operator.index(epoch)
        if epoch < 0:
            raise ValueError(f"epoch is {epoch}; it must be at least 0")
        if epoch != self._epoch or not self._resumed:
            self._epoch, self._position, self._resumed = epoch, 0, False
            self._current = object()
        self._epoch_was_set = True

    def state_dict(self) -> dict[str, Any]:
        """Return the loader's position for JSON: the batches that were delivered, not those read ahead.

        It is the same on every rank, and is to be loaded on every rank.
        """
        return {"version": STATE_VERSION, "epoch": self._epoch, "position": self._position, **self._identity()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Make the next iteration continue after the batches that were delivered when the state was taken.

        A state that was taken after an epoch's last batch continues with the next epoch, as a new iteration in the
        interrupted process would have.

        Raises:
            StateError: the state is not one of this release, or belongs to another dataset, split, seed, order,
                drop_last, uneven or global batch (batch_size × world_size: how it is divided over ranks may
                change; or budget, lengths and world_size); the message shows both values. The loader is left unchanged.
        """
        # With uneven="drop" other numbers of ranks drop other samples: an epoch may have ended one batch later there.
        most = max(len(self), -(-self._shares.count // self._shares.global_batch))
        epoch, position = read_position(state, self._identity(), most)
        self._epoch, self._position, self._resumed, self._epoch_was_set = epoch, position, True, False
        self._current = object()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the batches of the next epoch from its start, or of this one from a loaded position.

        An epoch without a batch is reported as a warning of the logger `shardwright`.
        """
        if not len(self):
            unit = "samples" if self._buckets is None else "batches"
            LOGGER.warning("an epoch has no batch: %s", self._shares.explain_no_steps(unit))
        if self._position and (self._is_finished or not self._resumed):
            self._epoch, self._position = self._epoch + 1, 0
        self._resumed = self._epoch_was_set = False
        self._current = iteration = object()
        return self._deliver(iteration, self._epoch, self._position)

    def forever(self) -> Iterator[dict[str, Any]]:
        """Yield the batches of one epoch after another without end; states and `set_epoch` are as for single epochs.

        Raises:
            ValueError: an epoch has no batch.
        """
        if not len(self):
            raise ValueError(f"an epoch of {self.data!r} has no batch, so there is nothing to repeat")
        while True:
            yield from self

    @property
    def _is_finished(self) -> bool:
        """Whether all batches of the epoch were delivered, but the iteration was not asked for one more."""
        return 0 < len(self) <= self._position and not self._epoch_was_set

    def close(self) -> None:
        """End the worker processes, if there are any; a later iteration starts new ones."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _deliver(self, iteration: object, epoch: int, position: int) -> Iterator[dict[str, Any]]:
        skipped: list[Skip] = []
        self._skipped = skipped
        threads = self.threads
        stats = LoaderStats(0 if self._stats.processes else threads, self._stats.processes)
        with ExitStack() as stack:
            tasks = self._list_tasks(epoch, position, threads, stack)
            deliveries = stack.enter_context(closing(self._stream.deliver(tasks, threads)))
            for delivered in range(position + 1, len(self) + 1):
                start = time.perf_counter()
                delivery = next(deliveries, None)
                if delivery is None:
                    raise ShardwrightError(f"epoch {epoch} ended after {delivered - 1} of {len(self)} batches")
                self._record_skips(skipped, delivery.skips)
                stats = stats.add(delivery, time.perf_counter() - start, self._stream.count_ready())
                self._stats = stats
                if self._on_batch is not None:
                    self._on_batch(stats)
                if self._current is iteration:
                    self._position = delivered
                yield delivery.batch
        if self._current is iteration:
            self._epoch, self._position = epoch + 1, 0

    def _choose_windows(self, processes: int, cache: Cache | None) -> bool:
        """Return whether batches are read through windows.

        Raises:
            ValueError: they must be, and are read elsewhere than in this process.
        """
        in_process = not processes and cache is None
        if self._order == "block" and not in_process:
            raise ValueError(
                f'shuffle="block" reads into memory of this process, but processes is {processes} and cache is '
                f"{cache!r}; use threads, and no cache, with it"
            )
        in_order = self._order == "none" and self._buckets is None
        return self._order == "block" or (in_order and in_process and self.data.wants_windows)

    def _list_tasks(self, epoch: int, position: int, threads: int, stack: ExitStack) -> Iterator[ReadTask]:
        """Yield the batches of an epoch from `position` on; their rows depend only on the loader's arguments."""
        if self._buckets is not None:
            plans = self._buckets.plan(self._shares, position, self.seed, epoch, self._order == "global")
            return (ReadTask(epoch, plan) for plan in plans)
        if self._starts is None:
            shuffle = partial(self.data.shuffle_rows, seed=self.seed, epoch=epoch)
            plans = self._shares.plan(shuffle if self._order == "global" else self.data.list_rows, position)
            return (ReadTask(epoch, plan) for plan in plans)
        order = BlockOrder(
            self._starts, len(self.data), self._blocks.per_window, self.seed, epoch, self._order == "block"
        )
        pool = stack.enter_context(start_threads(self._blocks.threads, "window")) if threads else None
        windows = WindowReader(self.data, order, self._shares, pool, self._blocks.ahead)
        return windows.attach(self._shares.plan(order.find_rows, position), epoch)

    def _record_skips(self, skipped: list[Skip], skips: tuple[Skip, ...]) -> None:
        log_skips(skips)
        skipped += skips
        if len(skipped) > self.skip_budget:
            shards = Counter(skip.shard for skip in skipped).most_common(SHOWN_SHARDS)
            raise DamageError(
                f"{len(skipped)} samples of epoch {skipped[0].epoch} are damaged; skip_budget allows "
                f"{self.skip_budget}; most are in {', '.join(f'{shard} ({count})' for shard, count in shards)}; "
                f"the last: {skipped[-1].what}",
                shard=skipped[-1].shard,
                sample=skipped[-1].sample,
                field=skipped[-1].field,
                offset=skipped[-1].offset,
            )

    def _identity(self) -> dict[str, Any]:
        """Return what a state and a loader must have in common, under the names of the loader's arguments."""
        shares = self._shares
        blocks = {"blocks": [int(self._blocks.size), int(self._blocks.per_window)]} if self._order == "block" else {}
        return (
            {
                "dataset": self.data.hash,
                "split": self.data.split,
                "seed": self.seed,
                "shuffle": self._order,
                "uneven": shares.uneven,
                "drop_last": shares.drop_last,
                "global_batch": shares.global_batch
                if self._buckets is None
                else {"batches": shares.global_batch, **self._buckets.identity},
            }
            | blocks
            | ({"steps_multiple": shares.steps_multiple} if shares.steps_multiple > 1 else {})
        )
