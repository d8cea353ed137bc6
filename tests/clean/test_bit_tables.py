"""Every pair of hashes that differ in few bits is found once, with any number of blocks."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.clean.bit_tables import WIDTH, Hashes, choose_masks, cut_levels, find_near_bits
from pipeline.tables.connected_components import join_components


def draw_hashes(seed: int, count: int, near_bits: int) -> Hashes:
    """Draw hashes in a few families; levels differ by up to 4, and near ones by up to 2."""
    rng = np.random.default_rng(seed)
    bits = rng.integers(2**64, size=4, dtype=np.uint64)[rng.integers(4, size=count)]
    for _ in range(near_bits // 2 + 1):
        bits ^= np.uint64(1) << rng.integers(64, size=count, dtype=np.uint64)
    return Hashes(bits, rng.integers(5, size=count, dtype=np.uint8), near_bits, 2)


@given(st.integers(0, 2**32), st.integers(0, 60), st.sampled_from([0, 1, 2, 3, 5, 16, 63, 64]))
def test_every_near_pair_is_found_once(seed: int, count: int, near_bits: int) -> None:
    hashes = draw_hashes(seed, count, near_bits)
    found = [
        (min(pair), max(pair))
        for one, other in find_near_bits(hashes, np.arange(count), np.arange(count))
        for pair in zip(one.tolist(), other.tolist(), strict=True)
    ]
    levels = hashes.levels.astype(int)
    near = {
        (one, other)
        for one, other in combinations(range(count), 2)
        if int(hashes.bits[one] ^ hashes.bits[other]).bit_count() <= near_bits and abs(levels[one] - levels[other]) <= 2
    }
    assert len(found) == len(set(found))
    assert set(found) == near


@given(st.data(), st.integers(0, 5), st.integers(1, 4))
def test_near_hashes_agree_in_all_bits_of_a_mask(data: st.DataObject, near_bits: int, spare: int) -> None:
    masks = choose_masks(draw_hashes(0, 50, near_bits), near_bits + spare)
    bits = data.draw(st.sets(st.integers(0, WIDTH - 1), max_size=near_bits))
    assert any(not any(mask >> bit & 1 for bit in bits) for mask in masks)
    assert np.bitwise_or.reduce(np.array(masks, np.uint64)) == 2**64 - 1


@pytest.mark.parametrize("reach", [0, 1, 10, 512, 10**6])
def test_sums_within_reach_have_levels_within_reach(reach: int) -> None:
    sums = np.random.default_rng(reach).integers(-30_000, 30_000, 500)
    levels, level_reach = cut_levels(sums, reach)
    near = np.abs(sums[:, None] - sums) <= reach
    assert (np.abs(levels[:, None].astype(int) - levels)[near] <= level_reach).all()


def test_a_crowd_that_is_joined_is_not_compared_pair_by_pair() -> None:
    """Of 5,000 items that are all near, 12.5 million pairs."""
    hashes, forest, pairs = draw_hashes(0, 5_000, 64), np.arange(5_000), 0
    for one, other in find_near_bits(hashes, np.arange(5_000), forest):
        join_components(forest, one, other)
        pairs += len(one)
    assert pairs < 3_000_000
