"""NPZ members: the arrays that numpy.load gives, without pickle, and within the limits whatever the zip claims."""

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardwright import DamageError, ShardDataset
from shardwright.webdataset.npz import decode_npz
from tests.support.webdataset_tars import make_npy, make_npz, measure_peak, user_cache, write_shards

__all__ = ["user_cache"]

OPEN = ShardDataset.from_webdataset
MAX_BYTES = 1_000_000
ARRAYS: dict[str, Any] = {
    "image": np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
    "wide": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "scalar": np.float32(7),
    "empty": np.zeros((0, 3), np.int16),
    "names": np.array(["a", "é"]),
    "folder/with.dots": np.array([True, False]),
}


def make_zip(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as target:
        for name, content in files.items():
            target.writestr(name, content)
    return file.getvalue()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_those_of_numpy(save: Callable[..., None]) -> None:
    data = make_npz(save, **ARRAYS)
    found = decode_npz(data, MAX_BYTES)
    with np.load(io.BytesIO(data)) as expected:
        assert list(found) == list(expected)
        for name, array in found.items():
            np.testing.assert_array_equal(array, expected[name], strict=True)
            assert array.flags.writeable


def test_members_are_dicts_in_a_list(tmp_path: Path) -> None:
    samples = [(f"k{n}", {"npz": make_npz(boxes=np.full((n, 4), n)), "txt": b""}) for n in range(3)]
    with OPEN(write_shards(tmp_path / "set", [samples])) as data:
        assert [value["boxes"].shape for value in data.gather(range(3))["npz"]] == [(0, 4), (1, 4), (2, 4)]
        assert data.fields == {}


def overstate(data: bytes, size: int) -> bytes:
    """Declare another size of the content in the directory and the header of a zip of one file."""
    changed = bytearray(data)
    directory = data.index(b"PK\x01\x02")
    changed[22:26] = changed[directory + 24 : directory + 28] = struct.pack("<I", size)
    return bytes(changed)


def encrypt(data: bytes) -> bytes:
    changed = bytearray(data)
    directory = data.index(b"PK\x01\x02")
    changed[6] |= 1
    changed[directory + 8] |= 1
    return bytes(changed)


PLAIN = make_zip({"a.npy": make_npy(np.arange(100))}, zipfile.ZIP_DEFLATED)
HOSTILE: dict[str, tuple[bytes, str]] = {
    "objects": (make_npz(a=np.array([{}], object)), "array 'a.npy': it is an array of Python objects"),
    "too large": (make_npz(np.savez_compressed, a=np.zeros(300_000)), r"2400128 bytes; Limits.array_bytes allows 1000"),
    "too large together": (make_npz(np.savez, **{f"a{n}": np.zeros(99_000) for n in range(2)}), "Limits.array_bytes"),
    "a bomb that claims little": (overstate(make_zip({"a.npy": bytes(10**9)}, zipfile.ZIP_DEFLATED), 999), "damaged"),
    "a small file that claims much": (
        overstate(PLAIN, 999_999),
        "its zip declares 999999 bytes of 'a.npy', which has 928",
    ),
    "a file that claims more than all": (overstate(PLAIN, 2**32 - 2), "Limits.array_bytes"),
    "a header that claims much": (
        make_zip(
            {"a.npy": b"\x93NUMPY\1\0\x76\0" + b"{'descr':'<f8','fortran_order':False,'shape':(9**9,)}".ljust(118)}
        ),
        "array 'a.npy': its NPY header",
    ),
    "another file": (make_zip({"a.npy": make_npy(np.zeros(1)), "run.py": b"exit()"}), "contains 'run.py'"),
    "a method": (make_zip({"a.npy": make_npy(np.zeros(1))}, zipfile.ZIP_LZMA), "another method than numpy's"),
    "bzip2": (make_zip({"a.npy": make_npy(np.zeros(1))}, zipfile.ZIP_BZIP2), "another method than numpy's"),
    "encrypted": (encrypt(PLAIN), "is encrypted"),
    "cut": (PLAIN[:-1], "not an NPZ file"),
    "cut at its start": (PLAIN[1:], "negative seek|damaged"),
    "empty": (b"", "not an NPZ file"),
    "a comment": (PLAIN[:-2] + b"\1\0x", "not an NPZ file"),
    "a long directory": (PLAIN[:-10] + struct.pack("<I", 2**30) + PLAIN[-6:], "directory of more than 1048576 bytes"),
    "64 bits": (PLAIN[:-22] + b"PK\6\7" + bytes(16) + PLAIN[-22:], "one of 64 bits"),
    "an array of another kind": (make_zip({"a.npy": b"no array"}), "array 'a.npy': it is not an NPY file"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_in_little_memory(name: str) -> None:
    data, found = HOSTILE[name]

    def read() -> None:
        with pytest.raises(ValueError, match=found):
            decode_npz(data, MAX_BYTES)

    assert measure_peak(read) < 4 * MAX_BYTES


def test_a_name_twice() -> None:
    array = make_npy(np.zeros(1))
    twice = make_zip({"a.npy": array, "b.npy": array}).replace(b"b.npy", b"a.npy")
    with pytest.raises(ValueError, match=r"contains 'a\.npy' twice"):
        decode_npz(twice, MAX_BYTES)


@settings(max_examples=300)
@given(st.binary(max_size=60), st.integers(0, len(PLAIN)), st.integers(0, 60))
def test_any_bytes_are_arrays_or_one_kind_of_error(content: bytes, at: int, removed: int) -> None:
    for whole in (PLAIN, make_npz(**ARRAYS)):
        try:
            decode_npz(whole[:at] + content + whole[at + removed :], MAX_BYTES)
        except ValueError:
            continue


def test_every_bit_of_a_file() -> None:
    """Whatever bit is flipped: an error, or the array that was written, perhaps under another name."""
    expected = decode_npz(PLAIN, MAX_BYTES)["a"].tolist()
    for bit in range(8 * len(PLAIN)):
        changed = bytearray(PLAIN)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            (found,) = decode_npz(bytes(changed), MAX_BYTES).values()
        except ValueError:
            continue
        assert found.tolist() == expected


def test_damage_has_the_name_of_its_sample(tmp_path: Path) -> None:
    with (
        OPEN(write_shards(tmp_path / "set", [[("a", {"npz": PLAIN[:-1]})]])) as data,
        pytest.raises(DamageError, match="sample 'a', npz at byte 512: it is not an NPZ file") as error,
    ):
        data[0]
    assert error.value.field == "npz"
