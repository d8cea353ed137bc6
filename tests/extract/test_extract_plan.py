"""Assignment of samples to shards, and statistics that do not depend on it."""

import hashlib
from collections.abc import Sequence
from functools import cache, reduce
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from pipeline.extract.aligned_samples import SampleColumns, hash_key
from pipeline.extract.field_statistics import FieldMoments, has_moments, measure, start_moments
from pipeline.extract.params import MAX_SHARDS, ExtractParams
from pipeline.extract.plan_fields import plan_fields
from pipeline.extract.plan_shards import (
    PlannedShard,
    count_shards,
    estimate_sample_bytes,
    find_shards,
    plan_shards,
)
from shardwright.format.field import Field
from tests.support.factory_extract import make_params

KEYS = st.lists(st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True), unique=True, max_size=40)


SPLITS = ("val", "train")
SAMPLES = KEYS.flatmap(lambda keys: st.tuples(*(st.tuples(st.just(key), st.sampled_from((0, 1))) for key in keys)))
FIELDS = {"image": Field("uint8", (16, 16, 3), axes="HWC")}

Planned = list[tuple[str, int, list[str]]]


@cache
def make_small_params(shards: int | None) -> ExtractParams:
    return make_params(shards=shards, shard_bytes=8192)


def plan(samples: Sequence[tuple[str, int]], shards: int | None = None) -> Planned:
    """Split, number and keys of each shard of samples that are given by key and split."""
    keys = [key for key, _ in samples]
    columns = SampleColumns(
        np.array([hash_key(key) for key in keys], "S32"),
        np.array([split for _, split in samples], np.int32),
        np.full(len(keys), -1, np.int32),
        SPLITS,
        (),
        {},
        {},
    )
    fields = plan_fields((), (), make_small_params(shards), ("some",)).fields
    planned = plan_shards(columns, np.ones(len(keys), bool), fields, make_small_params(shards))
    return [(shard.split, shard.number, [keys[row] for row in shard.rows]) for shard in planned]


@settings(max_examples=60)
@given(SAMPLES, st.randoms(use_true_random=False))
def test_every_sample_is_in_one_shard_whatever_the_order(samples: tuple[tuple[str, int], ...], random: Any) -> None:
    shards = plan(samples)
    dealt = [(key, split) for split, _, keys in shards for key in keys]
    assert sorted(dealt) == sorted((key, SPLITS[split]) for key, split in samples)
    assert all(keys for _, _, keys in shards)
    assert shards == sorted(shards)
    shuffled = list(samples)
    random.shuffle(shuffled)
    assert plan(shuffled) == shards


@settings(max_examples=60)
@given(SAMPLES, st.integers(0, 5))
def test_twice_as_many_shards_split_each_in_two(samples: tuple[tuple[str, int], ...], bits: int) -> None:
    coarse = {(split, number): keys for split, number, keys in plan(samples, 2**bits)}
    fine = {(split, number): keys for split, number, keys in plan(samples, 2 ** (bits + 1))}
    for (split, number), keys in coarse.items():
        assert keys == fine.get((split, 2 * number), []) + fine.get((split, 2 * number + 1), [])


@settings(max_examples=60)
@given(SAMPLES, st.integers(0, 5))
def test_order_is_that_of_the_hashes(samples: tuple[tuple[str, int], ...], bits: int) -> None:
    for name in SPLITS:
        dealt = [key for split, _, keys in plan(samples, 2**bits) if split == name for key in keys]
        assert dealt == sorted(dealt, key=hash_key)


@given(KEYS, st.integers(0, 19))
def test_a_shards_number_is_the_first_bits_of_the_hash(keys: list[str], bits: int) -> None:
    hashes = [hashlib.sha256(key.encode()).digest() for key in keys]
    expected = [int.from_bytes(digest, "big") >> (256 - bits) for digest in hashes]
    assert find_shards(np.array(hashes, "S32"), 2**bits).tolist() == expected


@given(st.integers(1, 10**7), st.integers(1, 10**8), st.integers(1, 10**9))
def test_the_number_of_shards_is_the_smallest_that_keeps_to_the_size(samples: int, size: int, limit: int) -> None:
    count = count_shards(samples, size, limit)
    assert count.bit_count() == 1
    assert count <= MAX_SHARDS
    if count > 1:
        assert samples * size > count // 2 * limit
    if count < min(samples, MAX_SHARDS):
        assert samples * size <= count * limit


def test_the_last_shard_can_be_named() -> None:
    assert PlannedShard("train", MAX_SHARDS - 1, np.empty(0)).name == "train-524287.tar"


def test_the_estimate_is_that_of_a_real_sample() -> None:
    headers, array, meta = 2 * 512, 128 + 16 * 16 * 3, 1024
    assert estimate_sample_bytes(FIELDS) == headers + -(-array // 512) * 512 + meta


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (Field("uint8", (4, 4, 3)), True),
        (Field("float32", (9, 5)), True),
        (Field("float16", (2, 9, 9)), True),
        (Field("float32", (9,)), False),
        (Field("int32", (32,)), False),
        (Field("uint8", ()), False),
        (Field("int64", ()), False),
    ],
)
def test_means_are_of_pixels_and_floats(field: Field, expected: bool) -> None:
    assert has_moments(field) == expected


def join(parts: Sequence[NDArray[Any]]) -> FieldMoments:
    start = start_moments(Field(parts[0].dtype.name, parts[0].shape[-1:]))
    return reduce(lambda total, part: total.add(measure(part)), parts, start)


BATCHES = st.tuples(array_shapes(min_dims=2, max_dims=4, max_side=5), st.integers(1, 6))


@settings(max_examples=80)
@given(BATCHES.flatmap(lambda b: st.lists(arrays(np.uint8, b[0]), min_size=b[1], max_size=b[1])))
def test_moments_of_pixels_are_those_of_numpy(parts: list[NDArray[np.uint8]]) -> None:
    check_moments(parts, 1e-12)


@settings(max_examples=80)
@given(
    BATCHES.flatmap(
        lambda b: st.lists(
            arrays(np.float32, b[0], elements=st.floats(-1000, 1000, width=32)), min_size=b[1], max_size=b[1]
        )
    )
)
def test_moments_of_floats_are_those_of_numpy(parts: list[NDArray[np.float32]]) -> None:
    check_moments(parts, 1e-9)


def check_moments(parts: Sequence[NDArray[Any]], tolerance: float) -> None:
    values = np.concatenate([part.reshape(-1, part.shape[-1]) for part in parts]).astype(np.float64)
    statistics = join(parts).describe()
    assert statistics.count == len(values)
    np.testing.assert_allclose(statistics.mean, values.mean(axis=0), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(statistics.std, values.std(axis=0), rtol=tolerance, atol=1e-4 * tolerance**0.5)


def test_a_large_mean_does_not_swallow_the_deviation() -> None:
    values = np.array([[1e6 - 0.25], [1e6 + 0.25]], np.float32)
    assert join([values] * 1000).describe().std == (0.25,)


def test_sums_of_large_pictures_do_not_overflow() -> None:
    white = np.full((66_052, 1, 1), 255, np.uint8)  # squares of one column: more than 32 bits
    statistics = join([white, white]).describe()
    assert (statistics.mean, statistics.std, statistics.count) == ((255.0,), (0.0,), 132_104)


@pytest.mark.parametrize("shape", [(301, 407, 3), (3, 224, 224, 3), (50, 60, 7)])
def test_sums_of_pixels_are_exact(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    columns = pixels.reshape(-1, shape[-1]).astype(object)
    found, count, sums = measure(pixels), len(columns), columns.sum(axis=0)
    assert found.mean.tolist() == [total / count for total in sums]
    around = [(count * square - total**2) / count for square, total in zip((columns**2).sum(axis=0), sums, strict=True)]
    assert found.squares.tolist() == around


def test_moments_of_nothing() -> None:
    empty = measure(np.zeros((0, 3), np.float32))
    assert empty.count == 0
    assert empty.add(empty).describe().std == (0.0, 0.0, 0.0)
