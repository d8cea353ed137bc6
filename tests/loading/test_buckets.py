"""Batches within a budget: each sample once an epoch, similar lengths, the same batches however they are read."""

import json
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shardwright import Field, FormatError, Loader, Mix, ShardDataset, ShardWriter, StateError, encode_jpeg
from shardwright.datasets.lengths import find_lengths
from shardwright.loading.batch_plan import BatchPlan, RankShares
from shardwright.loading.buffer_pool import BufferPool
from shardwright.loading.length_buckets import LengthBuckets
from tests.support.ragged_sets import draw_lengths, write_ragged
from tests.support.webdataset_tars import user_cache, write_shards

__all__ = ["user_cache"]

BUDGET = 400
LENGTHS = draw_lengths(240, 30, 0.8, 200)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShardDataset]:
    with write_ragged(tmp_path_factory.mktemp("ragged"), LENGTHS) as opened:
        yield opened


def list_plans(buckets: LengthBuckets, world: int = 1, rank: int = 0, step: int = 0, **key: Any) -> list[BatchPlan]:
    options = {"seed": 0, "epoch": 0, "shuffle": True} | key
    return list(buckets.plan(RankShares(len(buckets), 1, rank, world), step, **options))


def list_keys(loader: Loader) -> list[list[str]]:
    return [batch["key"] for batch in loader]


@given(
    st.lists(st.integers(0, 60), max_size=300),
    st.integers(60, 500),
    st.integers(1, 5),
    st.integers(0, 2**40),
    st.integers(0, 9),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_each_sample_is_valid_once_and_no_batch_is_over_the_budget(
    drawn: list[int], budget: int, world: int, seed: int, epoch: int, shuffle: bool
) -> None:
    lengths = np.array(drawn, np.int64)
    buckets = LengthBuckets(lengths, budget)
    ranks = [list_plans(buckets, world, r, seed=seed, epoch=epoch, shuffle=shuffle) for r in range(world)]
    assert len({len(plans) for plans in ranks}) == 1
    plans = [plan for rank in ranks for plan in rank]
    rows = np.concatenate([plan.rows[plan.valid] for plan in plans]) if plans else np.zeros(0)
    assert np.array_equal(np.sort(rows), np.arange(len(lengths)))
    assert all(0 < len(plan.rows) * max(1, lengths[plan.rows].max()) <= budget for plan in plans)


def test_padding_is_small_and_batches_are_full() -> None:
    lengths = draw_lengths(50_000)
    buckets = LengthBuckets(lengths, 30_000)
    assert buckets.measure_padding() < 0.05
    assert lengths.sum() / len(buckets) > 0.9 * 30_000


def test_samples_have_other_neighbours_in_each_epoch() -> None:
    buckets = LengthBuckets(draw_lengths(5000), 20_000)
    first, again, other = (
        [frozenset(plan.rows.tolist()) for plan in list_plans(buckets, epoch=epoch)] for epoch in (1, 1, 2)
    )
    assert first == again
    assert len(set(first) & set(other)) <= 0.01 * len(first)
    lengths = [len(batch) for batch in first]
    assert lengths != sorted(lengths)


@pytest.mark.parametrize("options", [{"threads": 0}, {"threads": 2}, {"processes": 1}, {"cache": "memory"}])
def test_a_loader_gives_the_same_batches_however_they_are_read(data: ShardDataset, options: dict[str, Any]) -> None:
    with Loader(data, budget=BUDGET, by="tokens_length", shuffle=True, seed=3, **options) as loader:
        batches = list(loader)
    expected = list_plans(LengthBuckets(LENGTHS, BUDGET), seed=3)
    assert [batch["n"].tolist() for batch in batches] == [plan.rows.tolist() for plan in expected]
    assert len(loader) == len(batches)


@pytest.mark.parametrize("step", [1, 7])
def test_resumed_at_any_batch(data: ShardDataset, step: int) -> None:
    def make(**options: Any) -> Loader:
        given: dict[str, Any] = {"budget": BUDGET, "by": "tokens_length", "shuffle": True} | options
        return Loader(data, **given)

    whole, stopped, resumed = make(), make(), make()
    epochs = [list_keys(whole), list_keys(whole)]
    assert epochs[0] != epochs[1]
    list(islice(stopped, step))
    state = json.loads(json.dumps(stopped.state_dict()))
    resumed.load_state_dict(state)
    assert [list_keys(resumed), list_keys(resumed)] == [epochs[0][step:], epochs[1]]
    for other in (make(budget=BUDGET + 1), make(by=LENGTHS[::-1].copy()), Loader(data, 1, shuffle=True)):
        with pytest.raises(StateError, match="global_batch"):
            other.load_state_dict(state)


@pytest.mark.parametrize("uneven", ["pad", "drop"])
def test_ranks_make_equal_steps(data: ShardDataset, uneven: Any) -> None:
    loaders = [
        Loader(data, budget=BUDGET, by="tokens_length", shuffle=True, rank=r, world_size=4, uneven=uneven)
        for r in range(4)
    ]
    batches = [list(loader) for loader in loaders]
    assert len({len(loader) for loader in loaders} | {len(of_rank) for of_rank in batches}) == 1
    seen = [n for of_rank in batches for batch in of_rank for n in batch["n"][batch["valid"]].tolist()]
    assert len(seen) == len(set(seen))
    assert uneven == "drop" or len(seen) == len(LENGTHS)


def test_without_shuffling_batches_go_from_short_to_long_in_each_epoch(data: ShardDataset) -> None:
    loader = Loader(data, budget=BUDGET, by="tokens_length", shuffle=False)
    lengths = [batch["tokens_length"].tolist() for batch in loader]
    assert list(chain.from_iterable(lengths)) == sorted(LENGTHS.tolist())
    assert lengths == [batch["tokens_length"].tolist() for batch in loader]


def test_lengths_come_from_a_field_the_index_or_an_array(data: ShardDataset, tmp_path: Path) -> None:
    rows = np.array([4, 9, 11])
    for found, expected in [
        (find_lengths(data, "tokens_length"), LENGTHS),
        (find_lengths(data.take(rows), "tokens_length"), LENGTHS[rows]),
        (find_lengths(Mix([data, data.take(rows)]), "tokens_length"), np.append(LENGTHS, LENGTHS[rows])),
        (find_lengths(data, LENGTHS.astype(np.int16)), LENGTHS),
    ]:
        assert found.dtype == np.int64
        assert np.array_equal(found, expected)
    write_shards(tmp_path / "tars", [[(f"{n}", {"bin": bytes(n), "cls": b"3"}) for n in range(20)]])
    tars = ShardDataset.from_webdataset(tmp_path / "tars")
    assert find_lengths(tars, "bin").tolist() == list(range(20))
    assert find_lengths(Mix([tars.take(rows), tars.select(["bin", "cls"])]), "bin").tolist()[:4] == [4, 9, 11, 0]
    rng = np.random.default_rng(0)
    files = [encode_jpeg(rng.integers(0, most, (8, 8, 3), np.uint8), 90) for most in (1, 50, 255)]
    with ShardWriter(tmp_path / "jpeg", "train", {"photo": Field("uint8", (8, 8, 3), encoding="jpeg")}) as writer:
        for number, file in enumerate(files):
            writer.write(f"{number}", {"photo": file}, {})
    assert find_lengths(ShardDataset(tmp_path / "jpeg", "train"), "photo").tolist() == [len(file) for file in files]
    loader = Loader(tars, budget=60, by="bin", shuffle=True)
    assert sorted(key for batch in loader for key in batch["key"]) == sorted(str(n) for n in range(20))


def test_what_is_asked_for_must_make_sense(data: ShardDataset) -> None:
    wrong: list[dict[str, Any]] = [
        {},
        {"batch_size": 4, "budget": 400, "by": "n"},
        {"budget": 400},
        {"batch_size": 4, "by": "n"},
        {"budget": 0, "by": "n"},
        {"budget": 400, "by": "tokens_length", "drop_last": True},
        {"budget": 400, "by": "tokens_length", "uneven": "error"},
    ]
    for options in wrong:
        with pytest.raises(ValueError, match=r"batch_size|budget"):
            Loader(data, shuffle=True, **options)
    with pytest.raises(ValueError, match="block"):
        Loader(data, budget=400, by="tokens_length", shuffle="block")
    with pytest.raises(FormatError, match=f"row {LENGTHS.argmax()} has length {LENGTHS.max()}, over the budget of 50"):
        Loader(data, budget=50, by="tokens_length", shuffle=True)
    with pytest.raises(KeyError, match="no field 'other'"):
        find_lengths(data, "other")
    with pytest.raises(FormatError, match="have one size"):
        find_lengths(data, "tokens")
    with pytest.raises(FormatError, match=r"int64 \(239,\)"):
        find_lengths(data, LENGTHS[1:])
    with pytest.raises(FormatError, match="length -1 of row 0"):
        find_lengths(data, np.arange(-1, len(LENGTHS) - 1))
    for drawn in (Mix([data], [1.0]), Mix([data, Mix([data], [1.0])])):
        with pytest.raises(FormatError, match="weights"):
            Loader(drawn, budget=BUDGET, by="tokens_length", shuffle=True)


@given(st.integers(1, 2**40))
def test_buffers_have_few_sizes(size: int) -> None:
    from shardwright.loading.buffer_pool import _round_up

    assert size <= _round_up(size) <= size * 9 / 8 + 1


def test_a_pool_reuses_buffers_for_batches_of_similar_sizes() -> None:
    pool = BufferPool(2)
    addresses: list[int] = []
    for rows in (1001, 1000, 1003):
        buffer: NDArray[np.uint8] | None = pool.allocate(rows, 2000)
        assert buffer is not None
        assert buffer.shape == (rows, 2000)
        addresses.append(buffer.__array_interface__["data"][0])
        del buffer
    assert len(set(addresses)) == 1
