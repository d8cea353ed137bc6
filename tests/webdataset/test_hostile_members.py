"""Hostile members: nothing is unpickled or executed, and what is decoded is within the limits."""

import io
import json
import pickle
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardwright import DamageError, ShardDataset
from shardwright.format.image_header import read_image_size
from shardwright.webdataset.decode import decode_audio, decode_image, decode_integer, decode_json_value, decode_text
from shardwright.webdataset.npy import decode_npy
from tests.support.webdataset_tars import (
    make_audio,
    make_image,
    make_npy,
    measure_peak,
    rotate_jpeg,
    user_cache,
    write_shards,
)

__all__ = ["user_cache"]

OPEN = ShardDataset.from_webdataset


class Trap:
    """An object that creates a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.mkdir, (self.path,)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    trap = pickle.dumps(Trap(tmp_path / "sprung"))
    pickle.loads(trap)
    (tmp_path / "sprung").rmdir()
    objects = make_npy(np.array([Trap(tmp_path / "sprung")], object), allow_pickle=True)
    members = dict.fromkeys(("pkl", "pickle", "pyd", "pth", "pt", "ten", "tb", "mp", "msg", "cbor"), trap)
    members |= {"py": b"raise SystemExit", "yaml": b"!!python/object/apply:os.system ['true']", "pkl.gz": trap}
    with OPEN(write_shards(tmp_path / "a", [[("a", members)]])) as data:
        assert data[0] == {"key": "a"} | members
    for name, content in [
        ("npy", objects),
        ("npy", trap),
        ("npz", trap),
        ("json", trap),
        ("cls", trap),
        ("jpg", trap),
        ("wav", trap),
    ]:
        folder = write_shards(tmp_path / f"{name}-{len(content)}", [[("a", {name: content})]])
        with OPEN(folder) as data, pytest.raises(DamageError, match=f"sample 'a', {name} at byte 512: "):
            data[0]
    assert not (tmp_path / "sprung").exists()


def make_png_header(width: int, height: int) -> bytes:
    """A PNG of one colour and any size: its pixels are compressed to a few bytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = zlib.compress(bytes(min(width, 1000) + 1) * 10)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def stretch_jpeg(width: int, height: int) -> bytes:
    data = bytearray(make_image(np.random.default_rng(0), (8, 8), ".jpg"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def stretch_webp(width: int, height: int) -> bytes:
    data = bytearray(make_image(np.random.default_rng(0), (8, 8), ".webp"))
    assert bytes(data[12:16]) in (b"VP8 ", b"VP8L")
    if data[15] == ord("L"):
        data[21:25] = struct.pack("<I", (width - 1) | (height - 1) << 14)
    else:
        data[26:30] = struct.pack("<HH", width, height)
    return bytes(data)


BOMBS: dict[str, tuple[str, bytes, str]] = {
    "png": ("png", make_png_header(30_000, 30_000), "30000 × 30000 pixels; Limits.pixels allows 100000000"),
    "jpg": ("jpg", stretch_jpeg(65_000, 65_000), "65000 × 65000 pixels"),
    "webp": ("webp", stretch_webp(16_000, 16_000), "16000 × 16000 pixels"),
    "png as jpg": ("jpg", make_png_header(2**31 - 1, 2**31 - 1), "2147483647 × 2147483647 pixels"),
    "npy": (
        "npy",
        b"\x93NUMPY\1\0\x76\0" + b"{'descr':'<f8','fortran_order':False,'shape':(10**9,10**9)}".ljust(117) + b"\n",
        "NPY header",
    ),
    "npy of many": (
        "npy",
        b"\x93NUMPY\1\0\x76\0" + b"{'descr':'<f8','fortran_order':False,'shape':(9999999999,)}".ljust(117) + b"\n",
        "0 bytes of values; its header declares 79999999992",
    ),
    "npy of wide values": (
        "npy",
        b"\x93NUMPY\1\0\x76\0" + b"{'descr':'|V2000000000','fortran_order':False,'shape':()}".ljust(117) + b"\n",
        "0 bytes of values; its header declares 2000000000",
    ),
    "npy of nothing": (
        "npy",
        b"\x93NUMPY\1\0\x76\0" + b"{'descr':'|V0','fortran_order':False,'shape':(9999999999,)}".ljust(117) + b"\n",
        "whose values have no bytes",
    ),
    "npy nested": ("npy", b"\x93NUMPY\1\0\x70\x17" + b"(" * 6000, "not a Python literal"),
    "npy header": ("npy", b"\x93NUMPY\2\0" + struct.pack("<I", 2**31) + b"{}", "its NPY header has 2147483648 bytes"),
    "json": ("json", b"[" * 10**6, "nested too deeply"),
    "json number": ("json", b"9" * 10**5, "limit"),
    "cls": ("cls", b"9" * 10**6, "it must be an integer of 64 bits"),
    "txt": ("txt", b"\xff\xfe", "utf-8"),
    "ogg": ("ogg", b"OggS" + bytes(100), "libsndfile cannot decode it"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_before_they_are_decoded(tmp_path: Path, name: str) -> None:
    suffix, content, found = BOMBS[name]
    folder = write_shards(
        tmp_path / "a", [[("a", {suffix: content, "bin": b""}), ("b", {suffix: content, "bin": b""})]]
    )
    with OPEN(folder) as data:

        def read() -> None:
            with pytest.raises(DamageError, match=f"sample 'b', {suffix} at byte .*{found}") as error:
                data[1]
            assert (error.value.sample, error.value.field) == ("b", suffix)

        assert measure_peak(read) < 40_000_000


def test_audio_that_is_too_long() -> None:
    data = make_audio(5000, 2, "FLAC")
    with pytest.raises(ValueError, match=r"5000 frames of 2 channels; Limits\.audio_values allows 9999 values"):
        decode_audio(data, 9999)
    assert len(decode_audio(data, 10_000).samples) == 5000


@pytest.mark.parametrize("format_", ["AIFF", "AU", "CAF", "MP3"])
def test_audio_of_other_formats(format_: str) -> None:
    with pytest.raises(ValueError, match="it must be WAV, FLAC or OGG"):
        decode_audio(make_audio(2000, 1, format_), 10**6)


@pytest.mark.parametrize("suffix", [".ppm", ".jp2"])
def test_images_of_other_formats(suffix: str) -> None:
    with pytest.raises(ValueError, match="not a JPEG, PNG, WebP, AVIF, GIF, BMP or TIFF file"):
        decode_image(make_image(np.random.default_rng(0), (64, 64), suffix), 10**6)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tiff", ".gif", ".avif"])
def test_images_that_are_cut_or_changed(suffix: str) -> None:
    """The size is the one that OpenCV reads from the header; everything else is a ValueError."""
    whole = make_image(np.random.default_rng(0), (40, 30), suffix)
    assert read_image_size(whole)[:2] == (40, 30)
    rng = np.random.default_rng(0)
    changed = [whole[:size] for size in range(0, len(whole), 7)]
    for _ in range(150):
        spoilt = bytearray(whole)
        spoilt[int(rng.integers(0, min(len(whole), 300)))] = int(rng.integers(0, 256))
        changed.append(bytes(spoilt))
    for data in changed:
        try:
            pixels = decode_image(data, 10**6)
        except ValueError:
            continue
        assert pixels.shape[:2] == read_image_size(data)[:2]


def test_a_rotated_image_has_the_size_that_opencv_gives_it() -> None:
    data = rotate_jpeg(make_image(np.random.default_rng(0), (40, 30), ".jpg"), 6)
    assert read_image_size(data)[:3] == (40, 30, True)
    assert decode_image(data, 10**6).shape == (30, 40, 3)


def test_opencv_reads_the_same_size_whatever_the_segments() -> None:
    """A second frame header, padding, a segment that contains another: only the first size counts."""
    plain = make_image(np.random.default_rng(0), (40, 30), ".jpg")
    frame = plain.index(b"\xff\xc0")
    small = b"\xff\xc0\x00\x11\x08\x00\x01\x00\x01" + plain[frame + 9 : frame + 19]
    hidden = b"\xff\xe5" + struct.pack(">H", 2 + len(small)) + small
    for data in (
        plain[:2] + small + plain[2:],
        plain[:2] + hidden + plain[2:],
        plain[:2] + b"\xff" * 9 + plain[3:],
        plain[:2] + b"\0" * 9 + plain[2:],
        plain[:2] + b"\xff\x00\xff" + plain[3:],
        plain[:2] + b"\xff\xe5\x00\x00" + plain[2:],
        plain[:2] + b"\xff\xd0" + plain[2:],
    ):
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if pixels is not None:
            assert read_image_size(data)[:2] == pixels.shape[:2]


@settings(max_examples=200)
@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"RIFF1234WEBPVP8 "]),
)
def test_any_bytes_are_a_value_or_one_kind_of_error(content: bytes, start: bytes) -> None:
    decoders: Sequence[Callable[[bytes], Any]] = [
        lambda data: decode_image(data, 10**6),
        lambda data: decode_audio(data, 10**6),
        decode_npy,
        decode_integer,
        decode_json_value,
        decode_text,
    ]
    for decode in decoders:
        for data in (start + content, b"\x93NUMPY\1\0\x40\0" + content):
            try:
                decode(data)
            except ValueError:
                continue


@pytest.mark.parametrize("text", [b"7", b" 7\n", b"+7", b"-9223372036854775808", b"007"])
def test_integers(text: bytes) -> None:
    assert decode_integer(text) == int(text)


@pytest.mark.parametrize("text", [b"", b"7.0", b"1_000", b"9223372036854775808", "٣".encode(), b"0x7", b"7 7", b"dog"])
def test_text_that_is_not_an_integer(text: bytes) -> None:
    with pytest.raises(ValueError, match="must be an integer"):
        decode_integer(text)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((3, 4), np.float32),
        np.float64(1),
        np.zeros((0, 2), np.int8),
        np.asfortranarray(np.ones((3, 4))),
        np.zeros(3, ">i2"),
        np.array([True]),
        np.array(["é", "bc"]),
        np.array([b"a"]),
        np.zeros(2, [("x", "<f4"), ("y", "<i8", (2,))]),
        np.array(["2020-01-01"], "M8[D]"),
    ],
)
def test_arrays_are_read_as_numpy_reads_them(array: Any) -> None:
    found, expected = decode_npy(make_npy(array)), np.load(io.BytesIO(make_npy(array)))
    assert found.dtype == expected.dtype.newbyteorder("=")
    np.testing.assert_array_equal(found, expected)
    assert found.flags.writeable


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("{'descr': '<i2', 'fortran_order': False, 'shape': (2L,), }", (2,)),
        ("{'descr': '<i2', 'fortran_order': False, 'shape': (1, 2)}", (1, 2)),
        ('{"shape": (2,), "descr": "<i2", "fortran_order": False}', (2,)),
        ("{'descr':'<i2','fortran_order':True,'shape':(2,1,),}\n", (2, 1)),
        ("{'descr': '<i2', 'fortran_order': False, 'shape': (2)}", "the shape 2"),
        ("{'descr': '<i2', 'fortran_order': False, 'shape': (2, -1)}", "the shape"),
        ("{'descr': '<i2', 'fortran_order': False, 'shape': (True, 2)}", "the shape"),
        ("{'descr': '<i2', 'fortran_order': 0, 'shape': (2,)}", "fortran_order 0"),
        ("{'descr': '<i2', 'fortran_order': False, 'shape': (2,), 'more': 1}", "must have exactly"),
        ("{'descr': '<q9', 'fortran_order': False, 'shape': (2,)}", "the unknown dtype '<q9'"),
        ("{'descr': [('a', 'O')], 'fortran_order': False, 'shape': (2,)}", "Python objects"),
        ("__import__('os').system('true')", "not a Python literal"),
        ("[]", "must have exactly"),
    ],
)
def test_npy_headers_of_other_writers(text: str, shape: Any) -> None:
    data = b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode() + b"\1\0\2\0"
    if isinstance(shape, str):
        with pytest.raises(ValueError, match=shape):
            decode_npy(data)
    else:
        assert decode_npy(data).shape == shape


def test_json_as_python_writes_it() -> None:
    value = {"a": float("inf"), "b": [1, "é"]}
    assert decode_json_value(json.dumps(value).encode()) == value


def test_a_decoder_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(ModuleNotFoundError, match="pip install opencv-python-headless"):
        decode_image(b"", 1)
