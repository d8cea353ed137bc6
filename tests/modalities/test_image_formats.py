"""WebP, GIF, BMP, TIFF, AVIF and HEIC: what is kept and why others are dropped, and the pixels that are extracted."""

import io
import random
import struct
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.formats.image import heif
from pipeline.formats.media_type import find_media_type
from pipeline.formats.type_names import AVIF, BMP, GIF, HEIC, PNG, TIFF, WEBP
from pipeline.modalities.image.check import check_image
from pipeline.modalities.image.features import extract_image
from pipeline.modalities.image.formats import FORMATS, decode_image
from pipeline.modalities.image.params import ImageFeatures
from pipeline.modalities.image.pixels import blend_to_rgb
from pipeline.modalities.image.rules import ImageCheck
from pipeline.modalities.modality import Checked, MediaItem
from pipeline.tables.drops import Reason, Rejection
from tests.support.dirty_files import make_dirty_files
from tests.support.factory_heif import build_heif, encode_av1, encode_avif, encode_hevc, make_dirty_avif
from tests.support.factory_images import (
    add_tiff_tags,
    build_webp,
    encode_image,
    make_dirty_tiff,
    make_dirty_webp,
    make_riff_chunk,
)
from tests.support.factory_media import draw_scene, encode_png

CHECK = ImageCheck.model_validate({"max_pixels": 1_000_000})
SCENE = draw_scene()
ALPHA = np.dstack([SCENE, np.linspace(0, 255, 90 * 120, dtype=np.uint8).reshape(90, 120)])


def check(data: bytes, media_type: str = "") -> Checked:
    checked = check_image(data, media_type or find_media_type(data), CHECK)
    assert isinstance(checked, Checked), checked
    return checked


def reject(data: bytes, media_type: str) -> Reason:
    rejection = check_image(data, media_type, CHECK)
    assert isinstance(rejection, Rejection)
    return rejection.reason


def extract(data: bytes, media_type: str = "", **params: Any) -> NDArray[np.uint8]:
    """Upright RGB of 90 × 120 as it would be stored, of the file that clean keeps."""
    media_type = media_type or find_media_type(data)
    checked = check(data, media_type)
    item = MediaItem(checked.data, media_type, checked.facts["orientation"])
    arrays = extract_image(item, ImageFeatures(height=90, width=120, fit="stretch", **params), None)
    assert not isinstance(arrays, Rejection)
    assert isinstance(arrays["image"], np.ndarray)
    return arrays["image"]


def measure(ours: NDArray[Any], bgr: NDArray[Any]) -> float:
    """The largest difference from pixels in OpenCV's order."""
    return float(np.abs(ours.astype(float) - bgr[..., ::-1]).max())


@pytest.mark.parametrize(
    ("data", "off"),
    [
        (encode_image(SCENE, "webp", (cv2.IMWRITE_WEBP_QUALITY, 101)), 0),
        (encode_image(SCENE, "webp", (cv2.IMWRITE_WEBP_QUALITY, 95)), 4),
        (encode_image(SCENE, "gif"), 20),
        (encode_image(SCENE, "bmp"), 0),
        (encode_image(SCENE, "tiff"), 0),
        (encode_image(SCENE, "tiff", (cv2.IMWRITE_TIFF_COMPRESSION, 8)), 0),
        (encode_image(SCENE, "tiff", (cv2.IMWRITE_TIFF_COMPRESSION, 7, cv2.IMWRITE_TIFF_ROWSPERSTRIP, 16)), 4),
        (encode_image(SCENE, "tiff", (cv2.IMWRITE_TIFF_COMPRESSION, 32773)), 0),
        (encode_image(SCENE.astype(np.uint16) * 257, "tiff"), 0),
        (encode_image(SCENE.astype(np.float32) / 255, "tiff"), 0),
        (encode_avif(SCENE), 4),
        (encode_avif((SCENE * (1023 / 255)).astype(np.uint16), depth=10), 4),
        (build_heif(b"heic", (120, 90), [encode_hevc(SCENE, "yuv444p")]), 1),
        (build_heif(b"heic", (120, 90), [encode_hevc(SCENE, "yuv420p10le")]), 4),
    ],
)
def test_pixels_are_those_that_were_encoded(data: bytes, off: int) -> None:
    assert np.abs(extract(data).astype(float) - SCENE[..., ::-1]).mean() <= off
    checked = check(data)
    assert checked.facts == {"width": 120, "height": 90, "orientation": 1, "channels": 3}
    again = check(checked.data)
    assert again.data is checked.data
    assert again.perceptual_hash == checked.perceptual_hash


@pytest.mark.parametrize("media_type", [kind for kind in FORMATS if kind not in (GIF, HEIC)])
def test_a_copy_in_another_format_is_near(media_type: str) -> None:
    plain = check(encode_png(SCENE), PNG).perceptual_hash
    copy = check(make_dirty_files()[media_type], media_type)
    if copy.facts["orientation"] == 1:
        assert (plain.bits ^ copy.perceptual_hash.bits).bit_count() <= 3


# orientation


def turn_as_seen(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """The upright image of what is stored with this orientation, by NumPy."""
    stored = {2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1], 5: pixels.swapaxes(0, 1)}
    stored |= {6: np.rot90(pixels, -1), 7: np.rot90(pixels, 2).swapaxes(0, 1), 8: np.rot90(pixels, 1)}
    return stored.get(orientation, pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("make", [make_dirty_tiff, make_dirty_webp])
def test_orientation_is_kept_as_a_fact(make: Any, orientation: int) -> None:
    checked = check(make(orientation))
    assert (checked.facts["orientation"], checked.facts["width"]) == (orientation, 120)
    assert FORMATS[find_media_type(checked.data)].parser.read_orientation(checked.data) == 1
    upright = turn_as_seen(SCENE, orientation)
    ours = extract(make(orientation))
    same = cv2.resize(np.ascontiguousarray(upright), (120, 90), interpolation=cv2.INTER_AREA)
    assert np.abs(ours.astype(float) - same[..., ::-1]).mean() < 6


@pytest.mark.parametrize(("angle", "mirror"), [(turn, way) for turn in range(4) for way in (None, 0, 1)])
def test_turns_and_mirrors_of_heif_are_one_of_eight_orientations(angle: int, mirror: int | None) -> None:
    upright = np.rot90(SCENE, angle)
    if mirror is not None:
        upright = upright[::-1] if mirror == 0 else upright[:, ::-1]
    data = build_heif(b"avif", (120, 90), [encode_av1(SCENE)], angle=angle, mirror=mirror)
    orientation = heif.read_orientation(data)
    assert np.array_equal(turn_as_seen(SCENE, orientation), upright)
    assert check(data).facts["orientation"] == orientation, "it is the image's own, and stays in the file"


# more than 8 bits


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 60_000), st.integers(300, 5_000), st.sampled_from([np.uint16, np.float32]))
def test_levels_are_scaled_as_set(low: int, width: int, kind: Any) -> None:
    high = min(low + width, 65_535)
    rng = np.random.default_rng(low)
    pixels = rng.integers(low, high + 1, (90, 120)).astype(np.uint16)
    pixels[0, :2] = low, high
    stored = pixels if kind is np.uint16 else (pixels / 65_535).astype(np.float32)
    full = 65_535 if kind is np.uint16 else 1.0
    limits = (low * full / 65_535, high * full / 65_535)
    scales: list[Any] = [("type", (0, full)), ("minmax", limits), (limits, limits), ((0, 2 * full), (0, 2 * full))]
    for depth, (least, most) in scales:
        exact = np.clip((stored.astype(float) - least) * 255 / (most - least), 0, 255)
        assert np.abs(blend_to_rgb(stored, (255, 255, 255), depth)[..., 0] - exact).max() <= 0.51


@pytest.mark.parametrize("ending", ["tiff", "png"])
def test_twelve_bits_are_dark_until_told(ending: str) -> None:
    data = encode_image(SCENE.astype(np.uint16) * 16, ending)
    assert measure(extract(data, depth=(0, 4080)), SCENE) <= 1
    assert extract(data).max() < 17
    spread = extract(data, depth="minmax")
    assert (spread.min(), spread.max()) == (0, 255)


def test_a_thermal_image_is_not_flat_and_an_even_one_is() -> None:
    rng = np.random.default_rng(0)
    thermal = (7_000 + SCENE[..., 0].astype(np.uint16)).astype(np.uint16)
    assert check(encode_png(thermal)).perceptual_hash.thumbnail
    even = (7_000 + rng.integers(0, 3, (90, 120))).astype(np.uint16)
    assert reject(encode_png(even), PNG) is Reason.FLAT
    assert reject(encode_image((even / 65_535).astype(np.float32), "tiff"), TIFF) is Reason.FLAT


def test_a_low_level_above_the_high_one_is_refused() -> None:
    with pytest.raises(ValueError, match="a low level and a higher one"):
        ImageFeatures.model_validate({"depth": [9, 9]})
    assert ImageFeatures.model_validate({"depth": [0, 4095]}).depth == (0, 4095)


def test_floats_that_are_not_finite_are_broken() -> None:
    pixels = SCENE.astype(np.float32) / 255
    pixels[4, 4] = np.nan
    assert reject(encode_image(pixels, "tiff"), TIFF) is Reason.BROKEN


# colours and alpha


def add_alpha_word(data: bytes, word: int) -> bytes:
    return add_tiff_tags(data, {338: (3, 1, struct.pack("<H", word))})


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_alpha_of_tiff_is_straight_or_multiplied_as_the_file_says(kind: Any) -> None:
    scale = 257 if kind is np.uint16 else 1
    opacity = np.maximum(ALPHA[..., 3:], 64)
    straight = np.dstack([SCENE, opacity]).astype(kind) * kind(scale)
    multiplied = np.dstack([np.rint(SCENE * (opacity / 255)), opacity]).astype(kind) * kind(scale)
    over = np.rint(SCENE * (opacity / 255) + 255 - opacity)
    for data in (
        encode_png(straight),
        encode_image(straight, "tiff"),
        add_alpha_word(encode_image(straight, "tiff"), 2),
        add_alpha_word(encode_image(multiplied, "tiff"), 1),
    ):
        assert check(data).facts["channels"] == 4
        assert measure(extract(data), over) <= 3


@pytest.mark.parametrize("ending", ["webp", "gif", "bmp", "avif"])
def test_transparency_shows_the_background(ending: str) -> None:
    shape = np.dstack([SCENE, np.full((90, 120), 255, np.uint8)])
    shape[:, 60:, 3] = 0
    ours = extract(encode_image(shape, ending), background=(1, 2, 3))
    assert np.abs(ours[:, 64:].astype(int) - (1, 2, 3)).max() <= 6
    assert np.abs(ours[:, :56].astype(float) - SCENE[:, :56, ::-1]).mean() < 20


def save_by_pillow(mode: str, ending: str, **how: Any) -> bytes:
    pillow = pytest.importorskip("PIL.Image", reason="only Pillow writes these here")
    file = io.BytesIO()
    image = pillow.fromarray(np.ascontiguousarray(SCENE[..., ::-1]))
    image.convert(mode).save(file, ending, **how)
    return file.getvalue()


@pytest.mark.parametrize(
    ("mode", "ending", "off"),
    [("CMYK", "TIFF", 3), ("P", "TIFF", 90), ("P", "BMP", 90), ("P", "GIF", 90), ("P", "PNG", 90)],
)
def test_other_colours_come_out_as_rgb(mode: str, ending: str, off: int) -> None:
    data = save_by_pillow(mode, ending)
    assert measure(extract(data), SCENE) <= off


@pytest.mark.parametrize(("mode", "ending", "how"), [("1", "TIFF", {"compression": "group4"}), ("1", "BMP", {})])
def test_two_colours_are_black_and_white(mode: str, ending: str, how: Any) -> None:
    ours = extract(save_by_pillow(mode, ending, **how))
    assert set(np.unique(ours).tolist()) == {0, 255}
    grey = cv2.cvtColor(SCENE, cv2.COLOR_BGR2GRAY)
    assert np.corrcoef(cv2.blur(ours[..., 0], (9, 9)).ravel(), grey.ravel())[0, 1] > 0.9


def test_big_tiff_becomes_tiff() -> None:
    data = save_by_pillow("RGB", "TIFF", big_tiff=True)
    assert find_media_type(data) == TIFF
    assert check(data).data[2:4] == b"*\0"
    assert measure(extract(data), SCENE) == 0


# animations


def test_of_an_animation_the_first_frame_is_kept() -> None:
    animation = cv2.Animation()
    other = draw_scene(seed=1)
    animation.frames = [np.dstack([each, np.full((90, 120), 255, np.uint8)]) for each in (SCENE, other, other)]
    animation.durations = [100, 100, 100]
    for ending in ("webp", "gif"):
        done, coded = cv2.imencodeanimation(f".{ending}", animation)
        assert done
        data = coded.tobytes()
        checked = check(data)
        assert len(checked.data) < len(data)
        assert np.abs(extract(data).astype(float) - SCENE[..., ::-1]).mean() < 20
        kept = decode_image(checked.data, find_media_type(data))
        assert kept is not None
        assert np.array_equal(kept[..., :3], decode_first(data))


def decode_first(data: bytes) -> NDArray[Any]:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    first: NDArray[Any] = pixels[..., :3]
    return first


# what is dropped


def patch(data: bytes, at: int, form: str, *values: int) -> bytes:
    patched = bytearray(data)
    struct.pack_into(form, patched, at, *values)
    return bytes(patched)


def make_bombs() -> dict[str, bytes]:
    tiff, avif = encode_image(SCENE, "tiff"), make_dirty_avif()
    return {
        WEBP: patch(make_dirty_webp(), 24, "<IH", 0x3FFF | 0x3FFF << 24 & 0xFFFFFFFF, 0x3FFF >> 8),
        GIF: patch(encode_image(SCENE, "gif"), 6, "<HH", 65535, 65535),
        BMP: patch(encode_image(SCENE, "bmp"), 18, "<ii", 2**31 - 1, 2**31 - 1),
        TIFF: add_tiff_tags(tiff, {tag: (4, 1, struct.pack("<I", 2**31)) for tag in (256, 257)}),
        AVIF: patch(avif, avif.index(b"ispe") + 8, ">II", 60_000, 60_000),
    }


@pytest.mark.parametrize("media_type", make_bombs())
def test_a_bomb_is_refused_by_its_header(media_type: str) -> None:
    assert reject(make_bombs()[media_type], media_type) is Reason.TOO_MANY_PIXELS


def test_a_size_that_the_pixels_do_not_have_is_broken() -> None:
    webp = make_dirty_webp()
    assert reject(patch(webp, 24, "<H", 60), WEBP) is Reason.BROKEN
    tile = {322: (3, 1, struct.pack("<H", 60_000)), 323: (3, 1, struct.pack("<H", 60_000))}
    places = {324: (4, 1, struct.pack("<I", 8)), 325: (4, 1, struct.pack("<I", 64))}
    assert reject(add_tiff_tags(encode_image(SCENE, "tiff"), tile | places), TIFF) is Reason.BROKEN
    frame = build_heif(b"avif", (130, 90), [encode_av1(SCENE)], side=64)
    assert reject(frame, AVIF) is Reason.BROKEN


def test_strips_that_share_bytes_are_broken() -> None:
    data = encode_image(SCENE, "tiff")
    shared = {273: (4, 90, struct.pack("<I", 8) * 90), 279: (4, 90, struct.pack("<I", 5_000) * 90)}
    assert reject(add_tiff_tags(data, shared | {278: (3, 1, b"\1\0")}), TIFF) is Reason.BROKEN


def test_variants_that_no_decoder_reads_are_named() -> None:
    for data, media_type in (
        (save_by_pillow("LA", "TIFF"), TIFF),
        (save_by_pillow("I", "TIFF"), TIFF),
        (add_tiff_tags(encode_image(SCENE, "tiff"), {259: (3, 1, struct.pack("<H", 34712))}), TIFF),
        (patch(encode_image(SCENE, "bmp"), 30, "<I", 4), BMP),
        (b"\0\0\0\x10ftypavis\0\0\0\0" + b"\0\0\0\x08moov", AVIF),
    ):
        rejection = check_image(data, media_type, CHECK)
        assert isinstance(rejection, Rejection)
        assert (rejection.reason, rejection.value) == (Reason.UNSUPPORTED_TYPE, media_type)
        assert "save" in rejection.detail


def test_webp_needs_no_extended_header() -> None:
    plain = encode_image(SCENE, "webp")
    assert check(plain).data is plain
    head = bytes([0x08, 0, 0, 0]) + (119).to_bytes(3, "little") + (89).to_bytes(3, "little")
    data = build_webp(make_riff_chunk(b"VP8X", head), plain[12:])
    assert check(data).data == data[:20] + b"\0" + data[21:], "the flag of EXIF that is not there goes"


@pytest.mark.sweep
@pytest.mark.parametrize("media_type", FORMATS)
def test_a_bit_that_flips_is_noticed_or_harmless(media_type: str) -> None:
    """Checked once, what is kept is kept as it is and can be extracted; sizes stay those of the header."""
    draw, whole = random.Random(0), check(make_dirty_files()[media_type], media_type).data
    for at in [*range(min(len(whole), 400)), *(draw.randrange(len(whole)) for _ in range(2_000))]:
        flipped = whole[:at] + bytes([whole[at] ^ 1 << draw.randrange(8)]) + whole[at + 1 :]
        checked = check_image(flipped, media_type, CHECK)
        if isinstance(checked, Checked):
            again = check_image(checked.data, media_type, CHECK)
            assert isinstance(again, Checked)
            assert again.data is checked.data
            pixels = decode_image(checked.data, media_type)
            assert pixels is not None
            assert pixels.shape[:2] == (checked.facts["height"], checked.facts["width"])
