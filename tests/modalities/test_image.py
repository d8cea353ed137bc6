"""Images: which are kept and why others are dropped, and the pixels that are extracted."""

import io
import struct
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.modalities.image.check import check_image
from pipeline.modalities.image.features import extract_image, plan_image_fields
from pipeline.modalities.image.params import ImageFeatures
from pipeline.modalities.image.pixels import blend_to_rgb, turn_upright
from pipeline.modalities.image.pixels import fit_pixels as fit_by_values
from pipeline.modalities.image.rules import ImageCheck
from pipeline.modalities.modality import Checked, MediaItem
from pipeline.tables.drops import Reason, Rejection
from shardwright.format.jpeg import decode_jpeg
from tests.support.factory_media import (
    build_png,
    draw_scene,
    encode_jpeg,
    encode_png,
    insert_chunks,
    insert_segments,
    make_chunk,
    make_exif,
    make_segment,
)

CHECK = ImageCheck.model_validate({"max_pixels": 1_000_000, "near_difference": 8.0})
WHITE = (255, 255, 255)


def plan(
    height: int, width: int, fit: Any = "stretch", background: tuple[int, int, int] = WHITE, **stored: Any
) -> ImageFeatures:
    kept: dict[str, Any] = {"store": "tensor", "quality": 90, "dtype": "uint8"} | stored
    return ImageFeatures(height=height, width=width, fit=fit, background=background, **kept)


def fit_pixels(pixels: NDArray[np.uint8], params: ImageFeatures) -> NDArray[np.uint8]:
    return fit_by_values(pixels, (params.height, params.width), params.fit, params.background)


def extract(data: bytes, params: ImageFeatures, media_type: str = "image/png", orientation: int = 1) -> NDArray[Any]:
    arrays = extract_image(MediaItem(data, media_type, orientation), params, None)
    assert not isinstance(arrays, Rejection)
    assert isinstance(arrays["image"], np.ndarray)
    return arrays["image"]


def reject(data: bytes, media_type: str = "image/png") -> Reason:
    rejection = check_image(data, media_type, CHECK)
    assert isinstance(rejection, Rejection)
    return rejection.reason


def turn_as_exif_says(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """The array that a camera stores which was held so that `orientation` sets it right."""
    return {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.swapaxes(0, 1),
        6: np.rot90(pixels, 1),
        7: np.rot90(pixels, 2).swapaxes(0, 1),
        8: np.rot90(pixels, -1),
    }[orientation]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_eight_orientations_give_the_same_upright_image(orientation: int) -> None:
    scene = draw_scene(40, 61)
    stored = np.ascontiguousarray(turn_as_exif_says(scene, orientation))
    assert np.array_equal(turn_upright(stored, orientation), scene)
    png = insert_chunks(encode_png(stored), make_chunk(b"eXIf", make_exif(orientation)))
    checked = check_image(png, "image/png", CHECK)
    upright = check_image(encode_png(scene), "image/png", CHECK)
    assert isinstance(checked, Checked)
    assert isinstance(upright, Checked)
    assert checked.facts["orientation"] == orientation
    assert (checked.facts["height"], checked.facts["width"]) == stored.shape[:2]
    assert (checked.perceptual_hash.bits ^ upright.perceptual_hash.bits).bit_count() <= 1
    for fit in ("crop", "pad", "stretch"):
        given = extract(checked.data, plan(24, 32, fit), orientation=orientation)
        assert np.array_equal(given, extract(encode_png(scene), plan(24, 32, fit)))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(40, 61), (400, 610)])
def test_a_jpeg_is_turned_once(orientation: int, size: tuple[int, int]) -> None:
    stored = np.ascontiguousarray(turn_as_exif_says(draw_scene(*size), orientation))
    jpeg = insert_segments(encode_jpeg(stored), make_segment(0xE1, b"Exif\0\0" + make_exif(orientation)))
    checked = check_image(jpeg, "image/jpeg", CHECK)
    assert isinstance(checked, Checked)
    for data in (jpeg, checked.data):  # with EXIF in it or not
        turned = extract(data, plan(24, 32), "image/jpeg", checked.facts["orientation"]).astype(int)
        assert (
            np.abs(turned - extract(encode_png(draw_scene(*size)), plan(24, 32))).mean() < 5
        )  # colours are sub-sampled; turned wrongly it is 60


def test_depths_palettes_and_grey_become_the_same_rgb() -> None:
    grey = draw_scene(32, 48)[..., 0]
    rgb = np.repeat(grey[..., None], 3, axis=2)
    palette = make_chunk(b"PLTE", bytes(np.repeat(np.arange(256, dtype=np.uint8), 3)))
    rows = b"".join(b"\0" + row.tobytes() for row in grey)
    alpha_rows = b"".join(b"\0" + np.stack([row, np.full_like(row, 255)], 1).tobytes() for row in grey)
    for data in (
        encode_png(grey),
        encode_png(grey.astype(np.uint16) * 257),
        encode_png(rgb),
        encode_png(rgb.astype(np.uint16) * 257),
        build_png((48, 32), 8, 3, rows, palette),
        build_png((48, 32), 8, 4, alpha_rows),
    ):
        assert np.array_equal(extract(data, plan(32, 48)), rgb)


def test_channels_come_out_as_rgb() -> None:
    blue = np.zeros((20, 20, 3), np.uint8)
    blue[..., 0] = 255  # OpenCV's order
    assert extract(encode_png(blue), plan(20, 20))[0, 0].tolist() == [0, 0, 255]
    assert np.abs(extract(encode_jpeg(blue), plan(20, 20), "image/jpeg")[9, 9].astype(int) - [0, 0, 255]).max() <= 3


@settings(max_examples=40)
@given(st.tuples(*[st.integers(0, 255)] * 3), st.sampled_from([np.uint8, np.uint16]), st.integers(0, 2**32 - 1))
def test_transparency_shows_the_background(background: tuple[int, int, int], depth: Any, seed: int) -> None:
    full = np.iinfo(depth).max
    bgra = np.random.default_rng(seed).integers(0, full + 1, (9, 13, 4), dtype=depth)
    bgra[0, :, 3], bgra[1, :, 3] = 0, full
    share = bgra[..., 3:] / full
    exact = bgra[..., 2::-1] / full * 255 * share + np.array(background) * (1 - share)
    blended = blend_to_rgb(bgra, background).astype(float)
    assert np.abs(blended - exact).max() <= 1.5
    assert (blended[0] == background).all()
    assert np.array_equal(blended[1], blend_to_rgb(np.ascontiguousarray(bgra[..., :3]), background)[1])


def test_cmyk_comes_out_as_colours() -> None:
    pillow = pytest.importorskip("PIL.Image", reason="only Pillow writes CMYK here")
    buffer = io.BytesIO()
    pillow.new("CMYK", (40, 40), (0, 255, 255, 0)).save(buffer, "JPEG", quality=95)
    red, green, blue = extract(buffer.getvalue(), plan(20, 20), "image/jpeg")[10, 10].tolist()
    assert red > 200
    assert max(green, blue) < 60


@settings(max_examples=60)
@given(*[st.integers(1, 70)] * 4, st.sampled_from(["crop", "pad", "stretch"]))
def test_any_size_fits_any_size(height: int, width: int, rows: int, columns: int, fit: str) -> None:
    pixels = np.full((height, width, 3), 77, np.uint8)
    params = plan(rows, columns, fit, (1, 2, 3))
    fitted = fit_pixels(pixels, params)
    assert fitted.shape == (rows, columns, 3)
    assert fitted.flags["C_CONTIGUOUS"]
    colours = {tuple(colour) for colour in fitted.reshape(-1, 3).tolist()}
    assert colours <= {(77, 77, 77), (1, 2, 3)}
    if fit != "pad":
        assert colours == {(77, 77, 77)}


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_an_image_is_kept_as_a_jpeg_of_its_pixels(fit: str) -> None:
    data, size = encode_png(draw_scene(60, 90)), (32, 40)
    params = plan(*size, fit, store="jpeg", quality=95)
    arrays, again = (extract_image(MediaItem(data, "image/png", 3), params, None) for _ in range(2))
    assert not isinstance(arrays, Rejection)
    assert arrays == again
    file = arrays["image"]
    assert isinstance(file, bytes)
    assert plan_image_fields(params)["image"].encode(file) == file
    assert b"\xff\xc0" in file, "baseline"
    assert b"\xff\xe1" not in file, "no metadata"
    pixels = decode_jpeg(np.frombuffer(file, np.uint8), (*size, 3))
    assert np.abs(pixels.astype(int) - extract(data, plan(*size, fit), orientation=3)).mean() < 8
    worse = extract_image(MediaItem(data, "image/png", 3), plan(*size, fit, store="jpeg", quality=20), None)
    assert not isinstance(worse, Rejection)
    assert len(worse["image"]) < len(file)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_floats_are_parts_of_255(dtype: str) -> None:
    data = encode_png(draw_scene(60, 90))
    params = plan(32, 40, dtype=dtype)
    pixels = extract(data, params)
    field = plan_image_fields(params)["image"]
    assert field.encode(pixels)
    assert (field.dtype, field.unit) == (dtype, "RGB 0-1")
    assert np.array_equal(np.rint(pixels.astype(np.float64) * 255), extract(data, plan(32, 40)))
    assert 0 <= pixels.min() < pixels.max() <= 1


def test_jpeg_files_have_no_floats() -> None:
    with pytest.raises(ValueError, match="it must be uint8"):
        plan(32, 40, store="jpeg", dtype="float32")


def test_crop_takes_the_middle_and_pad_keeps_all() -> None:
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 200
    assert (fit_pixels(wide, plan(10, 10, "crop")) == 200).all()
    padded = fit_pixels(wide, plan(30, 30, "pad"))
    assert (padded[:10] == 255).all()
    assert (padded[20:] == 255).all()
    assert np.array_equal(padded[10:20], wide)


def shrink_ideally(pixels: NDArray[np.uint8], side: int) -> NDArray[np.float64]:
    """A square image by Lanczos' windowed sinc of three lobes, cut off at the new resolution."""
    scale = pixels.shape[0] / side
    distances = (np.arange(pixels.shape[0]) - ((np.arange(side) + 0.5) * scale - 0.5)[:, None]) / scale
    weights = np.where(np.abs(distances) < 3, np.sinc(distances) * np.sinc(distances / 3), 0)
    weights /= weights.sum(axis=1, keepdims=True)
    shrunk: NDArray[np.float64] = np.einsum("yj,xk,jkc->yxc", weights, weights, pixels.astype(float), optimize=True)
    return shrunk.clip(0, 255)


@pytest.mark.parametrize("side", [238, 224, 216, 214, 212, 192, 160, 120, 90, 40])
def test_what_is_shrunk_is_as_good_as_means(side: int) -> None:
    """On drawings with sharp edges; means are what OpenCV calls INTER_AREA."""
    errors = []
    for seed in range(8):
        draw = np.random.default_rng(seed)
        pixels = np.full((240, 240, 3), 255, np.uint8)
        for _ in range(40):
            corners = draw.integers(0, 240, (2, 2)).tolist()
            cv2.rectangle(pixels, corners[0], corners[1], draw.integers(0, 256, 3).tolist(), -1)
            cv2.circle(pixels, corners[0], int(draw.integers(2, 40)), draw.integers(0, 256, 3).tolist(), 2)
        ideal = shrink_ideally(pixels, side)
        means = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)
        errors.append([np.square(made - ideal).mean() for made in (fit_pixels(pixels, plan(side, side)), means)])
    ours, theirs = np.sqrt(np.mean(errors, axis=0))
    assert ours <= theirs


def test_a_large_jpeg_is_decoded_at_a_part_of_its_size() -> None:
    scene = draw_scene(800, 1200)
    full = cv2.cvtColor(cv2.resize(scene, (96, 64), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB)
    for fit in ("crop", "pad", "stretch"):
        assert np.abs(extract(encode_jpeg(scene), plan(64, 96, fit), "image/jpeg").astype(int) - full).mean() < 3


@pytest.mark.parametrize("side", [30_000, 2**31 - 1])
def test_a_bomb_is_refused_by_its_header(side: int) -> None:
    data = build_png((side, side), 1, 0, b"\0")
    assert reject(data) is Reason.TOO_MANY_PIXELS
    head = data[:33]
    assert reject(head) is Reason.TOO_MANY_PIXELS  # before the rest is looked at
    frame = make_segment(0xC0, struct.pack(">BHHB", 8, 65535, 65535, 3) + bytes(9))
    assert reject(b"\xff\xd8" + frame, "image/jpeg") is Reason.TOO_MANY_PIXELS


def test_tiny_broken_and_foreign_files_have_their_reasons() -> None:
    scene = draw_scene(60, 60)
    assert reject(encode_png(scene[:15])) is Reason.TOO_SMALL
    assert reject(encode_png(scene), "image/jpeg") is Reason.BROKEN
    assert reject(build_png((60, 60), 8, 0, bytes(61 * 30))) is Reason.BROKEN  # half of the rows, all CRCs right
    assert reject(encode_jpeg(scene)[:-2], "image/jpeg") is Reason.TRUNCATED


def test_an_image_is_flat_only_if_its_shape_is_too() -> None:
    level = np.full((32, 32, 3), 90, np.uint8)
    level[0, 0] = 91
    assert reject(encode_png(level)) is Reason.FLAT
    shape = np.full((32, 32, 4), 255, np.uint8)
    shape[8:24, 8:24, 3] = 0  # white on white, but cut out
    assert isinstance(check_image(encode_png(shape), "image/png", CHECK), Checked)
    hidden = np.dstack([draw_scene(32, 32), np.zeros((32, 32), np.uint8)])  # pictured, but nothing can be seen
    assert reject(encode_png(hidden)) is Reason.FLAT


@pytest.mark.parametrize("side", [32, 127, 256, 300, 511, 640, 900])
@pytest.mark.parametrize("grey", [False, True])
def test_a_jpeg_is_judged_as_its_pixels_are(side: int, grey: bool) -> None:
    """Though it is looked at in a part of its size."""
    scene = draw_scene(side, side + 50)
    data = encode_jpeg(scene[:, :, 0] if grey else scene)
    looked, whole = check_image(data, "image/jpeg", CHECK), check_image(reencode_as_png(data), "image/png", CHECK)
    assert isinstance(looked, Checked)
    assert isinstance(whole, Checked)
    assert looked.perceptual_hash is not None
    assert whole.perceptual_hash is not None
    assert (looked.perceptual_hash.bits ^ whole.perceptual_hash.bits).bit_count() <= 1
    cells = [np.frombuffer(each.perceptual_hash.thumbnail, np.uint8).astype(int) for each in (looked, whole)]
    assert np.abs(cells[0] - cells[1]).mean() <= 1


def reencode_as_png(data: bytes) -> bytes:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return encode_png(pixels.astype(np.uint8))


def test_what_is_fine_grained_is_not_flat() -> None:
    """Its means over 8 × 8 pixels are all the same."""
    checkers = np.indices((512, 512)).sum(axis=0) % 2 * 255
    assert isinstance(check_image(encode_jpeg(checkers.astype(np.uint8)), "image/jpeg", CHECK), Checked)
    assert reject(encode_jpeg(np.full((512, 512), 100, np.uint8)), "image/jpeg") is Reason.FLAT


def test_facts_say_the_channels_of_the_file() -> None:
    scene = draw_scene(30, 40)
    for data, media_type, channels in (
        (encode_png(scene), "image/png", 3),
        (encode_png(scene[..., 0]), "image/png", 1),
        (encode_png(np.dstack([scene, scene[..., 0]])), "image/png", 4),
        (encode_jpeg(scene), "image/jpeg", 3),
        (encode_jpeg(scene[..., 0]), "image/jpeg", 1),
    ):
        checked = check_image(data, media_type, CHECK)
        assert isinstance(checked, Checked)
        assert checked.facts == {"width": 40, "height": 30, "orientation": 1, "channels": channels}
        assert checked.data is data


@pytest.mark.parametrize("seed", range(5))
def test_copies_are_near_and_other_images_are_not(seed: int) -> None:
    scene = draw_scene(120, 160, seed)
    hashes = []
    for pixels in (
        scene,
        extract(encode_jpeg(scene, 50), plan(120, 160), "image/jpeg")[..., ::-1],
        cv2.resize(scene, (97, 73), interpolation=cv2.INTER_AREA),
        draw_scene(120, 160, seed + 100),
    ):
        checked = check_image(encode_png(pixels), "image/png", CHECK)
        assert isinstance(checked, Checked)
        hashes.append(checked.perceptual_hash)
    first, *copies, other = hashes
    for copy in copies:
        assert (first.bits ^ copy.bits).bit_count() <= 3
        cells = [np.frombuffer(one.thumbnail, np.uint8).astype(int) for one in (first, copy)]
        assert np.abs(cells[0] - cells[1]).mean() <= 8
    assert (first.bits ^ other.bits).bit_count() > 8
