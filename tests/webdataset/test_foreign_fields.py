"""Members of foreign shards as values: by a closed list, arrays of one form as one, and by functions of the user."""

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
from tests.support.foreign_tars import (
    Sample,
    make_mixed,
    make_npy,
    make_picture,
    make_sound,
    same,
    turn_jpeg,
    turn_png,
    turn_webp,
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
        for place, row in enumerate([6, 0, 0, 3]):
            members = samples[row][1]
            assert batch["cls"][place] == row % 3
            assert same(batch["npy"][place], np.full((2, 3), row, np.float32))
            for name in ("jpg", "png"):
                assert same(batch[name][place], decode_by_opencv(members[name]))
            wave, rate = soundfile.read(io.BytesIO(members["flac"]), dtype="float32", always_2d=True)
            assert same(batch["flac"][place], Sound(wave, rate))
            assert batch["json"][place] == data.meta(row) == {"n": row}
            assert batch["pth"][place] == members["pth"]
            assert batch["txt"][place] == members["txt"].decode()


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_pictures_of_one_size_are_one_array(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(0)
    pictures = [make_picture(rng, (20, 30), suffix) for _ in range(3)]
    with OPEN(write_shards(tmp_path / "a", [[(f"{n}", {suffix[1:]: p}) for n, p in enumerate(pictures)]])) as data:
        batch = data.gather([2, 0])[suffix[1:]]
        assert batch.shape == (2, 20, 30, 3)
        assert same(batch[0], decode_by_opencv(pictures[2]))
    pictures[1] = make_picture(rng, (20, 31), suffix)
    with OPEN(write_shards(tmp_path / "b", [[(f"{n}", {suffix[1:]: p})] for n, p in enumerate(pictures)])) as data:
        assert not data.fields
        assert [picture.shape for picture in data.gather([0, 1])[suffix[1:]]] == [(20, 30, 3), (20, 31, 3)]


TURNED: dict[str, Callable[[bytes], bytes]] = {
    "jpg": lambda data: turn_jpeg(data, 6),
    "png": lambda data: turn_png(data, 6, b"IDAT"),
    "png, last": lambda data: turn_png(data, 6, b"IEND"),
    "webp": lambda data: turn_webp(data, (20, 30), 6),
}


@pytest.mark.parametrize("kind", TURNED)
def test_pictures_that_may_be_turned_are_a_list(tmp_path: Path, kind: str) -> None:
    suffix = kind.split(",")[0]
    plain = make_picture(np.random.default_rng(0), (20, 30), f".{suffix}")
    turned = TURNED[kind](plain)
    with OPEN(write_shards(tmp_path / "a", [[("0", {suffix: plain}), ("1", {suffix: turned})]])) as data:
        assert [picture.shape for picture in data.gather([0, 1])[suffix]] == [(20, 30, 3), (30, 20, 3)]


def test_square_pictures_are_one_array_turned_or_not(tmp_path: Path) -> None:
    square = [turn_jpeg(make_picture(np.random.default_rng(0), (20, 20), ".jpg"), turn) for turn in (1, 6)]
    with OPEN(write_shards(tmp_path / "b", [[(f"{n}", {"jpg": p}) for n, p in enumerate(square)]])) as data:
        assert same(data.gather([0, 1])["jpg"], np.stack([decode_by_opencv(picture) for picture in square]))


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
    wanted = [np.load(io.BytesIO(member)) for member in members]
    with OPEN(write_shards(tmp_path / "a", [[(f"{n}", {"npy": m})] for n, m in enumerate(members)])) as data:
        assert data.fields["npy"].shape == wanted[0].shape
        for _ in range(2):
            batch = data.gather([4, 1, 1])["npy"]
            assert isinstance(batch, np.ndarray)
            assert batch.flags.c_contiguous
            assert batch.dtype.isnative
            np.testing.assert_array_equal(batch, np.stack([wanted[4], wanted[1], wanted[1]]))


@pytest.mark.parametrize(
    "odd", [np.zeros((2, 4), np.int16), np.zeros((2, 3), np.int32), np.zeros((0, 3), np.int16), np.zeros(2, "c8")]
)
def test_arrays_that_differ_are_a_list(tmp_path: Path, odd: Any) -> None:
    members = [make_npy(np.zeros((2, 3), np.int16)), make_npy(odd)]
    with OPEN(write_shards(tmp_path / "a", [[(f"{n}", {"npy": m})] for n, m in enumerate(members)])) as data:
        assert not data.fields
        batch = data.gather([1, 0])["npy"]
        assert same(batch[0], odd)
        assert batch[1].shape == (2, 3)
        batch[0][...] = 1  # memory of its own


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
    for decode, found in [({"jpg": len}, "no member has this suffix"), ("rgb8", "wanted"), ({"txt": 3}, "wanted")]:
        with pytest.raises(FormatError, match=found):
            OPEN(folder, decode=decode)  # type: ignore[arg-type]


def test_spellings_of_suffixes_and_what_the_bytes_are(tmp_path: Path) -> None:
    members = {"wav": make_sound(), "ogg": make_sound(format="OGG"), "JPEG": make_picture(np.random.default_rng(0))}
    with OPEN(write_shards(tmp_path / "a", [[("a", members)]])) as data:
        sample = data[0]
        assert sample["wav"].samples.shape == sample["ogg"].samples.shape == (400, 2)
        assert sample["wav"].rate == 8000
        assert sample["jpeg"].shape == (12, 16, 3)  # a PNG under the name of a JPEG, as there are many
