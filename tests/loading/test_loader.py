"""The loader: each sample once an epoch, equal steps on every rank, the same batches however they are read."""

import gc
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain, islice, pairwise, permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shardwright import DamageError, Field, Loader, ShardDataset, ShardWriter, StateError
from shardwright.datasets.permutation import permute
from shardwright.format.field import DTYPES
from shardwright.loading.loader import Order
from shardwright.loading.prefetch import read_ahead
from tests.support.shard_samples import SMALL_FIELDS, assert_same_arrays, write_small


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShardDataset]:
    root = tmp_path_factory.mktemp("small")
    write_small(root, 23)
    with ShardDataset(root, "train") as opened:
        yield opened


@pytest.fixture(scope="module")
def sized(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], ShardDataset]:
    """Return a function from a number of samples to a split whose samples are their numbers."""
    root = tmp_path_factory.mktemp("sized")
    opened: dict[int, ShardDataset] = {}

    def open_split(count: int) -> ShardDataset:
        if count not in opened:
            with ShardWriter(root, f"of-{count}", {"n": Field("int16", ())}, 7) as writer:
                for n in range(count):
                    writer.write(str(n), {"n": n})
            opened[count] = ShardDataset(root, f"of-{count}")
        return opened[count]

    return open_split


def list_keys(batches: Iterator[dict[str, Any]] | Loader) -> list[list[str]]:
    return [batch["key"] for batch in batches]


@given(st.integers(1, 3000), st.integers(), st.integers(0, 100))
@settings(max_examples=60)
def test_the_order_is_a_permutation(count: int, seed: int, epoch: int) -> None:
    order = permute(np.arange(count), count, seed, epoch)
    assert order.dtype == np.int64
    np.testing.assert_array_equal(np.sort(order), np.arange(count))


@given(st.integers(50, 3000), st.integers(), st.integers())
@settings(max_examples=30)
def test_the_order_differs_by_seed_and_epoch(count: int, seed: int, epoch: int) -> None:
    positions = np.arange(count)
    orders = [permute(positions, count, *key) for key in ((seed, epoch), (seed + 1, epoch), (seed, epoch + 1))]
    assert all((one != other).mean() > 0.8 for one, other in pairwise([*orders, orders[0]]))


@given(st.integers(1, 2**40), st.data())
@settings(max_examples=30)
def test_any_part_of_the_order_is_computed_directly(count: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, count - 1))
    positions = np.arange(start, min(count, start + 50))
    part = permute(positions, count, 1, 2)
    assert ((part >= 0) & (part < count)).all()
    assert len(np.unique(part)) == len(part)
    np.testing.assert_array_equal(permute(positions[-1:], count, 1, 2), part[-1:])


def test_the_order_is_pinned() -> None:
    """A checkpoint of one release is resumed by the next."""
    assert permute(np.arange(10), 10, 0, 0).tolist() == [2, 6, 3, 5, 8, 9, 0, 4, 7, 1]
    assert permute(np.array([0, 10**12 - 1]), 10**12, -1, 7).tolist() == [692361998862, 881964233870]


@pytest.mark.parametrize("count", [3, 4])
def test_every_order_of_few_samples_occurs(count: int) -> None:
    seen = Counter(tuple(permute(np.arange(count), count, seed, 0).tolist()) for seed in range(1200))
    assert seen.keys() == set(permutations(range(count)))
    assert max(seen.values()) < 3 * min(seen.values())


def test_neighbours_are_spread_over_the_epoch() -> None:
    """The mean distance of neighbours is a third of the range, as for two uniform random numbers."""
    count = 50_000
    for seed in range(3):
        order = permute(np.arange(count), count, seed, 0)
        assert abs(np.abs(np.diff(order)).mean() / count - 1 / 3) < 0.01
        assert abs(np.corrcoef(np.arange(count), order)[0, 1]) < 0.02


@given(st.integers(0, 40), st.integers(1, 9), st.integers(1, 6), st.booleans(), st.booleans())
@settings(max_examples=80)
def test_each_sample_once_and_equal_steps(
    sized: Callable[[int], ShardDataset], count: int, batch_size: int, world_size: int, shuffle: bool, drop: bool
) -> None:
    data = sized(count)
    ranks = [
        Loader(data, batch_size, shuffle=shuffle, rank=rank, world_size=world_size, drop_last=drop, threads=0)
        for rank in range(world_size)
    ]
    epochs = [list(loader) for loader in ranks]
    steps = {tuple(len(batch["key"]) for batch in epoch) for epoch in epochs}
    assert len(steps) == 1
    assert all(len(loader) == len(epoch) for loader, epoch in zip(ranks, epochs, strict=True))
    valid = [
        key
        for epoch in epochs
        for batch in epoch
        for key, is_valid in zip(batch["key"], batch["valid"], strict=True)
        if is_valid
    ]
    delivered = sum(len(batch["key"]) for epoch in epochs for batch in epoch)
    assert len(set(valid)) == len(valid)
    if drop:
        assert delivered == len(valid) == count // (batch_size * world_size) * batch_size * world_size
    else:
        assert len(valid) == count
        assert delivered - len(valid) < world_size


def test_a_batch_holds_the_samples(data: ShardDataset) -> None:
    batches = list(Loader(data, 5, shuffle=False))
    assert [len(batch["key"]) for batch in batches] == [5, 5, 5, 5, 3]
    first = batches[0]
    assert list(first) == ["key", *SMALL_FIELDS, "valid"]
    assert (first["image"].dtype, first["image"].shape) == (torch.uint8, (5, 5, 7, 3))
    assert (first["label"].dtype, first["label"].shape) == (torch.int64, (5,))
    assert (first["valid"].dtype, first["valid"].tolist()) == (torch.bool, [True] * 5)
    for n, batch in enumerate(batches):
        for row, key in enumerate(batch["key"]):
            sample = data[5 * n + row]
            assert key == sample["key"]
            assert_same_arrays(
                {name: batch[name][row].numpy() for name in data.fields}, {f: sample[f] for f in data.fields}
            )


def test_every_dtype_becomes_a_tensor(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "train", {f"as_{dtype}": Field(dtype, (2,)) for dtype in DTYPES}) as writer:
        writer.write("a", {f"as_{dtype}": np.array([0, 1], dtype) for dtype in DTYPES})
    (batch,) = Loader(ShardDataset(tmp_path, "train"), 1, shuffle=False)
    for dtype in DTYPES:
        assert batch[f"as_{dtype}"].dtype == getattr(torch, dtype)


def test_epochs_follow_each_other(data: ShardDataset) -> None:
    loader = Loader(data, 4, shuffle=True, seed=3)
    first, second = list_keys(loader), list_keys(loader)
    assert loader.epoch == 2
    assert first != second
    loader.set_epoch(0)
    assert list_keys(loader) == first
    loader.set_epoch(1)
    assert list_keys(loader) == second
    loader.set_epoch(0)
    iter(loader)  # nothing was delivered, so it does not count
    assert list_keys(islice(loader, len(loader))) == first
    assert list_keys(loader) == second  # the epoch was read to its last batch, but not beyond


@pytest.mark.parametrize("shuffle", ["global", "block"])
def test_an_epoch_that_is_left_is_followed_by_the_next(data: ShardDataset, shuffle: Order) -> None:
    def make_loader() -> Loader:
        return Loader(data, 4, shuffle=shuffle, seed=3)

    whole = make_loader()
    epochs = [list_keys(whole) for _ in range(6)]
    loader = make_loader()
    assert [list_keys(islice(loader, 2)) for _ in range(6)] == [keys[:2] for keys in epochs]
    loader.set_epoch(1)
    assert list_keys(islice(loader, 1)) == epochs[1][:1]
    resumed = make_loader()
    resumed.load_state_dict(loader.state_dict())
    assert list_keys(islice(resumed, 1)) == epochs[1][1:2]  # a state continues the epoch that it was taken in
    assert list_keys(resumed) == list_keys(loader) == epochs[2]


@pytest.mark.parametrize("threads", [None, 0, 1, 2])
def test_resuming_at_any_batch_equals_continuing(data: ShardDataset, threads: int | None) -> None:
    def make_loader() -> Loader:
        return Loader(data, 4, shuffle=True, seed=5, threads=threads)

    whole = make_loader()
    epochs = [list_keys(whole) for _ in range(3)]
    assert epochs == [list_keys(loader) for loader in [Loader(data, 4, shuffle=True, seed=5)] for _ in range(3)]
    for position in range(len(whole) + 1):
        stopped = make_loader()
        list(stopped)
        seen = list_keys(islice(stopped, position)) if position else []
        state = json.loads(json.dumps(stopped.state_dict()))
        resumed = make_loader()
        resumed.load_state_dict(state)
        resumed.set_epoch(1)  # as a loop over epochs does
        assert seen + list_keys(resumed) == epochs[1]
        assert list_keys(resumed) == epochs[2]


def test_the_position_counts_what_was_delivered(data: ShardDataset) -> None:
    loader = Loader(data, 4, shuffle=False, threads=2)
    assert [loader.state_dict()["position"] for _ in loader] == [1, 2, 3, 4, 5, 6]
    assert (loader.state_dict()["epoch"], loader.state_dict()["position"]) == (1, 0)


def test_an_older_iteration_does_not_move_the_loader(data: ShardDataset) -> None:
    loader = Loader(data, 4, shuffle=True)
    old = iter(loader)
    next(old)
    new = iter(loader)
    next(new)
    list(old)
    assert (loader.epoch, loader.state_dict()["position"]) == (1, 1)


def test_the_number_of_ranks_may_change(data: ShardDataset) -> None:
    halves = [Loader(data, 3, shuffle=True, rank=rank, world_size=2) for rank in range(2)]
    seen = [list(chain.from_iterable(list_keys(islice(loader, 2)))) for loader in halves]
    assert halves[0].state_dict() == halves[1].state_dict()
    alone = Loader(data, 6, shuffle=True)
    alone.load_state_dict(halves[0].state_dict())
    assert sorted(chain(*seen, *list_keys(alone))) == sorted(key.decode() for key in data.keys.tolist())


def test_a_state_of_another_loader_is_refused(data: ShardDataset, sized: Callable[[int], ShardDataset]) -> None:
    loader = Loader(data, 4, shuffle=True, seed=1)
    before = loader.state_dict()
    others = {
        "dataset": Loader(sized(5), 4, shuffle=True, seed=1),
        "seed": Loader(data, 4, shuffle=True, seed=2),
        "shuffle": Loader(data, 4, shuffle=False, seed=1),
        "drop_last": Loader(data, 4, shuffle=True, seed=1, drop_last=True),
        "global_batch": Loader(data, 4, shuffle=True, seed=1, world_size=2),
    }
    for name, other in others.items():
        state = other.state_dict()
        with pytest.raises(StateError) as caught:
            loader.load_state_dict(state)
        assert all(repr(value) in str(caught.value) for value in (state[name], before[name]))
    for damage in ({"version": 1}, {"position": -1}, {"position": 7}, {"position": 1.0}, {"epoch": None}):
        with pytest.raises(StateError):
            loader.load_state_dict(before | damage)
    with pytest.raises(StateError):
        loader.load_state_dict({})
    assert loader.state_dict() == before


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"threads": -1}, {"rank": 1}, {"rank": -1}, {"world_size": 0}])
def test_numbers_out_of_range(data: ShardDataset, wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Loader(data, **{"batch_size": 1, "shuffle": False, **wrong})  # type: ignore[arg-type]  # invalid values


@pytest.mark.parametrize("threads", [None, 0, 1, 3])
def test_held_batches_never_change(data: ShardDataset, threads: int | None) -> None:
    loader = Loader(data, 2, shuffle=True, threads=threads)
    held = [(batch, {name: batch[name].clone() for name in data.fields}) for _ in range(3) for batch in loader]
    gc.collect()
    list(loader)
    for batch, copies in held:
        assert all(torch.equal(batch[name], copy) for name, copy in copies.items())
    starts = {batch[name].data_ptr() for batch, _ in held for name in data.fields}
    assert len(starts) == len(held) * len(data.fields)


def test_an_abandoned_iteration_leaves_no_thread(data: ShardDataset) -> None:
    before = set(threading.enumerate())
    for _ in range(20):
        for _batch in Loader(data, 2, shuffle=True, threads=2):
            break
    iteration = iter(Loader(data, 2, shuffle=True, threads=2))
    next(iteration)
    assert set(threading.enumerate()) - before
    del iteration
    gc.collect()
    assert not set(threading.enumerate()) - before


@pytest.mark.parametrize("threads", [None, 0, 1, 2])
def test_damage_is_an_exception_and_not_a_shorter_epoch(tmp_path: Path, threads: int | None) -> None:
    samples = write_small(tmp_path)
    shard = tmp_path / "train" / "train-000001.tar"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    before = set(threading.enumerate())
    loader = Loader(ShardDataset(tmp_path, "train"), 2, shuffle=False, threads=threads)
    seen: list[str] = []
    with pytest.raises(DamageError) as caught:
        seen.extend(key for batch in loader for key in batch["key"])
    assert caught.value.shard == "train-000001.tar"
    assert caught.value.sample in {sample.key for sample in samples[len(seen) : len(seen) + 2]}
    assert loader.state_dict()["position"] == len(seen) // 2
    assert not set(threading.enumerate()) - before


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_reading_ahead_keeps_the_order(threads: int) -> None:
    assert list(read_ahead(lambda n: n * n, range(50), threads)) == [n * n for n in range(50)]
