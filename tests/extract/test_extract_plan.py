"""Assignment of samples to shards, and statistics that do not depend on it."""

import hashlib
from collections.abc import Iterator, Sequence
from functools import cache, reduce
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.extract.field_statistics import (
    FieldMoments,
    encode_moments,
    has_moments,
    measure,
    sum_records,
)
from pipeline.extract.params import MAX_SHARDS, ExtractParams
from pipeline.extract.plan_fields import plan_fields
from pipeline.extract.plan_shards import PlannedShard, count_shards, estimate_sample_bytes, plan_shards
from pipeline.tables.columns import Columns, build_batch
from pipeline.tables.database import Database, open_database
from shardwright.format.field import Field
from tests.support.factory_extract import make_params, make_run

KEYS = st.lists(st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True), unique=True, max_size=40)


SPLITS = ("train", "val")
SAMPLES = KEYS.flatmap(
    lambda keys: st.tuples(*(st.tuples(st.just(key), st.sampled_from(SPLITS), st.booleans()) for key in keys))
)
FIELDS = {"image": Field("uint8", (16, 16, 3), axes="HWC")}
USABLE: Columns = {"sample": "uint64", "key": "string", "split": "string"}

Sample = tuple[str, str, bool]
"""Key, split, and whether its label is in the list of classes."""

many = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    work = tmp_path_factory.mktemp("work")
    with open_database(work, make_run(work)) as opened:
        yield opened


@cache
def make_small_params(shards: int | None) -> ExtractParams:
    return make_params(shards=shards, shard_bytes=8192)


def hash_key(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def order_samples(samples: Sequence[Sample]) -> list[Sample]:
    """Return samples in the order of their table."""
    return sorted(samples, key=lambda sample: (sample[1], hash_key(sample[0])))


def plan(database: Database, ordered: Sequence[Sample], shards: int | None = None) -> list[PlannedShard]:
    """Plan the shards of samples, whose numbers are their positions."""
    rows = [
        {"sample": number, "key": key, "split": split} for number, (key, split, usable) in enumerate(ordered) if usable
    ]
    database.execute("DROP TABLE IF EXISTS usable")
    database.create("usable", USABLE)
    database.append("usable", build_batch(rows, USABLE))
    fields = plan_fields({}, (), make_small_params(shards), ("some",)).fields
    return plan_shards(database, fields, make_small_params(shards))


def list_keys(ordered: Sequence[Sample], shard: PlannedShard) -> list[str]:
    """Return the keys of a shard's usable samples."""
    return [key for key, _, usable in ordered[shard.first : shard.last + 1] if usable]


@many
@given(samples=SAMPLES)
def test_every_usable_sample_is_in_one_shard(samples: tuple[Sample, ...], database: Database) -> None:
    ordered = order_samples(samples)
    shards = plan(database, ordered)
    dealt = [(key, shard.split) for shard in shards for key in list_keys(ordered, shard)]
    assert dealt == [(key, split) for key, split, usable in ordered if usable]
    assert [shard.samples for shard in shards] == [len(list_keys(ordered, shard)) for shard in shards]
    assert all(shard.samples for shard in shards)
    assert [(s.split, s.number) for s in shards] == sorted({(s.split, s.number) for s in shards})


@many
@given(samples=SAMPLES, bits=st.integers(0, 5))
def test_twice_as_many_shards_split_each_in_two(samples: tuple[Sample, ...], bits: int, database: Database) -> None:
    ordered = order_samples(samples)
    coarse, fine = (
        {(shard.split, shard.number): list_keys(ordered, shard) for shard in plan(database, ordered, 2**n)}
        for n in (bits, bits + 1)
    )
    for (split, number), keys in coarse.items():
        assert keys == fine.get((split, 2 * number), []) + fine.get((split, 2 * number + 1), [])
    assert sum(map(len, coarse.values())) == sum(map(len, fine.values()))


@many
@given(samples=SAMPLES, bits=st.integers(0, 19))
def test_a_shards_number_is_the_first_bits_of_the_hash(
    samples: tuple[Sample, ...], bits: int, database: Database
) -> None:
    ordered = order_samples(samples)
    for shard in plan(database, ordered, 2**bits):
        for key in list_keys(ordered, shard):
            assert int.from_bytes(hash_key(key), "big") >> (256 - bits) == shard.number


def test_samples_in_another_order_are_refused(database: Database) -> None:
    """A shard would be no range of the table."""
    ordered = order_samples([(f"thing-{number}", "train", True) for number in range(20)])
    with pytest.raises(InputError, match=r"samples of train-00000[01]\.tar and train-.* overlap: run `dvc repro`"):
        plan(database, ordered[::-1], 2)


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
    assert PlannedShard("train", MAX_SHARDS - 1, 0, 0, 1).name == "train-524287.tar"


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
    """The moments of all parts by their records, which are those of adding them one by one, to the last bit."""
    records = [encode_moments(measure(part)) for part in parts]
    (found,) = sum_records(records, {"values": Field(parts[0].dtype.name, parts[0].shape)}).values()
    expected = reduce(FieldMoments.add, map(measure, parts))
    assert found.count == expected.count
    np.testing.assert_array_equal([found.mean, found.squares], [expected.mean, expected.squares])
    return found


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


def test_sums_of_large_images_do_not_overflow() -> None:
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
    fields = {"values": Field("float32", (2, 3))}
    for records in ([], [encode_moments(empty)] * 2):
        assert sum_records(records, fields)["values"].describe() == empty.describe()


def test_moments_come_back_from_a_record() -> None:
    """Also from one that the cache padded, since a longer one stands beside it."""
    fields = {"image": Field("uint8", (4, 4, 3)), "length": Field("int32", ()), "mfcc": Field("float32", (9, 5))}
    noise = np.random.default_rng(0)
    moments = {name: measure(noise.random(fields[name].shape, np.float32)) for name in ("image", "mfcc")}
    record = b"".join(map(encode_moments, moments.values()))
    for padding in (0, 3, 40):
        found = sum_records([record + bytes(padding)], fields)
        assert list(found) == ["image", "mfcc"]
        for name, known in moments.items():
            assert found[name].count == known.count
            np.testing.assert_array_equal(found[name].mean, known.mean)
            np.testing.assert_array_equal(found[name].squares, known.squares)
