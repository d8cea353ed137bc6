"""Animated GIF and WebP as videos: all frames, drawn as others draw them, by the times at which they are shown."""

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from pipeline.formats.format_errors import FormatFault, Truncated
from pipeline.formats.image.animated import is_animated
from pipeline.formats.type_names import GIF, WEBP
from pipeline.formats.video.header import VideoHeader
from pipeline.ingest.read_contents import read_contents
from pipeline.ingest.sources.source import ListedFile
from pipeline.modalities.modality import Checked, MediaItem
from pipeline.modalities.video.animation import draw_frames
from pipeline.modalities.video.check import check_video
from pipeline.modalities.video.features import extract_video
from pipeline.modalities.video.formats import FORMATS, PARSERS
from pipeline.modalities.video.params import VideoFeatures
from pipeline.modalities.video.rules import VideoCheck
from pipeline.modalities.video.times import read_times
from pipeline.tables.drops import Reason, Rejection
from tests.support.factory_animations import (
    compose_with_ffmpeg,
    compose_with_pillow,
    encode_animation,
    encode_rgba_gif,
    make_dirty_gif,
)
from tests.support.factory_media import SECRET
from tests.support.factory_video import HEIGHT, WIDTH
from tests.support.ingesting import make_params

TYPES = {GIF: "GIF", WEBP: "WEBP"}
COLOURS = [(200, 40, 90), (10, 220, 30), (0, 90, 250), (250, 250, 10), (120, 0, 120)]
FLAT = [np.full((HEIGHT, WIDTH, 3), colour, np.uint8) for colour in COLOURS]


def encode(media_type: str, delays: list[int]) -> bytes:
    return encode_animation(FLAT[: len(delays)], TYPES[media_type], delays)


def check(data: bytes, media_type: str, **limits: Any) -> Checked | Rejection:
    return check_video(data, media_type, VideoCheck.model_validate({"max_pixels": 100_000, **limits}))


def extract(data: bytes, media_type: str, frames: int, span: tuple[float, float | None] = (0.0, None)) -> list[int]:
    """The numbers of the frames that are taken."""
    params = VideoFeatures(frames=frames, height=HEIGHT, width=WIDTH)
    arrays = extract_video(MediaItem(data, media_type, start=span[0], end=span[1]), params, None)
    assert not isinstance(arrays, Rejection)
    assert int(arrays["video_mfcc_length"]) == 0
    colours = arrays["video"][:, HEIGHT // 2, WIDTH // 2].astype(int)
    return [int(np.abs(np.array(COLOURS) - colour).sum(1).argmin()) for colour in colours]


def draw_all(data: bytes, media_type: str) -> list[NDArray[np.uint8]]:
    """All frames, RGBA, zeros where they are transparent."""
    header, walk = PARSERS[media_type].read_header(data), FORMATS[media_type].walk_frames
    assert walk is not None
    return [blank(canvas[..., [2, 1, 0, 3]]) for canvas in draw_frames(walk(data), (header.height, header.width))]


def blank(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.where(pixels[..., 3:] > 0, pixels, 0)


@pytest.mark.parametrize("media_type", TYPES)
def test_frames_are_taken_by_the_times_at_which_they_are_shown(media_type: str) -> None:
    data = encode(media_type, [100, 500, 100, 100, 200])
    header = PARSERS[media_type].read_header(data)
    assert header == VideoHeader(WIDTH, HEIGHT, 5, header.seconds)
    assert header.seconds == pytest.approx(1.0)
    assert read_times(data, media_type) == pytest.approx([0, 0.1, 0.6, 0.7, 0.8])
    assert extract(data, media_type, 10) == [0, 1, 1, 1, 1, 1, 2, 3, 4, 4]
    assert extract(data, media_type, 2, (0.5, 0.75)) == [1, 2]


@pytest.mark.parametrize("media_type", TYPES)
def test_frames_without_a_delay_are_shown_as_browsers_show_them(media_type: str) -> None:
    assert read_times(encode(media_type, [0, 10, 20, 100, 0]), media_type) == pytest.approx([0, 0.1, 0.2, 0.22, 0.32])


@pytest.mark.parametrize("media_type", TYPES)
def test_an_animation_passes_its_check(media_type: str) -> None:
    data = encode(media_type, [100, 500, 100, 100, 200])
    checked = check(data, media_type)
    assert isinstance(checked, Checked)
    assert checked.facts == {"width": WIDTH, "height": HEIGHT, "frames": 5}
    for key, limit, reason in (("max_frames", 4, Reason.TOO_LONG), ("max_seconds", 0.9, Reason.TOO_LONG)):
        rejection = check(data, media_type, **{key: limit})
        assert isinstance(rejection, Rejection)
        assert rejection.reason is reason


def draw_transparent(seed: int) -> list[NDArray[np.uint8]]:
    draw = np.random.default_rng(seed)
    frames = []
    for _ in range(5):
        frame = np.zeros((24, 32, 4), np.uint8)
        frame[...] = (*draw.integers(0, 256, 3), 255 * draw.integers(0, 2))
        top, left = draw.integers(0, 16, 2)
        frame[top : top + 8, left : left + 8] = (*draw.integers(0, 256, 3), 255)
        frames.append(frame)
    return frames


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("disposal", [0, 1, 2, 3])
def test_gif_frames_are_laid_over_each_other_as_by_ffmpeg(seed: int, disposal: int) -> None:
    first, *others = draw_transparent(seed)
    draw = np.random.default_rng(seed)
    parts = [frame[: 6 + 3 * n, : 8 + 4 * n] for n, frame in enumerate(others)]
    places = [(int(draw.integers(0, 33 - part.shape[1])), int(draw.integers(0, 25 - part.shape[0]))) for part in parts]
    data = encode_rgba_gif([first, *parts], [(0, 0), *places], disposal)
    for ours, theirs in zip(draw_all(data, GIF), map(blank, compose_with_ffmpeg(data)), strict=True):
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("lossless", [True, False])
def test_webp_frames_are_blended_as_by_pillow(seed: int, lossless: bool) -> None:
    draw = np.random.default_rng(seed)
    frames = draw_transparent(seed)
    frames[2][4:12, 4:20, 3] = draw.integers(0, 256, (8, 16))
    data = encode_animation(frames, "WEBP", [100] * 5, lossless=lossless, quality=80)
    for ours, theirs in zip(draw_all(data, WEBP), map(blank, compose_with_pillow(data)), strict=True):
        assert np.abs(ours.astype(int) - theirs).max() <= (1 if lossless else 4)


@pytest.mark.parametrize("media_type", TYPES)
def test_stripping_keeps_all_frames(media_type: str) -> None:
    parser, data = PARSERS[media_type], encode(media_type, [100, 500, 100, 100, 200])
    if media_type == GIF:
        dirty = make_dirty_gif(data)
    else:
        dirty = encode_animation(FLAT, "WEBP", [100, 500, 100, 100, 200], exif=b"Exif\0\0" + SECRET, xmp=SECRET)
    clean = parser.strip_metadata(dirty)
    assert SECRET in dirty
    assert SECRET not in clean
    assert parser.read_header(clean) == parser.read_header(dirty)
    assert parser.strip_metadata(clean) is clean
    for ours, before in zip(draw_all(clean, media_type), draw_all(data, media_type), strict=True):
        assert np.array_equal(ours, before)


@pytest.mark.parametrize("media_type", TYPES)
def test_an_animation_cut_anywhere_is_truncated(media_type: str) -> None:
    parser = PARSERS[media_type]
    whole = parser.strip_metadata(encode(media_type, [100, 0, 50]))
    for end in range(0, len(whole), 3):
        with pytest.raises(Truncated):
            parser.check_whole(whole[:end])


@pytest.mark.parametrize("media_type", TYPES)
@settings(max_examples=30)
@given(st.data())
def test_damage_is_a_reason(media_type: str, data: st.DataObject) -> None:
    damaged = bytearray(encode(media_type, [100, 200, 100]))
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, len(damaged) - 1), st.integers(0, 255)), max_size=5)):
        damaged[at] = value
    verdict = check(bytes(damaged), media_type, max_pixels=10_000)
    if isinstance(verdict, Checked):
        params = VideoFeatures(frames=2, height=8, width=8)
        extract_video(MediaItem(verdict.data, media_type), params, None)
    else:
        assert verdict.detail


def test_a_frame_beyond_the_canvas_is_broken() -> None:
    frames = [FLAT[0], FLAT[1][:10, :10]]
    with pytest.raises(FormatFault, match="beyond the canvas"):
        PARSERS[GIF].check_whole(encode_rgba_gif(frames, [(0, 0), (WIDTH - 9, 0)], 0))


@pytest.mark.parametrize("media_type", TYPES)
def test_the_setting_says_what_an_animation_is(media_type: str) -> None:
    data, still = encode(media_type, [100, 100]), io.BytesIO()
    Image.fromarray(FLAT[0]).save(still, TYPES[media_type])
    for content, animations, modality in (
        (data, "image", "image"), (data, "video", "video"), (still.getvalue(), "video", "image"),
    ):  # fmt: skip
        (item,) = read_contents(
            content,
            ListedFile("folder", "a", 1, *[None] * (len(ListedFile._fields) - 3)),
            make_params(animations=animations),
        ).items
        assert (item.modality, item.media_type, item.whole) == (modality, media_type, True)
    assert not is_animated(data[: len(data) // 2], media_type)
    assert not is_animated(b"", media_type)
