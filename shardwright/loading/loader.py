"""Batches of samples as PyTorch tensors, in an order that can be left and taken up again anywhere."""

import operator
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self

from shardwright.datasets.base import SampleSource
from shardwright.errors import DamageError, ShardwrightError, StateError
from shardwright.loading.batch_plan import RankShares, Uneven
from shardwright.loading.batch_reader import OnError, ReadTask, Skip, log_skips
from shardwright.loading.batch_stream import BatchStream, Cache, StreamOptions
from shardwright.loading.block_shuffle import BlockOrder
from shardwright.loading.device import check_torch
from shardwright.loading.prefetch import start_threads
from shardwright.loading.window_reader import DEFAULT_BLOCKS, Blocks, WindowReader

if TYPE_CHECKING:
    import torch

STATE_VERSION = 2
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
    """Iterates over samples in batches, each a dict: a tensor (batch, *shape) a field, `key` and `valid`.

    `key` is a list of str; `valid` is a bool tensor (batch,), False where a sample is a repeat that only
    fills up: every rank makes the same number of steps with the same batch sizes, and over all ranks each
    sample is there exactly once that is valid. What has no shape of its own is a list, one entry a sample.

    The order is a function of (seed, epoch, number of samples), see `shardwright.datasets.permutation`; or, with
    `shuffle="block"`,
    of where the shards are cut into blocks as well. Rank r of w takes the positions p with p ≡ r modulo w. How batches
    are read changes when, and never what. A batch's memory is its own: nothing writes to it as long as it, a view of
    it or anything made of it without a copy is held.

    An iteration to the end advances the epoch; one that is left begins the same epoch again. A context manager;
    leaving it ends the processes, where there are any.

    Args:
        data: a `ShardDataset`, a view of one, a mix.
        batch_size: samples a batch and rank.
        shuffle: True or "global": every order of all samples may come up, and changes from epoch to epoch. "block":
            blocks of neighbours are shuffled, and the samples within some of them, so that a disk or a network is read
            in long stretches; each sample is checked each time. False or "none": the order of the index.
        seed: of the order, and of the draws of transforms.
        rank: of this process, 0 … world_size-1.
        world_size: processes that share the data.
        uneven: where the ranks do not divide the samples: "pad" repeats the last ones, and marks them in `valid`;
            "drop" leaves some out; "error" refuses.
        drop_last: leave out the last batch where it is not full on every rank; nothing is repeated then.
        threads: that read ahead, each batch after batch; with 0 each is read when it is asked for. One is enough to
            hide the reading behind a training step; two read fastest, and small samples 0.
        processes: read, and transform, in so many processes instead: for transforms in pure Python.
        timeout: seconds that a batch may take in a process.
        on_error: "raise" a `DamageError` before a damaged sample is delivered; or "skip" it: another sample stands in
            its place with `valid` False, and `skipped` has a record.
        skip_budget: damaged samples in an epoch of this rank that are skipped; one more is an error.
        device: where the tensors are wanted. With CUDA they are copied from page-locked memory on a stream of their
            own, beside the work.
        cache: keep samples once they were read: on the "device"; in "memory", decoded; "auto" where they fit; or None.
        blocks: how `shuffle="block"` cuts.

    Raises:
        ValueError: a number or word is out of range, or two do not go together.
        ModuleNotFoundError: PyTorch is not installed.
    """

    def __init__(  # noqa: PLR0913  # the names are a contract
        self,
        data: SampleSource,
        batch_size: int,
        *,
        shuffle: bool | Order,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        uneven: Uneven = "pad",
        drop_last: bool = False,
        threads: int = 1,
        processes: int = 0,
        timeout: float | None = None,
        on_error: OnError = "raise",
        skip_budget: int = 100,
        device: "str | torch.device" = "cpu",
        cache: Cache | None = None,
        blocks: Blocks = DEFAULT_BLOCKS,
    ) -> None:
        check_torch()
        if shuffle not in ORDERS:
            raise ValueError(f"shuffle {shuffle!r} must be one of {', '.join(map(repr, ORDERS))}")
        if skip_budget < 0:
            raise ValueError(f"skip_budget {skip_budget} must be at least 0")
        self.data = data
        self.seed = operator.index(seed)  # a saved state has Python's numbers, whatever the caller counts with
        self.skip_budget = skip_budget
        self._order = ORDERS[shuffle]
        self._blocks = blocks
        batch_size, rank, world_size = map(operator.index, (batch_size, rank, world_size))
        self._shares = RankShares(len(data), batch_size, rank, world_size, uneven, bool(drop_last))
        how = StreamOptions(threads, processes, timeout, on_error, device, cache)
        here = not processes and cache is None
        if self._order == "block" and not here:
            raise ValueError("blocks are read into memory of this process: use threads, and no cache, with them")
        self._windowed = self._order == "block" or (self._order == "none" and here and data.wants_windows)
        self._threads = threads
        self._starts = data.cut_blocks(blocks.size) if self._windowed else None
        self._courier = BatchStream(data, how, seed)
        self._skipped: list[Skip] = []
        self._epoch = 0
        self._position = 0  # batches delivered in this epoch
        self._resumed = False  # whether the next iteration begins at the position, not at the start
        self._named = False  # whether set_epoch asked for the epoch of that position
        self._current = object()  # the latest iteration: an older one that is still going counts no more

    @property
    def epoch(self) -> int:
        """The epoch that the next batch belongs to: after an epoch's last batch, the next one."""
        return self._epoch + self._finished

    @property
    def skipped(self) -> tuple[Skip, ...]:
        """What the latest iteration left out because it is damaged."""
        return tuple(self._skipped)

    def __len__(self) -> int:
        """Batches in an epoch, the same on every rank."""
        return self._shares.steps

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration that of `epoch`. A loaded position stays where this is its epoch.

        So for a state that was taken after an epoch's last batch, its own epoch has no batches any more.

        Raises:
            ValueError: it is negative.
        """
        epoch = operator.index(epoch)
        if epoch < 0:
            raise ValueError(f"epoch {epoch} must be at least 0")
        if epoch != self._epoch or not self._resumed:
            self._epoch, self._position, self._resumed = epoch, 0, False
            self._current = object()
        self._named = True

    def state_dict(self) -> dict[str, Any]:
        """Where the loader is, as JSON: the batches delivered, not those that were read ahead.

        The same on every rank, and to be loaded on every rank.
        """
        return {"version": STATE_VERSION, "epoch": self._epoch, "position": self._position, **self._identity()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Make the next iteration go on after the batches that were delivered when the state was taken.

        A state that was taken after an epoch's last batch gives the next epoch, as a new iteration in the
        interrupted process would have.

        Raises:
            StateError: the state is not one of this release, or belongs to another dataset, split, seed, order,
                drop_last, uneven or global batch (batch_size × world_size: how it is divided over ranks may
                change); the message shows both values. The loader stays as it is.
        """
        if not isinstance(state, Mapping):
            raise StateError(f"a state is a dict, this is {state!r:.200}")
        for name, own in {"version": STATE_VERSION, **self._identity()}.items():
            found = state.get(name)
            if type(found) is not type(own) or found != own:
                raise StateError(f"the state was taken with {name} {found!r:.200}, the loader has {own!r}")
        epoch, position = state.get("epoch"), state.get("position")
        if type(epoch) is not int or epoch < 0:
            raise StateError(f"epoch {epoch!r:.200} of the state is none, they are numbers from 0")
        # With uneven="drop" other numbers of ranks drop other samples: an epoch may have ended one batch later there.
        most = -(-len(self.data) // self._shares.global_batch)
        if type(position) is not int or not 0 <= position <= most:
            raise StateError(f"position {position!r:.200} of the state: the loader has {len(self)} batches an epoch")
        self._epoch, self._position, self._resumed, self._named = epoch, position, True, False
        self._current = object()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The batches of the epoch, from the start or from a loaded position."""
        if self._finished or not self._resumed:
            self._epoch, self._position = self.epoch, 0
        self._resumed = self._named = False
        self._current = iteration = object()
        return self._deliver(iteration, self._epoch, self._position)

    @property
    def _finished(self) -> bool:
        """Whether the epoch was delivered to its end, without anybody having asked for what is behind it."""
        return 0 < len(self) <= self._position and not self._named

    def close(self) -> None:
        """End the processes, if there are any; a later iteration starts them anew."""
        self._courier.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _deliver(self, iteration: object, epoch: int, position: int) -> Iterator[dict[str, Any]]:
        skipped: list[Skip] = []
        self._skipped = skipped
        with ExitStack() as stack:
            tasks = self._list_tasks(epoch, position, stack)
            deliveries = stack.enter_context(closing(self._courier.deliver(tasks)))
            for delivered in range(position + 1, len(self) + 1):
                delivery = next(deliveries, None)
                if delivery is None:
                    raise ShardwrightError(f"epoch {epoch} ended after {delivered - 1} of {len(self)} batches")
                self._record_skips(skipped, delivery.skips)
                if self._current is iteration:
                    self._position = delivered
                yield delivery.batch
        if self._current is iteration:
            self._epoch, self._position = epoch + 1, 0

    def _list_tasks(self, epoch: int, position: int, stack: ExitStack) -> Iterator[ReadTask]:
        """The batches of an epoch from this position on; the rows depend on nothing but the arguments of the loader."""
        if self._starts is None:
            draw = partial(self.data.draw, seed=self.seed, epoch=epoch)
            plans = self._shares.plan(draw if self._order == "global" else self.data.list_rows, position)
            return (ReadTask(epoch, plan) for plan in plans)
        order = BlockOrder(
            self._starts, len(self.data), self._blocks.per_window, self.seed, epoch, self._order == "block"
        )
        pool = None
        if self._threads:
            pool = stack.enter_context(start_threads(self._blocks.threads, "window"))
        windows = WindowReader(self.data, order, self._shares, pool, self._blocks.ahead)
        return windows.attach(self._shares.plan(order.draw, position), epoch)

    def _record_skips(self, skipped: list[Skip], skips: tuple[Skip, ...]) -> None:
        log_skips(skips)
        skipped += skips
        if len(skipped) > self.skip_budget:
            shards = Counter(skip.shard for skip in skipped).most_common(SHOWN_SHARDS)
            raise DamageError(
                f"{len(skipped)} damaged samples in epoch {skipped[0].epoch}, skip_budget allows {self.skip_budget}; "
                f"most in {', '.join(f'{shard} ({count})' for shard, count in shards)}; the last: {skipped[-1].what}",
                shard=skipped[-1].shard,
                sample=skipped[-1].sample,
                field=skipped[-1].field,
                offset=skipped[-1].offset,
            )

    def _identity(self) -> dict[str, Any]:
        """What a state and a loader must have in common, by the names that a user knows it by."""
        shares = self._shares
        blocks = {"blocks": [int(self._blocks.size), int(self._blocks.per_window)]} if self._order == "block" else {}
        return {
            "dataset": self.data.hash,
            "split": self.data.split,
            "seed": self.seed,
            "shuffle": self._order,
            "uneven": shares.uneven,
            "drop_last": shares.drop_last,
            "global_batch": shares.global_batch,
        } | blocks
