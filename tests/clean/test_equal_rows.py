"""Equal rows are found, and only those, also where hashes collide."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.clean import equal_rows
from pipeline.clean.equal_rows import find_equal_rows, mix_bits


def draw_rows(seed: int, count: int, width: int) -> NDArray[np.uint8]:
    """Draw rows of which many are equal, and the others differ in any byte."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(256, size=(4, width), dtype=np.uint8)[rng.integers(4, size=count)]
    rows[rng.random((count, width)) < 0.1 / max(width, 1)] ^= 0x80
    return rows


def list_first(*columns: NDArray[Any]) -> list[int]:
    rows = [tuple(column[row].tobytes() for column in columns) for row in range(len(columns[0]))]
    return [rows.index(row) for row in rows]


@given(st.integers(0, 2**32), st.integers(0, 40), st.sampled_from([0, 1, 7, 8, 32, 33, 256]))
def test_each_row_has_the_first_of_its_equals(seed: int, count: int, width: int) -> None:
    rows, bits = draw_rows(seed, count, width), np.random.default_rng(seed).integers(2, size=count, dtype=np.uint64)
    assert find_equal_rows(rows).tolist() == list_first(rows)
    assert find_equal_rows(bits, rows).tolist() == list_first(bits, rows)


@given(st.integers(0, 2**32), st.integers(0, 40), st.integers(1, 3))
def test_rows_with_one_hash_are_told_apart(seed: int, count: int, hashes: int) -> None:
    def hash_badly(columns: list[NDArray[np.uint64]]) -> NDArray[np.uint64]:
        return columns[0][:, 0] % np.uint64(hashes) << np.uint64(60)

    rows = draw_rows(seed, count, 8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(equal_rows, "_hash_rows", hash_badly)
        assert find_equal_rows(rows).tolist() == list_first(rows)


def test_hashes_may_be_fields_of_a_record() -> None:
    records = np.zeros(3, np.dtype([("sha256", "S32"), ("bits", np.uint64)]))
    records["sha256"] = [b"one", b"other", b"one"]
    assert find_equal_rows(records["sha256"]).tolist() == [0, 1, 0]


def test_mixing_loses_nothing_and_spreads_any_bit() -> None:
    single = np.uint64(1) << np.arange(64, dtype=np.uint64)
    values = np.unique(np.concatenate([single, single ^ np.uint64(3), np.arange(1000, dtype=np.uint64)]))
    assert len(np.unique(mix_bits(values) >> np.uint64(33))) == len(values)
