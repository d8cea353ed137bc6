"""Any sequence of opening, reading, abandoning, saving, resuming and damage agrees with a model in plain Python."""

import gc
import json
import shutil
import tempfile
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from shardwright import DamageError, Loader, ShardDataset, StateError
from shardwright.datasets.sample_rng import make_generator
from shardwright.loading.loader import Order
from shardwright.loading.prefetch import THREADS
from tests.support.loader.sets import BLOCKS, ORDERS, draw_numbers, flip_bit, list_rows, write_numbers
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow

COUNT, GLOBAL_BATCH, SEED = 25, 6, 11
STEPS = -(-COUNT // GLOBAL_BATCH)
SAMPLES_PER_SHARD, STRIDE = 7, 2048
STALE = None


@cache
def write_once() -> Path:
    root = Path(tempfile.mkdtemp(prefix="shardwright-sequences-"))
    write_numbers(root, COUNT, SAMPLES_PER_SHARD)
    return root


@pytest.fixture(scope="module", autouse=True)
def _cleaned() -> Iterator[None]:
    yield
    shutil.rmtree(write_once())
    write_once.cache_clear()


@cache
def plan_epoch(order: Order, epoch: int) -> list[tuple[int, int]]:
    """Return the rows and random numbers of an epoch."""
    with ShardDataset(write_once(), "train") as data:
        rows = list_rows(data, order, SEED, epoch).tolist()
    return [(row, int(make_generator(SEED, epoch, f"{row:05d}").integers(2**62))) for row in rows]


def plan_batch(order: Order, epoch: int, step: int, rank: int, world_size: int) -> list[tuple[int, int, bool]]:
    """Return row, random number and validity of a rank's batch; positions beyond the end count back from the end."""
    plan = plan_epoch(order, epoch)
    size = GLOBAL_BATCH // world_size
    share = -(-COUNT // world_size)
    batch = []
    for nth in range(step * size, min((step + 1) * size, share)):
        position = rank + world_size * nth
        valid = position < COUNT
        row, draw = plan[position if valid else COUNT - 1 - (position - COUNT)]
        batch.append((row, draw, valid))
    return batch


class Sequences(RuleBasedStateMachine):
    """Loaders of all ranks, one after another in this process, and the model of their state."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="shardwright-sequence-"))
        self.root = Path(shutil.copytree(write_once(), self.folder / "set"))
        self.damaged: set[int] = set()
        self.saved: list[tuple[Order, dict[str, Any]]] = []
        self.data: ShardDataset | None = None
        self.options: dict[str, Any] = {}

    @initialize(order=st.sampled_from(ORDERS))
    def start_anywhere(self, order: Order) -> None:
        self.open(order, 0, 1, "skip", "map")

    @rule(
        order=st.sampled_from(ORDERS),
        threads=st.sampled_from([None, 0, 1, 3]),
        world_size=st.sampled_from([1, 2, 3, 6]),
        on_error=st.sampled_from(["raise", "skip"]),
        access=st.sampled_from(["map", "pread"]),
    )
    def open(self, order: Order, threads: int | None, world_size: int, on_error: str, access: Any) -> None:
        self.close()
        self.data = ShardDataset(self.root, "train", access=access)
        self.order, self.world_size, self.on_error = order, world_size, on_error
        self.options = {"threads": threads, "on_error": on_error, "shuffle": order, "seed": SEED, "blocks": BLOCKS}
        self.open_loaders()
        self.epoch, self.position, self.resumed, self.epoch_was_set = 0, 0, False, False

    def open_loaders(self) -> None:
        assert self.data is not None
        source, size = self.data.with_transform(draw_numbers), GLOBAL_BATCH // self.world_size
        self.loaders = [
            Loader(source, size, rank=rank, world_size=self.world_size, **self.options)
            for rank in range(self.world_size)
        ]
        self.iterations: list[Iterator[dict[str, Any]]] | None = None

    def close(self) -> None:
        self.iterations = None
        if self.data is not None:
            self.data.close()

    @rule(steps=st.integers(1, STEPS + 1))
    def take(self, steps: int) -> None:
        for _ in range(steps):
            if self.iterations is None:
                self.start()
            if not self.take_step():
                break

    def start(self) -> None:
        self.iterations = [iter(loader) for loader in self.loaders]
        finished = self.position == STEPS and not self.epoch_was_set
        if self.position and (finished or not self.resumed):
            self.epoch, self.position = self.epoch + 1, 0
        self.resumed = self.epoch_was_set = False
        self.skipped: list[list[int]] = [[] for _ in self.loaders]

    def take_step(self) -> bool:
        """Read the next step of all ranks; return whether the iteration continues."""
        assert self.iterations is not None
        if self.position == STEPS:
            assert [next(iteration, STALE) for iteration in self.iterations] == [STALE] * self.world_size
            self.epoch, self.position, self.iterations = self.epoch + 1, 0, None
            return False
        for rank, iteration in enumerate(self.iterations):
            expected = plan_batch(self.order, self.epoch, self.position, rank, self.world_size)
            if self.on_error == "raise" and self.damaged & {row for row, _, _ in expected}:
                with pytest.raises(DamageError) as caught:
                    next(iteration)
                assert int(caught.value.sample or -1) in self.damaged & {row for row, _, _ in expected}
                self.resume_all_from(rank)
                return False
            self.check_batch(next(iteration), expected, rank)
        self.position += 1
        return True

    def check_batch(self, batch: dict[str, Any], expected: list[tuple[int, int, bool]], rank: int) -> None:
        found = list(zip(batch["n"].tolist(), batch["draw"].tolist(), batch["valid"].tolist(), strict=True))
        assert [f"{n:05d}" for n, _, _ in found] == batch["key"]
        assert len(found) == len(expected)
        for sample, planned in zip(found, expected, strict=True):
            if planned[0] in self.damaged:
                assert not sample[2]
                assert sample[0] not in self.damaged
            else:
                assert sample == planned
        self.skipped[rank] += dict.fromkeys(row for row, _, _ in expected if row in self.damaged)
        assert [skip.row for skip in self.loaders[rank].skipped] == self.skipped[rank]

    def resume_all_from(self, rank: int) -> None:
        """Resume all ranks from the state of the rank that found damage."""
        state = self.loaders[rank].state_dict()
        self.iterations = None
        for loader in self.loaders:
            loader.load_state_dict(state)
        self.resumed, self.epoch_was_set = True, False

    @precondition(lambda self: self.iterations is not None)
    @rule(collect=st.booleans())
    def abandon(self, collect: bool) -> None:
        self.iterations = None
        if collect:
            gc.collect()

    @rule()
    def save(self) -> None:
        states = [json.dumps(loader.state_dict()) for loader in self.loaders]
        assert len(set(states)) == 1
        self.saved.append((self.order, json.loads(states[0])))

    @precondition(lambda self: self.saved)
    @rule(drawn=st.data())
    def resume(self, drawn: st.DataObject) -> None:
        order, state = drawn.draw(st.sampled_from(self.saved))
        for loader in self.loaders:
            if order == self.order:
                loader.load_state_dict(state)
            else:
                with pytest.raises(StateError, match="shuffle"):
                    loader.load_state_dict(state)
        if order == self.order:
            self.iterations = None
            self.epoch, self.position, self.resumed, self.epoch_was_set = state["epoch"], state["position"], True, False

    @rule(epoch=st.integers(0, 3))
    def set_epoch(self, epoch: int) -> None:
        for loader in self.loaders:
            loader.set_epoch(epoch)
        if epoch != self.epoch or not self.resumed:
            self.epoch, self.position, self.resumed = epoch, 0, False
            self.iterations = None
        self.epoch_was_set = True

    @rule(row=st.integers(0, COUNT - 1), bit=st.integers(0, 8 * 132 - 1))
    def damage_or_repair(self, row: int, bit: int) -> None:
        """In an open file; as checked samples are not checked again, the dataset is reopened."""
        shard, nth = divmod(row, SAMPLES_PER_SHARD)
        path = self.root / "train" / f"train-{shard:06d}.tar"
        if row in self.damaged:
            shutil.copy(write_once() / "train" / path.name, path)
            self.damaged -= set(range(row - nth, row - nth + SAMPLES_PER_SHARD))
        elif len(self.damaged) < 4:
            flip_bit(path, 8 * (nth * STRIDE + 512) + bit)
            self.damaged.add(row)
        self.save()
        _, state = self.saved.pop()
        self.close()
        assert self.data is not None
        self.data = ShardDataset(self.root, "train", access=self.data.access)
        self.open_loaders()
        for loader in self.loaders:
            loader.load_state_dict(state)
        self.resumed, self.epoch_was_set = True, False

    @invariant()
    def the_loaders_agree_with_the_model(self) -> None:
        for loader in getattr(self, "loaders", ()):
            state = loader.state_dict()
            assert (state["epoch"], state["position"]) == (self.epoch, self.position)
            assert loader.epoch == self.epoch + (self.position == STEPS and not self.epoch_was_set)
            assert len(loader) == STEPS

    @invariant()
    def no_thread_reads_without_an_iteration(self) -> None:
        if getattr(self, "iterations", None) is None:
            wait_for(lambda: not [one for one in threading.enumerate() if one.name.startswith(THREADS)])

    def teardown(self) -> None:
        self.close()
        shutil.rmtree(self.folder)


def test_sequences_agree_with_the_model() -> None:
    run_state_machine_as_test(Sequences, settings=settings(max_examples=25, stateful_step_count=25))


@pytest.mark.sweep
def test_many_long_sequences_agree_with_the_model() -> None:
    examples, steps = 1500, 60
    run_state_machine_as_test(
        Sequences, settings=settings(max_examples=examples, stateful_step_count=steps, derandomize=False)
    )
    print(f"\n{examples} random sequences of up to {steps} operations agreed with the model")
