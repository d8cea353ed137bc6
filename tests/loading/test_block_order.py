"""Block order: every row once, window by window, any position computed directly, and shuffled as documented."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from shardwright.loading.block_shuffle import BlockOrder

SEEDS = st.integers(-(2**63), 2**63)


@st.composite
def orders(draw: st.DrawFn, shuffle: bool | None = None) -> BlockOrder:
    sizes = draw(st.lists(st.integers(1, 9), max_size=20))
    ends = np.cumsum(np.array(sizes, np.int64))
    return BlockOrder(
        starts=ends - np.array(sizes, np.int64),
        count=sum(sizes),
        blocks_per_window=draw(st.integers(1, 25)),
        seed=draw(SEEDS),
        epoch=draw(st.integers(0, 5)),
        shuffle=draw(st.booleans()) if shuffle is None else shuffle,
    )


def make_order(blocks: int, size: int, per_window: int, seed: int = 0, epoch: int = 0) -> BlockOrder:
    return BlockOrder(np.arange(blocks, dtype=np.int64) * size, blocks * size, per_window, seed, epoch, True)


def list_order(order: BlockOrder) -> NDArray[np.int64]:
    return order.find_rows(np.arange(order.count))


@given(orders())
def test_each_row_is_at_one_position(order: BlockOrder) -> None:
    rows = list_order(order)
    assert rows.dtype == np.int64
    assert sorted(rows.tolist()) == list(range(order.count))


@given(orders(), st.data())
def test_any_positions_are_computed_directly(order: BlockOrder, data: st.DataObject) -> None:
    positions = data.draw(st.lists(st.integers(0, order.count - 1), max_size=30) if order.count else st.just([]))
    expected = list_order(order)[np.array(positions, np.int64)]
    np.testing.assert_array_equal(order.find_rows(np.array(positions, np.int64)), expected)


@given(orders())
def test_windows_are_consecutive_and_contain_whole_blocks(order: BlockOrder) -> None:
    rows, positions, bounds = list_order(order), np.arange(order.count), np.append(order.starts, order.count)
    windows = order.find_windows(positions)
    assert order.windows == -(-len(order.starts) // order.blocks_per_window)
    spans = [order.window_positions(window) for window in range(order.windows)]
    assert [start for start, _ in spans] == [0, *(stop for _, stop in spans)][: order.windows]
    assert sum(stop - start for start, stop in spans) == order.count
    for window, (start, stop) in enumerate(spans):
        np.testing.assert_array_equal(windows[start:stop], window)
        np.testing.assert_array_equal(order.list_rows(window), np.sort(rows[start:stop]))
        blocks = np.unique(np.searchsorted(bounds, rows[start:stop], side="right") - 1)
        assert (bounds[blocks + 1] - bounds[blocks]).sum() == stop - start, "a block is divided"
        assert len(blocks) == order.blocks_per_window or window == order.windows - 1


@given(orders(shuffle=False))
def test_without_shuffling_rows_are_in_index_order(order: BlockOrder) -> None:
    np.testing.assert_array_equal(list_order(order), np.arange(order.count))


@given(st.integers(1, 6), st.integers(1, 30))
def test_one_block_or_one_sample_or_a_window_larger_than_all(blocks: int, per_window: int) -> None:
    for size in (1, 40):
        order = make_order(blocks, size, blocks + per_window)
        assert order.windows == 1
        assert sorted(list_order(order).tolist()) == list(range(blocks * size))


def test_seed_epoch_and_windows_change_the_order() -> None:
    found = [
        list_order(make_order(40, 25, per_window, seed, epoch)).tobytes()
        for per_window in (8, 9)
        for seed in (0, 1, -1)
        for epoch in (0, 1)
    ]
    assert len(set(found)) == len(found)
    assert list_order(make_order(40, 25, 8)).tobytes() == found[0]


@pytest.mark.parametrize(
    ("starts", "count", "per_window"), [([1], 5, 1), ([0, 3, 3], 5, 1), ([0, 5], 5, 1), ([], 5, 1), ([0], 5, 0)]
)
def test_invalid_blocks_are_refused(starts: list[int], count: int, per_window: int) -> None:
    with pytest.raises(ValueError, match=r"block starts are|blocks_per_window is 0"):
        BlockOrder(np.array(starts, np.int64), count, per_window, 0, 0, True)


def test_neighbours_come_from_different_blocks_as_often_as_by_chance() -> None:
    size, per_window = 25, 32
    order = make_order(64 * per_window, size, per_window)
    rows = list_order(order)
    inside = np.diff(order.find_windows(np.arange(order.count))) == 0
    in_one_block = (np.diff(rows // size) == 0)[inside]
    expected = (size - 1) / (size * per_window - 1)  # of the other samples in the window, those of the same block
    assert abs(in_one_block.mean() - expected) < 5 * np.sqrt(expected / len(in_one_block))
    assert (np.diff(rows) == 1)[inside].mean() < 5 / (size * per_window), "neighbours on disk stay neighbours"


def test_each_row_is_as_likely_to_be_anywhere() -> None:
    """Over many epochs the positions of a row are uniformly distributed."""
    blocks, size, per_window, epochs = 16, 4, 4, 2000
    counts = np.zeros((blocks * size, blocks * size), np.int64)
    for epoch in range(epochs):
        rows = list_order(make_order(blocks, size, per_window, epoch=epoch))
        counts[rows, np.arange(len(rows))] += 1
    expected = epochs / (blocks * size)
    chi_squared = ((counts - expected) ** 2 / expected).sum(axis=1)  # 63 degrees of freedom each: 63 ± 11.2
    assert 58 < chi_squared.mean() < 68
    assert chi_squared.max() < 63 + 6 * 11.2


def test_blocks_meet_in_a_window_as_often_as_by_chance() -> None:
    blocks, per_window, epochs = 20, 5, 2000
    together = np.zeros((blocks, blocks), np.int64)
    for epoch in range(epochs):
        order = make_order(blocks, 1, per_window, epoch=epoch)
        for window in range(order.windows):
            rows = order.list_rows(window)
            together[np.ix_(rows, rows)] += 1
    pairs = together[np.triu_indices(blocks, 1)]
    chance = (per_window - 1) / (blocks - 1)
    spread = np.sqrt(epochs * chance * (1 - chance))
    assert (abs(pairs - epochs * chance) < 5 * spread).all()
