"""Near-duplicates and components are the same as from comparing all pairs."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.clean.bit_tables import Bits
from pipeline.clean.near_duplicates import Thumbnails, find_near_clusters, normalize_thumbnails
from pipeline.tables.connected_components import Indexes, find_components


def find_components_one_by_one(count: int, pairs: list[tuple[int, int]]) -> list[int]:
    cluster = list(range(count))
    for left, right in pairs:
        low, high = sorted((cluster[left], cluster[right]))
        cluster = [low if name == high else name for name in cluster]
    return cluster


def compare_all_pairs(bits: Bits, thumbnails: Thumbnails, near_bits: int, difference: float) -> list[int]:
    def are_near(left: int, right: int) -> bool:
        cells = np.abs(thumbnails[left].astype(int) - thumbnails[right])
        far = int(bits[left] ^ bits[right]).bit_count()
        return far <= near_bits and int(cells.sum()) <= difference * len(cells)

    return find_components_one_by_one(len(bits), [p for p in combinations(range(len(bits)), 2) if are_near(*p)])


def as_indexes(values: list[int]) -> Indexes:
    return np.array(values, dtype=np.int64)


def draw_hashes(seed: int, families: int, count: int, cells: int) -> tuple[Bits, Thumbnails]:
    """Draw hashes in families, so that some are equal, some near, some at the limit, and chains form."""
    rng = np.random.default_rng(seed)
    family = rng.integers(families, size=count)
    bits = rng.integers(2**64, size=families, dtype=np.uint64)[family]
    for _ in range(3):
        flip = np.uint64(1) << rng.integers(64, size=count, dtype=np.uint64)
        bits = np.where(rng.random(count) < 0.5, bits ^ flip, bits)
    middle = rng.integers(40, 200, size=(families, cells))[family]
    return bits, (middle + rng.integers(-3, 4, size=(count, cells))).astype(np.uint8)


@given(st.integers(1, 30).flatmap(lambda n: st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)))))
def test_components_are_those_of_joining_one_by_one(pairs: list[tuple[int, int]]) -> None:
    count = 31
    found = find_components(count, as_indexes([a for a, _ in pairs]), as_indexes([b for _, b in pairs]))
    assert found.tolist() == find_components_one_by_one(count, pairs)


@pytest.mark.parametrize("order", [1, -1])
def test_a_long_chain_is_one_component(order: int) -> None:
    left = np.arange(100_000, dtype=np.int64)[::order]
    assert not find_components(100_001, left, left + 1).any()


@given(
    st.integers(0, 2**32), st.integers(1, 8), st.integers(0, 60), st.sampled_from([0, 1, 4]),
    st.sampled_from([0, 1, 3, 7, 63, 64, 70]), st.sampled_from([0.0, 1.0, 2.3, 255.0]),
)  # fmt: skip
@settings(max_examples=150)
def test_near_clusters_are_those_of_comparing_all_pairs(
    seed: int, families: int, count: int, cells: int, near_bits: int, difference: float
) -> None:
    bits, thumbnails = draw_hashes(seed, families, count, cells)
    found = find_near_clusters(bits, thumbnails, near_bits, difference)
    assert found.tolist() == compare_all_pairs(bits, thumbnails, near_bits, difference)


def test_bits_alone_decide_where_there_are_no_thumbnails() -> None:
    bits = np.array([7, 8, 7, 2**63, 8, 7], dtype=np.uint64)
    assert find_near_clusters(bits, np.empty((6, 0), dtype=np.uint8), 0, 0.0).tolist() == [0, 1, 0, 3, 1, 0]


def test_both_limits_count_the_limit_itself() -> None:
    bits = np.array([0, 0b111, 0b1111], dtype=np.uint64)
    dark, light = np.full((1, 256), 100, dtype=np.uint8), np.full((1, 256), 108, dtype=np.uint8)
    assert find_near_clusters(bits[:2], np.concatenate([dark, light]), 3, 8.0).tolist() == [0, 0]
    assert find_near_clusters(bits[:2], np.concatenate([dark, light]), 3, 7.99).tolist() == [0, 1]
    assert find_near_clusters(bits[[0, 2]], np.concatenate([dark, light]), 3, 8.0).tolist() == [0, 1]


def test_many_equal_hashes_are_not_compared_pair_by_pair() -> None:
    """30,000 equal hashes and 30,000 near ones would be 1.8 billion comparisons; this takes well under a second."""
    bits = np.zeros(60_000, dtype=np.uint64)
    thumbnails = np.full((60_000, 256), 90, dtype=np.uint8)
    thumbnails[30_000:, 0] = np.arange(30_000) % 200
    assert not find_near_clusters(bits, thumbnails, 3, 8.0).any()


def test_normalized_thumbnails_have_one_brightness_and_contrast() -> None:
    rng = np.random.default_rng(0)
    thumbnails = np.concatenate([
        np.clip(rng.normal(mean, deviation, (50, 256)), 0, 255).astype(np.uint8)
        for mean, deviation in ((128, 40), (60, 12), (200, 3))
    ])  # fmt: skip
    normalized = normalize_thumbnails(thumbnails).astype(float)
    assert np.abs(normalized.mean(axis=1) - 128).max() < 1
    assert np.abs(normalized.std(axis=1) - 32).max() < 1


def test_a_brighter_copy_normalizes_to_the_same_and_a_flat_thumbnail_stays_flat() -> None:
    soft = np.arange(256, dtype=np.uint8)[None] // 4
    assert (normalize_thumbnails(soft) == normalize_thumbnails(soft + 90)).all()
    assert np.abs(normalize_thumbnails(soft).astype(int) - normalize_thumbnails(soft * 3)).max() <= 1
    assert (normalize_thumbnails(np.full((1, 256), 7, dtype=np.uint8)) == 128).all()
    assert normalize_thumbnails(np.empty((3, 0), dtype=np.uint8)).shape == (3, 0)
