"""Frames of videos: those that decoding everything would give, with one crop, and what damage does."""

import io
import random
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.stream import VideoStream
from numpy.typing import NDArray

from shardwright import DamageError, Loader, ShardDataset, ops
from shardwright.ops.container import open_container
from tests.support.factory_codecs import damage, decode_files
from tests.support.webdataset_tars import user_cache, write_shards

__all__ = ["user_cache"]

FPS, COUNT, HEIGHT, WIDTH = 20, 130, 48, 64
WHOLE = ops.Resize((HEIGHT, WIDTH))
FORMS: dict[str, tuple[str, str, dict[str, str]]] = {
    "h264": ("mp4", "libx264", {"g": "40", "bf": "3"}),
    "open-gop": ("mp4", "libx264", {"g": "40", "bf": "3", "x264-params": "open-gop=1:scenecut=0"}),
    "fragments": ("mp4", "libx264", {"g": "40"}),
    "live": ("matroska", "libx264", {"g": "40"}),
    "mpeg4": ("mp4", "mpeg4", {"g": "12"}),
    "mkv": ("matroska", "libx264", {"g": "40", "bf": "2"}),
    "vp8": ("webm", "libvpx", {"g": "40", "deadline": "realtime", "cpu-used": "8"}),
    "vp9": ("webm", "libvpx-vp9", {"g": "40", "deadline": "realtime", "cpu-used": "8"}),
}
"""Container, encoder and its options."""
MUXER = {"fragments": {"movflags": "frag_keyframe+empty_moov"}, "live": {"live": "1"}}
"""Options of the container; a live one knows neither its size nor its duration."""


def draw_frame(number: int) -> NDArray[np.uint8]:
    """Tells its number by a bar and a colour: uint8 (48, 64, 3), RGB."""
    frame = np.full((HEIGHT, WIDTH, 3), (number * 37 % 256, number * 11 % 256, 128), np.uint8)
    frame[:, number % WIDTH : number % WIDTH + 8] = 255
    return frame


@cache
def encode(form: str, count: int = COUNT, rotation: int = 0, uneven: bool = False) -> bytes:
    """A video of 20 frames a second; of one that is uneven, each third frame is missing."""
    container, codec, options = FORMS[form]
    file = io.BytesIO()
    with av.open(file, "w", format=container, options={"fflags": "+bitexact", **MUXER.get(form, {})}) as out:
        stream = out.add_stream(codec, rate=FPS, options=options)
        assert isinstance(stream, VideoStream)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        if rotation:
            stream.set_display_rotation(rotation)
        for number in range(count):
            if uneven and number % 3 == 2:
                continue
            frame = av.VideoFrame.from_ndarray(draw_frame(number), "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return file.getvalue()


def decode_all(data: bytes) -> list[tuple[float, NDArray[np.uint8]]]:
    """Every frame with its time in seconds, decoded from the beginning."""
    with open_container(data, "mov" if data[4:8] == b"ftyp" else "matroska") as file:
        return [(frame.time, frame.to_ndarray(format="rgb24")) for frame in file.decode(video=0)]


@pytest.mark.parametrize("uneven", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_frames_are_those_of_decoding_everything_and_choosing(form: str, uneven: bool) -> None:
    data = encode(form, uneven=uneven)
    whole = decode_all(data)
    times = np.array([time for time, _ in whole]) - whole[0][0]
    seconds = COUNT / FPS
    for draw, span, count in [(0.0, 0.5, 4), (0.43, 2.0, 8), (0.9999, 1.0, 3), (0.7, 0.01, 2), (0.5, 6.0, 2)]:
        found = decode_files(ops.Frames(count, span, WHOLE), [data], [[draw]])
        middles = draw * (seconds - span) + (np.arange(count) + 0.5) * span / count
        # Times in Matroska are rounded to milliseconds.
        allowed = [{int(np.searchsorted(times, t + off, "right")) - 1 for off in (-1e-3, 1e-9, 1e-3)} for t in middles]
        assert found["_valid"].all()
        for frame, numbers in zip(found[""][0], allowed, strict=True):
            assert any(np.array_equal(frame, whole[number][1]) for number in numbers)


@pytest.mark.parametrize("form", ["h264", "vp8"])
def test_a_short_clip_has_frames_that_are_not_valid(form: str) -> None:
    found = decode_files(ops.Frames(8, ops.CenterSpan(4.0), WHOLE), [encode(form, 40), encode(form)])
    assert found["_valid"].tolist() == [[True] * 4 + [False] * 4, [True] * 8]
    assert not found[""][0, 4:].any()
    assert found[""][0, :4].any(axis=(1, 2, 3)).all()
    spread = decode_files(ops.Frames(8, ops.Whole(60.0), WHOLE), [encode(form, 40)])
    assert spread["_valid"].all()
    whole = decode_all(encode(form, 40))
    assert np.array_equal(spread[""][0], np.array([whole[number][1] for number in range(2, 40, 5)]))


def test_all_frames_of_a_clip_have_one_crop_and_flip() -> None:
    data = encode("h264")
    operation = ops.Frames(3, ops.FirstSpan(1.0), ops.RandomResizedCrop((20, 24)), flip=0.5)
    draws = np.random.default_rng(0).random((2, operation.draws))
    draws[:, -1] = 0.2, 0.8
    draws[1, :-1] = draws[0, :-1]
    flipped, plain = decode_files(operation, [data, data], draws.tolist())[""]
    assert np.array_equal(flipped, plain[:, :, ::-1])
    whole = decode_all(data)
    still = ops.Image(operation.crop, scaled=False)
    row = np.empty((20, 24, 3), np.uint8)
    for frame, number in zip(plain, (3, 10, 16), strict=True):
        file = io.BytesIO()
        np.save(file, whole[number][1])
        still.decode_row(file.getvalue(), draws[1, : still.draws], row)
        assert np.array_equal(frame, row)


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_frames_are_upright(rotation: int) -> None:
    turned = encode("h264", 10, rotation)
    shape = (HEIGHT, WIDTH) if rotation == 180 else (WIDTH, HEIGHT)
    found = decode_files(ops.Frames(1, ops.FirstSpan(0.1), ops.Resize(shape)), [turned])[""]
    assert np.array_equal(found[0, 0], np.rot90(decode_all(turned)[1][1], rotation // 90))


def test_arguments_are_checked() -> None:
    assert ops.Frames(2, 1.0, WHOLE) == ops.Frames(2, ops.RandomSpan(1.0), WHOLE)
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: ops.Frames(0, 1.0, WHOLE), "count is 0; it must be a whole number from 1"),
        (lambda: ops.Frames(1, -1.0, WHOLE), "RandomSpan.seconds is -1.0"),
        (lambda: ops.Frames(1, 1.0, WHOLE, flip=2), "flip is 2; it must be a share"),
        (lambda: ops.Frames(1, 1.0, WHOLE, max_pixels=0), "max_pixels is 0"),
        (lambda: ops.Frames(1, 1.0, WHOLE, max_seconds=0), "max_seconds is 0"),
    ]
    for make, message in cases:
        with pytest.raises(ValueError, match=message):
            make()
    wrong: Any = 7
    with pytest.raises(TypeError, match="it must be a crop"):
        ops.Frames(1, 1.0, wrong)


@pytest.mark.parametrize("form", ["h264", "mkv"])
def test_what_is_too_large_or_no_video_is_refused(form: str) -> None:
    data = encode(form)
    for operation, message in [
        (ops.Frames(1, 1.0, WHOLE, max_pixels=3_000), "64 × 48 pixels; max_pixels allows 3000"),
        (ops.Frames(1, 1.0, WHOLE, max_seconds=6), "it has 6.5 s; max_seconds allows 6"),
    ]:
        with pytest.raises(ValueError, match=message):
            decode_files(operation, [data])
    with pytest.raises(ValueError, match="it must be an MP4, WebM or Matroska file"):
        decode_files(ops.Frames(1, 1.0, WHOLE), [b"no video"])
    with pytest.raises(ValueError, match=r"its (boxes need|segment needs)"):
        decode_files(ops.Frames(1, 1.0, WHOLE), [data[: len(data) * 2 // 3]])


def test_damage_names_the_file_and_a_loader_goes_on(tmp_path: Path) -> None:
    files = [encode("h264"), encode("mkv"), encode("vp8")[:9_000], encode("h264", 40)]
    write_shards(tmp_path / "set", [[(f"k{number}", {"mp4": file}) for number, file in enumerate(files)]])
    data = ShardDataset.from_webdataset(tmp_path / "set").decode(mp4=ops.Frames(4, 1.0, ops.CenterCrop(32)))
    assert data.names == ("mp4", "mp4_valid")
    with pytest.raises(DamageError, match="'k2', mp4 at byte"):
        data.gather(range(4))
    batch = next(iter(Loader(data, 4, shuffle=True, on_error="skip")))
    assert batch["mp4"].shape == (4, 4, 32, 32, 3)
    assert batch["mp4_valid"].shape == (4, 4)


def count_refused(form: str, mutants: int, seed: int) -> int:
    draw, refused = random.Random(seed), 0
    for _ in range(mutants):
        operation = ops.Frames(3, draw.choice([0.3, 3.0]), ops.Resize(16))
        try:
            found = decode_files(operation, [damage(encode(form), draw)], [[draw.random()]])
        except ValueError:
            refused += 1
        else:
            assert not found[""][~found["_valid"]].any()
    return refused


@pytest.mark.parametrize("form", FORMS)
def test_damaged_files_are_refused_or_decoded(form: str) -> None:
    assert 0 < count_refused(form, 30, 0) < 30


@pytest.mark.sweep
@pytest.mark.parametrize("form", FORMS)
def test_many_damaged_files_are_refused_or_decoded(form: str) -> None:
    assert 0 < count_refused(form, 2_000, 1) < 2_000
