"""Shares of ranks: each sample exactly once an epoch over all ranks, and equal steps on every rank."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shardwright import Loader, ShardDataset, ShardwrightError
from shardwright.datasets.read_context import DEFAULT_CONTEXT, Batch, Indices, ReadContext
from shardwright.loading.batch_plan import BatchPlan, RankShares, Uneven
from shardwright.loading.batch_reader import OnError
from shardwright.loading.loader import Order
from shardwright.loading.window_reader import Blocks
from tests.support.loader.sets import ORDERS, Ragged, interleave, list_rows, write_numbers

pytestmark = pytest.mark.slow

UNEVENS: tuple[Uneven, ...] = ("pad", "drop", "error")
STRIDE = 2048
"""Bytes of a sample of `write_numbers`."""


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, int], ShardDataset]:
    """Return a function from the number of samples, and samples a shard, to a dataset."""
    opened: dict[tuple[int, int], ShardDataset] = {}

    def find(count: int, samples_per_shard: int) -> ShardDataset:
        if (count, samples_per_shard) not in opened:
            root = tmp_path_factory.mktemp("numbers")
            write_numbers(root, count, samples_per_shard)
            opened[count, samples_per_shard] = ShardDataset(root, "train")
        return opened[count, samples_per_shard]

    return find


@dataclass(frozen=True)
class Division:
    """How an epoch is divided."""

    count: int
    samples_per_shard: int
    world_size: int
    batch_size: int
    uneven: Uneven
    drop_last: bool
    order: Order
    blocks: Blocks
    threads: int


DIVISIONS = st.builds(
    Division,
    st.integers(0, 70),
    st.sampled_from([1, 4, 9, 100]),
    st.integers(1, 12) | st.integers(1, 90),
    st.integers(1, 12),
    st.sampled_from(UNEVENS),
    st.booleans(),
    st.sampled_from(ORDERS),
    st.builds(Blocks, st.integers(1, 5 * STRIDE), st.integers(1, 4)),
    st.sampled_from([0, 0, 0, 2]),
)


def open_ranks(data: ShardDataset, division: Division) -> list[Loader]:
    return [
        Loader(
            data,
            division.batch_size,
            shuffle=division.order,
            seed=3,
            rank=rank,
            world_size=division.world_size,
            uneven=division.uneven,
            drop_last=division.drop_last,
            threads=division.threads,
            blocks=division.blocks,
        )
        for rank in range(division.world_size)
    ]


@given(DIVISIONS, st.integers(0, 2))
@settings(max_examples=200)
def test_each_sample_once_and_equal_steps(
    numbered: Callable[[int, int], ShardDataset], division: Division, epoch: int
) -> None:
    data = numbered(division.count, division.samples_per_shard)
    rest = division.count % division.world_size
    event(f"{division.uneven}, {'more ranks than samples' if division.world_size > division.count else 'fewer'}")
    if division.uneven == "error" and rest:
        with pytest.raises(ValueError, match=rf"{division.count} samples .* {division.world_size} ranks"):
            open_ranks(data, division)
        return
    loaders = open_ranks(data, division)
    for loader in loaders:
        loader.set_epoch(epoch)
    epochs = [list(loader) for loader in loaders]
    assert_equal_steps(loaders, epochs)

    rows = list_rows(data, division.order, 3, epoch, division.blocks)
    stream = [number for step in zip(*epochs, strict=True) for number in interleave([list_samples(b) for b in step])]
    valid = [number for number, is_valid in stream if is_valid]
    assert valid == rows[: len(valid)].tolist()  # in the order of the epoch, so each at most once
    assert all(is_valid for _, is_valid in stream[: len(valid)])  # repeats are only at the end
    delivered = len(valid) if division.drop_last else division.count - (rest if division.uneven == "drop" else 0)
    if division.drop_last:
        whole = division.batch_size * division.world_size
        assert len(valid) == len(stream) == division.count // whole * whole
    assert len(valid) == delivered
    assert len(stream) - len(valid) == (-division.count % division.world_size if len(stream) > delivered else 0)
    repeats = Counter(number for number, is_valid in stream if not is_valid)
    assert max(repeats.values(), default=0) <= -(-division.world_size // max(1, division.count))


def list_samples(batch: dict[str, Any]) -> list[tuple[int, bool]]:
    """Return number and validity of the samples of a batch, after a check that keys and numbers agree."""
    assert batch["n"].tolist() == [int(key) for key in batch["key"]]
    return list(zip(batch["n"].tolist(), batch["valid"].tolist(), strict=True))


def assert_equal_steps(loaders: Sequence[Loader], epochs: Sequence[Sequence[dict[str, Any]]]) -> None:
    sizes = {tuple(len(batch["key"]) for batch in epoch) for epoch in epochs}
    assert len(sizes) == 1
    assert {len(loader) for loader in loaders} == {len(epoch) for epoch in epochs}
    assert all(size for steps in sizes for size in steps)


@given(
    st.integers(0, 10**12), st.integers(1, 10**6), st.integers(1, 10**5), st.sampled_from(["pad", "drop"]), st.data()
)
@settings(max_examples=200)
def test_large_shares_are_computed_not_listed(
    count: int, batch_size: int, world_size: int, uneven: Uneven, data: st.DataObject
) -> None:
    rank = data.draw(st.integers(0, world_size - 1))
    shares = RankShares(count, batch_size, rank, world_size, uneven)
    if not shares.steps:
        return
    step = data.draw(st.integers(0, shares.steps - 1))
    (plan,) = islice(shares.plan(lambda positions: positions, step), 1)
    start = rank + world_size * step * batch_size
    size = min(batch_size, shares.size - step * batch_size)
    share = start + world_size * np.arange(size, dtype=np.int64)
    np.testing.assert_array_equal(plan.valid, share < count)
    np.testing.assert_array_equal(plan.positions[plan.valid], share[plan.valid])
    assert ((plan.positions >= 0) & (plan.positions < count)).all()


@pytest.mark.parametrize("uneven", ["pad", "drop"])
def test_a_repeat_is_one_of_the_last_samples(numbered: Callable[[int, int], ShardDataset], uneven: Uneven) -> None:
    data = numbered(10, 4)
    epochs = [list(Loader(data, 2, shuffle=False, rank=r, world_size=4, uneven=uneven)) for r in range(4)]
    stream = [[number for batch in epoch for number in list_samples(batch)] for epoch in epochs]
    assert [n for n, valid in interleave(stream) if valid] == list(range(10 if uneven == "pad" else 8))
    assert [n for n, valid in interleave(stream) if not valid] == ([9, 8] if uneven == "pad" else [])


class Lossy(Ragged):
    """A faulty source: it reads fewer samples than requested, or returns fewer rows than positions."""

    def __init__(self, count: int, reads: bool) -> None:
        super().__init__(count)
        self._reads = reads

    def shuffle_rows(self, positions: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.int64]:
        return super().shuffle_rows(positions, seed, epoch)[: None if self._reads else -1]

    def gather(self, indices: Indices, context: ReadContext = DEFAULT_CONTEXT) -> Batch:
        return super().gather(indices[: -1 if self._reads and len(indices) > 2 else None], context)


@pytest.mark.parametrize("threads", [0, 2])
@pytest.mark.parametrize("on_error", ["raise", "skip"])
@pytest.mark.parametrize("reads", [True, False])
def test_an_epoch_that_would_end_early_is_an_error(reads: bool, on_error: OnError, threads: int) -> None:
    """An epoch is never shorter without an error, whatever a source does."""
    loader = Loader(Lossy(20, reads), 4, shuffle=True, threads=threads, on_error=on_error)
    with pytest.raises(ShardwrightError, match=r"returned \d+ (samples|rows)"):
        list(loader)
    assert loader.epoch == 0


def test_batches_that_run_out_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def plan_few(shares: RankShares, *arguments: Any) -> Any:
        return islice(planned(shares, *arguments), 3)

    planned: Callable[..., Any] = RankShares.plan
    monkeypatch.setattr(RankShares, "plan", plan_few)
    loader = Loader(Ragged(20), 4, shuffle=True)
    with pytest.raises(ShardwrightError, match="epoch 0 ended after 3 of 5 batches"):
        list(loader)
    assert (loader.epoch, loader.state_dict()["position"]) == (0, 3)


def test_a_plan_is_arrays_of_one_length() -> None:
    plans = list(RankShares(10, 3, 1, 2).plan(lambda positions: positions))
    assert all(
        isinstance(plan, BatchPlan) and len(plan.positions) == len(plan.rows) == len(plan.valid) for plan in plans
    )
