"""Batches through shared memory: the same values, memory that is not written to while it is held, and none copied."""

import mmap
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shardwright.loading.shared_slots import SMALL_BYTES, SharedSlots, open_memory, pack_batch, unpack_batch

SIZE = 64 * SMALL_BYTES


@pytest.fixture
def slots() -> SharedSlots:
    with open_memory(3 * SIZE) as descriptor:
        return SharedSlots(descriptor, 3, SIZE)


def send(slots: SharedSlots, batch: dict[str, Any], number: int | None = 0) -> dict[str, Any]:
    memory = None if number is None else slots._slots[number].view()
    return unpack_batch(pack_batch(batch, slots.open_writer(number)), memory)


def lies_in(slots: SharedSlots, array: np.ndarray[Any, Any]) -> bool:
    return any(np.may_share_memory(array, slot) for slot in slots._slots)


@given(st.lists(st.integers(1, 3 * SMALL_BYTES), min_size=1, max_size=9), st.booleans())
def test_arrays_arrive_unchanged_in_the_slot_or_beside_it(sizes: list[int], with_slot: bool) -> None:
    """Also those that are small, or for which the slot has no room left."""
    size = 4 * mmap.ALLOCATIONGRANULARITY
    with open_memory(size) as descriptor:
        slots = SharedSlots(descriptor, 1, size)
    batch = {str(n): np.arange(size, dtype=np.uint8) for n, size in enumerate(sizes)}
    found = send(slots, batch, 0 if with_slot else None)
    assert list(found) == list(batch)
    room = size if with_slot else 0
    for name, values in batch.items():
        np.testing.assert_array_equal(found[name], values)
        assert found[name].flags.writeable
        expected = SMALL_BYTES <= len(values) <= room
        assert lies_in(slots, found[name]) == expected
        room -= len(values) + -len(values) % 64 if expected else 0


def test_what_was_read_into_the_slot_is_not_copied_again(slots: SharedSlots) -> None:
    writer = slots.open_writer(1)
    memory = writer.allocate(8, SMALL_BYTES)
    assert memory is not None
    memory[:] = 7
    parcel = pack_batch({"a": memory.view(np.float32).reshape(8, -1)}, writer)
    assert parcel.spans == ((0, 8 * SMALL_BYTES),)
    assert len(parcel.content) < 500
    memory[:] = 8
    found = unpack_batch(parcel, slots._slots[1].view())["a"]
    assert (found.view(np.uint8) == 8).all()


def test_all_kinds_of_values_arrive(slots: SharedSlots) -> None:
    large = 2 * SMALL_BYTES
    batch: dict[str, Any] = {
        "key": ["é", "b"],
        "transposed": np.arange(large).reshape(2, -1).T,
        "structured": np.zeros(large, [("a", "<i4"), ("b", "<f8")]),
        "half": torch.arange(large).to(torch.bfloat16).reshape(2, -1),
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 3, dtype=torch.complex64),
        "ragged": [np.arange(large), torch.arange(large), b"x" * 9, None],
        "objects": np.array([{}, []], dtype=object),
    }
    found = send(slots, batch)
    assert list(found) == list(batch)
    for name in ("transposed", "structured", "objects"):
        assert found[name].dtype == batch[name].dtype
        np.testing.assert_array_equal(found[name], batch[name])
    for name in ("half", "scalar", "empty"):
        assert found[name].dtype == batch[name].dtype
        assert torch.equal(found[name], batch[name])
    np.testing.assert_array_equal(found["ragged"][0], np.arange(large))
    assert torch.equal(found["ragged"][1], torch.arange(large))
    assert found["ragged"][2:] == [b"x" * 9, None]
    assert found["key"] == ["é", "b"]
    assert lies_in(slots, found["half"].view(torch.uint8).numpy())
    assert lies_in(slots, found["ragged"][0])


def keep_part(batch: dict[str, Any], part: str) -> Any:
    """Return what a user may keep of a batch."""
    match part:
        case "tensor":
            return torch.from_numpy(batch["a"])
        case "row":
            return batch["a"][2:3, 5:]
        case "storage":
            return torch.from_numpy(batch["a"])[1].untyped_storage()
        case "memoryview":
            return memoryview(batch["a"])
    return batch


@pytest.mark.parametrize("part", ["batch", "tensor", "row", "storage", "memoryview"])
def test_a_slot_is_held_as_long_as_anything_of_its_batch(slots: SharedSlots, part: str) -> None:
    number, memory = slots.acquire() or (None, None)
    assert number == 0
    batch = unpack_batch(pack_batch({"a": np.zeros((4, SMALL_BYTES))}, slots.open_writer(0)), memory)
    del memory
    held = keep_part(batch, part)
    del batch
    others = [slots.acquire(), slots.acquire()]
    assert [other and other[0] for other in others] == [1, 2]
    assert slots.acquire() is None
    del held
    again = slots.acquire()
    assert again is not None
    assert again[0] == 0
