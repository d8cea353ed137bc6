"""Decoding members of WebDataset shards: a closed list of types, arrays of one form stacked, functions of the user."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import soundfile

from shardwright import Field, FormatError, ShardDataset
from shardwright.webdataset.decode import Sound
from tests.support.webdataset_tars import (
    Sample,
    is_equal,
    make_audio,
    make_image,
    make_mixed,
    make_npy,
    rotate_jpeg,
    rotate_png,
    rotate_webp,
    user_cache,
    write_shards,
)

__all__ = ["user_cache"]

OPEN = ShardDataset.from_webdataset


def decode_by_opencv(data: bytes) -> Any:
    """RGB from OpenCV's BGR."""
    pixels: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return pixels[..., ::-1]


def test_members_are_decoded_by_a_closed_list(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    samples = make_mixed(7, rng)
    with OPEN(write_shards(tmp_path / "set", [samples[:3], samples[3:]])) as data:
        assert data.names == ("cls", "flac", "jpg", "json", "npy", "png", "pth", "txt")
        assert dict(data.fields) == {
            "cls": Field("int64", ()),
            "npy": Field("float32", (2, 3)),
            "png": Field("uint8", (12, 16, 3), "HWC"),
        }
        batch = data.gather([6, 0, 0, 3])
        for at, row in enumerate([6, 0, 0, 3]):
            members = samples[row][1]
            assert batch["cls"][at] == row % 3
            assert is_equal(batch["npy"][at], np.full((2, 3), row, np.float32))
            for name in ("jpg", "png"):
                assert is_equal(batch[name][at], decode_by_opencv(members[name]))
            wave, rate = soundfile.read(io.BytesIO(members["flac"]), dtype="float32", always_2d=True)
            assert is_equal(batch["flac"][at], Sound(wave, rate))
            assert batch["json"][at] == data.meta(row) == {"n": row}
            assert batch["pth"][at] == members["pth"]
            assert batch["txt"][at] == members["txt"].decode()


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_images_of_one_size_are_one_array(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(0)
    images = [make_image(rng, (20, 30), suffix) for _ in range(3)]
    with OPEN(write_shards(tmp_path / "a", [[(f"{n}", {suffix[1:]: p}) for n, p in enumerate(images)]])) as data:
        batch = data.gather([2, 0])[suffix[1:]]
        assert batch.shape == (2, 20, 30, 3)
        assert is_equal(batch[0], decode_by_opencv(images[2]))
    images[1] = make_image(rng, (20, 31), suffix)
    with OPEN(write_shards(tmp_path / "b", [[(f"{n}", {suffix[1:]: p})] for n, p in enumerate(images)])) as data:
        assert not data.fields
        assert [image.shape for image in data.gather([0, 1])[suffix[1:]]] == [(20, 30, 3), (20, 31, 3)]


ROTATED: dict[str, Callable[[bytes], bytes]] = {
    "jpg": lambda data: rotate_jpeg(data, 6),
    "png": lambda data: rotate_png(data, 6, b"IDAT"),
    "png, last": lambda data: rotate_png(data, 6, b"IEND"),
    "webp": lambda data: rotate_webp(data, (20, 30), 6),
}


@pytest.mark.parametrize("kind", ROTATED)
def test_images_that_may_be_rotated_are_a_list(tmp_path: Path, kind: str) -> None:
    suffix = kind.split(",")[0]
    plain = make_image(np.random.default_rng(0), (20, 30), f".{suffix}")
    rotated = ROTATED[kind](plain)
    with OPEN(write_shards(tmp_path / "a", [[("0", {suffix: plain}), ("1", {suffix: rotated})]])) as data:
        assert [image.shape for image in data.gather([0, 1])[suffix]] == [(20, 30, 3), (30, 20, 3)]


def test_square_images_are_one_array_rotated_or_not(tmp_path: Path) -> None:
    square = [rotate_jpeg(make_image(np.random.default_rng(0), (20, 20), ".jpg"), turn) for turn in (1, 6)]
    with OPEN(write_shards(tmp_path / "b", [[(f"{n}", {"jpg": p}) for n, p in enumerate(square)]])) as data:
        assert is_equal(data.gather([0, 1])["jpg"], np.stack([decode_by_opencv(image) for image in square]))


ARRAYS: dict[str, Callable[[int], bytes]] = {
    "plain": lambda n: make_npy(np.arange(6, dtype=np.int16).reshape(2, 3) + n),
    "scalar": lambda n: make_npy(np.float64(n)),
    "bool": lambda n: make_npy(np.array([n % 2 == 0, True])),
    "fortran": lambda n: make_npy(np.asfortranarray(np.arange(24.0).reshape(2, 3, 4) + n)),
    "big_endian": lambda n: make_npy(np.arange(5, dtype=">f4") + n),
    "old_header": lambda n: (
        b"\x93NUMPY\1\0\x46\0"
        + b"{'descr': '<i4', 'fortran_order': False, 'shape': (2,)}".ljust(69)
        + b"\n"
        + np.array([n, -n], "<i4").tobytes()
    ),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_of_one_form_are_one_array(tmp_path: Path, kind: str) -> None:
    members = [ARRAYS[kind](n) for n in range(5)]
    expected = [np.load(io.BytesIO(member)) for member in members]
    with OPEN(write_shards(tmp_path / "a", [[(f"{n}", {"npy": m})] for n, m in enumerate(members)])) as data:
        assert data.fields["npy"].shape == expected[0].shape
        for _ in range(2):
            batch = data.gather([4, 1, 1])["npy"]
            assert isinstance(batch, np.ndarray)
            assert batch.flags.c_contiguous
            assert batch.dtype.isnative
            np.testing.assert_array_equal(batch, np.stack([expected[4], expected[1], expected[1]]))


@pytest.mark.parametrize(
    "odd", [np.zeros((2, 4), np.int16), np.zeros((2, 3), np.int32), np.zeros((0, 3), np.int16), np.zeros(2, "c8")]
)
def test_arrays_that_differ_are_a_list(tmp_path: Path, odd: Any) -> None:
    members = [make_npy(np.zeros((2, 3), np.int16)), make_npy(odd)]
    with OPEN(write_shards(tmp_path / "a", [[(f"{n}", {"npy": m})] for n, m in enumerate(members)])) as data:
        assert not data.fields
        batch = data.gather([1, 0])["npy"]
        assert is_equal(batch[0], odd)
        assert batch[1].shape == (2, 3)
        batch[0][...] = 1  # the memory is not shared


def test_functions_of_the_user(tmp_path: Path) -> None:
    samples: list[Sample] = [(f"{n}", {"left.npy": b"abc", "npy": make_npy(np.int8(n)), "txt": b"x"}) for n in range(3)]
    folder = write_shards(tmp_path / "a", [samples])
    with OPEN(folder, decode={"left.npy": len, "txt": bytes.upper}) as data:
        batch = data.gather([0, 2])
        assert (batch["left.npy"], batch["txt"], batch["npy"].tolist()) == ([3, 3], [b"X", b"X"], [0, 2])
    with OPEN(folder, decode={"npy": len}) as data:
        assert data.gather([0])["npy"] == [len(samples[0][1]["npy"])]
    with OPEN(folder, decode={"txt": int}, members=["txt"]) as data:
        with pytest.raises(ValueError, match="invalid literal") as error:
            data[1]
        assert "shard-000.tar: sample '1', txt at byte" in error.value.__notes__[0]
    for decode, found in [({"jpg": len}, "must be a suffix"), ("rgb8", "it must be"), ({"txt": 3}, "it must be")]:
        with pytest.raises(FormatError, match=found):
            OPEN(folder, decode=decode)  # type: ignore[arg-type]


def test_suffixes_in_other_spellings_and_content_of_another_type(tmp_path: Path) -> None:
    members = {"wav": make_audio(), "ogg": make_audio(format="OGG"), "JPEG": make_image(np.random.default_rng(0))}
    with OPEN(write_shards(tmp_path / "a", [[("a", members)]])) as data:
        sample = data[0]
        assert sample["wav"].samples.shape == sample["ogg"].samples.shape == (400, 2)
        assert sample["wav"].rate == 8000
        assert sample["jpeg"].shape == (12, 16, 3)  # a PNG named as a JPEG, which is common
