"""Collating samples and merging batches: what becomes an array, what a list, and what is refused."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shardwright import FormatError
from shardwright.datasets.collate import collate, merge

NUMBERS: dict[str, tuple[list[Any], Any]] = {
    "bool": ([True, False], np.bool_),
    "int": ([1, -(2**63)], np.int64),
    "float": ([0.5, 1.0], np.float64),
    "float32": ([np.float32(0.1), np.float32(2)], np.float32),
    "scalar and float": ([np.float64(1), 2.0], np.float64),
    "scalar and array": ([np.uint16(1), np.array(2, np.uint16)], np.uint16),
    "big-endian": ([np.zeros(3, ">f4"), np.ones(3, "<f4")], np.float32),
    "complex": ([1j * np.ones(2), np.zeros(2, complex)], np.complex128),
    "empty": ([np.zeros((0, 3)), np.zeros((0, 3))], np.float64),
}
LISTS: dict[str, list[Any]] = {
    "text": ["a", "b"],
    "bytes": [b"a", b""],
    "None and text": [None, "b"],
    "dicts": [{"a": 1}, {}],
    "lists of arrays": [[np.zeros(2)], [np.zeros(3)]],
    "text arrays": [np.array(["a"]), np.array(["bb", "c"])],
    "objects": [np.array([None]), np.array([None, 1])],
    "complex numbers": [1j, 2j],
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_and_arrays_become_one_array(name: str) -> None:
    values, dtype = NUMBERS[name]
    batch = collate([{"key": str(n), "x": value} for n, value in enumerate(values)])
    assert (list(batch), batch["key"]) == (["key", "x"], ["0", "1"])
    assert batch["x"].dtype == dtype
    assert batch["x"].dtype.isnative
    np.testing.assert_array_equal(batch["x"], np.stack([np.asarray(value) for value in values]))
    if all(type(value) in (bool, int, float) for value in values):
        collated = torch.utils.data.default_collate(values)
        assert collated.dtype == torch.from_numpy(batch["x"]).dtype


@pytest.mark.parametrize("name", LISTS)
def test_other_values_become_a_list(name: str) -> None:
    batch = collate([{"x": value} for value in LISTS[name]])
    assert type(batch["x"]) is list
    assert all(found is value for found, value in zip(batch["x"], LISTS[name], strict=True))


def test_tensors_are_stacked() -> None:
    batch = collate([{"x": torch.ones(2, dtype=torch.bfloat16)}, {"x": torch.zeros(2, dtype=torch.bfloat16)}])
    assert torch.equal(batch["x"], torch.tensor([[1, 1], [0, 0]], dtype=torch.bfloat16))


INCOMPATIBLE: dict[str, tuple[Any, Any, str]] = {
    "shapes": (np.zeros((2, 3)), np.zeros((3, 2)), r"\(2, 3\).*\(3, 2\).*pad"),
    "dtypes": (np.zeros(2, np.float32), np.zeros(2), "float32.*float64"),
    "int and float": (1, 0.5, "int64.*float64"),
    "bool and int": (True, 1, "bool.*int64"),
    "array and text": (np.zeros(2), "b", "float64.*neither"),
    "array and None": (None, np.zeros(2), "neither.*float64"),
    "array and tensor": (np.zeros(2), torch.zeros(2, dtype=torch.float64), "array.*tensor"),
    "tensors": (torch.zeros(2), torch.zeros(3), r"\(2,\).*\(3,\)"),
}


@pytest.mark.parametrize("case", INCOMPATIBLE)
def test_incompatible_values(case: str) -> None:
    first, second, match = INCOMPATIBLE[case]
    for values in ([first, first, second], [second, first]):
        with pytest.raises(FormatError, match=match if values[0] is first else "'x'") as caught:
            collate([{"key": f"key-{n}", "x": value} for n, value in enumerate(values)])
        assert f"key-{len(values) - 1}" in str(caught.value)


def test_different_names() -> None:
    whole: dict[str, Any] = {"key": "a", "x": 1}
    for samples in ([whole, {"key": "b"}], [{"key": "b"}, whole]):
        with pytest.raises(FormatError, match="'a' has 'x' and sample 'b' lacks it"):
            collate(samples)
    with pytest.raises(FormatError, match=r"'x' of sample 'a'.*int64"):
        collate([{"key": "a", "x": 2**63}])
    assert collate([]) == {}


@given(st.permutations(range(12)), st.sets(st.integers(1, 11)), st.booleans())
def test_merging_restores_a_divided_batch(order: list[int], cuts: set[int], pooled: bool) -> None:
    samples: list[dict[str, Any]] = [
        {"key": str(n), "x": np.full((2, 3), n), "t": torch.tensor(n), "y": {"n": n}, "e": np.zeros(0)}
        for n in range(12)
    ]
    parts = [order[a:b] for a, b in pairwise([0, *sorted(cuts), 12])]
    batches = [(np.array(part), collate([samples[n] for n in part])) for part in parts]
    buffers: list[Any] = []

    def allocate(rows: int, size: int) -> Any:
        buffers.append(np.empty((rows, size), np.uint8))
        return buffers[-1] if pooled else None

    whole = merge(batches, 12, allocate) if len(parts) > 1 else collate(samples, allocate)
    assert list(whole) == ["key", "x", "t", "y", "e"]
    assert (whole["key"], whole["y"]) == ([str(n) for n in range(12)], [{"n": n} for n in range(12)])
    np.testing.assert_array_equal(whole["x"], np.stack([sample["x"] for sample in samples]))
    assert torch.equal(whole["t"], torch.arange(12))
    assert whole["e"].shape == (12, 0)
    assert [memory.shape for memory in buffers] == [(12, 48)]
    assert not pooled or np.shares_memory(whole["x"], buffers[0])
