"""Images decoded by `ops.Image`: the pixels of other libraries, upright, from any format, and never by surprise."""

import io
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image as Pillow

from shardwright import encode_jpeg, ops
from shardwright.format import jpeg
from shardwright.ops.crops import Box
from shardwright.ops.image import find_stored_box, turn_upright
from tests.support.webdataset_tars import make_npy, rotate_jpeg, rotate_png, rotate_webp

Pixels = NDArray[np.uint8]


def draw(height: int, width: int, seed: int = 0) -> Pixels:
    """A smooth picture with some noise, uint8 (height, width, 3)."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(128, 60, (height // 16 + 2, width // 16 + 2, 3)).astype(np.float32)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) + rng.normal(0, 8, (height, width, 3))
    pixels: Pixels = np.clip(smooth, 0, 255).astype(np.uint8)
    return pixels


def decode(operation: ops.Image, content: bytes, draws: list[float] | None = None) -> Pixels:
    out = np.full(operation.field.shape, 77, np.uint8)
    numbers = np.full(operation.draws, 0.5) if draws is None else np.array(draws)
    assert operation.decode_row(content, numbers, out) is None
    return out


def encode(suffix: str, pixels: Pixels, *options: int) -> bytes:
    return bytes(cv2.imencode(suffix, pixels[..., ::-1], options)[1].tobytes())


def read_by_opencv(content: bytes) -> Pixels:
    pixels: Any = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)
    return np.asarray(pixels)


def read_by_pillow(content: bytes, box: tuple[int, int, int, int], size: tuple[int, int]) -> Pixels:
    image = Pillow.open(io.BytesIO(content)).convert("RGB")
    return np.asarray(image.resize(size[::-1], Pillow.Resampling.BILINEAR, box))


@pytest.mark.parametrize("shape", [(375, 500), (500, 333), (224, 224), (90, 130), (31, 640)])
def test_what_is_resized_is_as_by_pillow(shape: tuple[int, int]) -> None:
    content = encode_jpeg(draw(*shape), 92)
    found = decode(ops.Image(ops.Resize(112), scaled=False), content)
    expected = read_by_pillow(content, (0, 0, shape[1], shape[0]), (112, 112))
    assert np.abs(found.astype(int) - expected).mean() < 0.1


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=23, max_size=23), st.integers(1, 700), st.integers(1, 700))
def test_a_random_crop_lies_in_the_image_and_has_an_allowed_area_and_ratio(
    draws: list[float], height: int, width: int
) -> None:
    crop = ops.RandomResizedCrop(8)
    (top, left, box_height, box_width), resized, *_ = crop.plan(height, width, draws)
    assert resized == (8, 8)
    assert 0 <= top <= top + box_height <= height
    assert 0 <= left <= left + box_width <= width
    assert min(box_height, box_width) >= 1
    if min(height, width) > 50 and 0.4 < width / height < 2.5:
        assert 0.07 < box_height * box_width / (height * width) <= 1
        assert 0.7 < box_width / box_height < 1.4


def test_random_crops_are_spread_evenly() -> None:
    rng = np.random.default_rng(0)
    boxes = [ops.RandomResizedCrop(8).plan(300, 400, rng.random(22).tolist()).box for _ in range(4000)]
    shares = np.array([box.height * box.width / 120_000 for box in boxes])
    centres = np.array([(box.top + box.height / 2, box.left + box.width / 2) for box in boxes])
    areas, ratios = rng.uniform(0.08, 1, 40_000) * 120_000, np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3), 40_000))
    fitting = areas[(np.sqrt(areas * ratios) <= 400) & (np.sqrt(areas / ratios) <= 300)] / 120_000
    assert np.abs(np.quantile(shares, [0.1, 0.5, 0.9]) - np.quantile(fitting, [0.1, 0.5, 0.9])).max() < 0.02
    assert np.abs(centres.mean(axis=0) - (150, 200)).max() < 3


def test_a_centre_crop_is_the_middle_of_the_resized_image() -> None:
    content = encode_jpeg(draw(300, 400), 95)
    found = decode(ops.Image(ops.CenterCrop(96, resize=120), scaled=False), content)
    whole = read_by_pillow(content, (0, 0, 400, 300), (120, 160))
    assert np.abs(found.astype(int) - whole[12:108, 32:128]).mean() < 0.1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("crop", [ops.Resize((40, 64)), ops.CenterCrop((32, 48)), ops.RandomResizedCrop((24, 40))])
def test_images_are_turned_as_opencv_turns_them(orientation: int, crop: Any) -> None:
    stored = draw(120, 200, seed=orientation)
    content = rotate_jpeg(encode_jpeg(stored, 95), orientation)
    upright = read_by_opencv(content)
    expected = decode(ops.Image(crop, scaled=False), make_npy(upright))
    found = decode(ops.Image(crop, scaled=False), content)
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert np.array_equal(turn_upright(read_by_opencv(encode_jpeg(stored, 95)), orientation), upright)


@given(st.integers(1, 8), st.data())
def test_a_box_of_the_upright_image_is_found_in_the_stored_one(orientation: int, data: st.DataObject) -> None:
    stored = np.arange(7 * 11 * 3, dtype=np.uint8).reshape(7, 11, 3)
    upright = turn_upright(stored, orientation)
    height, width = upright.shape[:2]
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    box = Box(top, left, data.draw(st.integers(1, height - top)), data.draw(st.integers(1, width - left)))
    inside = find_stored_box(box, height, width, orientation)
    cut = stored[inside.top : inside.top + inside.height, inside.left : inside.left + inside.width]
    expected = upright[box.top : box.top + box.height, box.left : box.left + box.width]
    assert np.array_equal(turn_upright(cut, orientation), expected)


FORMATS: dict[str, Callable[[Pixels], bytes]] = {
    suffix: lambda pixels, suffix=suffix: encode(suffix, pixels)
    for suffix in (".jpg", ".png", ".webp", ".bmp", ".tiff", ".gif", ".avif")
} | {
    "progressive": lambda pixels: encode(".jpg", pixels, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "grey": lambda pixels: encode(".jpg", pixels[..., :1]),
    "4:4:4": lambda pixels: encode(".jpg", pixels, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111),
    "alpha": lambda pixels: encode(".png", np.dstack([pixels[..., :1] // 2 + 100, pixels])),
    "npy": lambda pixels: make_npy(pixels),
}


@pytest.mark.parametrize("name", FORMATS)
def test_any_format_has_the_pixels_of_opencv(name: str) -> None:
    content = FORMATS[name](draw(60, 90))
    found = decode(ops.Image(ops.Resize((60, 90))), content)
    expected = draw(60, 90) if name == "npy" else read_by_opencv(content)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    "make",
    [
        lambda pixels: rotate_png(encode(".png", pixels), 6, b"IDAT"),
        lambda pixels: rotate_webp(encode(".webp", pixels), (20, 30), 6),
    ],
    ids=["png", "webp"],
)
def test_other_formats_are_turned_too(make: Any) -> None:
    pixels = draw(20, 30)
    content = make(pixels)
    found = decode(ops.Image(ops.Resize((30, 20))), content)
    expected = read_by_opencv(content)
    assert expected.shape == (30, 20, 3)
    assert np.array_equal(found, expected)


def test_without_simplejpeg_the_pixels_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encode_jpeg(draw(100, 140), 90)
    operation = ops.Image(ops.RandomResizedCrop(48), flip=1.0)
    with_it = decode(operation, content)
    for module in ("shardwright.ops.pixels", "shardwright.format.jpeg"):
        monkeypatch.setattr(f"{module}.find_simplejpeg", lambda: None)
    assert np.array_equal(decode(operation, content), with_it)
    whole = decode(ops.Image(ops.Resize((100, 140))), content)
    assert np.array_equal(jpeg.decode_jpeg(np.frombuffer(content, np.uint8), (100, 140, 3)), whole)


def test_a_large_jpeg_is_decoded_at_a_fraction_of_its_size() -> None:
    content = encode_jpeg(draw(800, 1200), 92)
    whole = decode(ops.Image(ops.Resize(100), scaled=False), content).astype(int)
    scaled = decode(ops.Image(ops.Resize(100)), content).astype(int)
    assert 0 < np.abs(scaled - whole).mean() < 4
    assert not np.array_equal(scaled, whole)


def test_mirrored_images() -> None:
    content = encode_jpeg(draw(50, 70), 95)
    plain = decode(ops.Image(ops.Resize((50, 70))), content)
    assert np.array_equal(decode(ops.Image(ops.Resize((50, 70)), flip=1.0), content), plain[:, ::-1])
    assert np.array_equal(decode(ops.Image(ops.Resize((50, 70)), flip=0.3), content, [0.31]), plain)
    assert np.array_equal(decode(ops.Image(ops.Resize((50, 70)), flip=0.3), content, [0.29]), plain[:, ::-1])


def test_too_many_pixels_are_refused_before_they_are_decoded() -> None:
    for content in (encode_jpeg(draw(40, 50), 90), encode(".png", draw(40, 50)), encode(".bmp", draw(40, 50))):
        with pytest.raises(ValueError, match="it has 50 × 40 pixels; max_pixels allows 1999"):
            decode(ops.Image(ops.Resize(8), max_pixels=1999), content)


def test_a_decoder_that_warns_gives_pixels_and_the_warning() -> None:
    whole = encode_jpeg(draw(64, 64), 90)
    out = np.zeros((64, 64, 3), np.uint8)
    warning = ops.Image(ops.Resize(64)).decode_row(whole[: len(whole) // 2] + b"\xff\xd9", np.empty(0), out)
    assert warning
    assert out.any()


def test_any_bytes_are_pixels_or_one_kind_of_error() -> None:
    rng = np.random.default_rng(0)
    operation = ops.Image(ops.RandomResizedCrop(16), flip=0.5)
    out = np.empty((16, 16, 3), np.uint8)
    for make in FORMATS.values():
        content = make(draw(24, 36))
        for _ in range(25):
            spoilt = bytearray(content[: int(rng.integers(1, len(content) + 1))])
            for at in rng.integers(0, len(spoilt), 3):
                spoilt[at] = int(rng.integers(256))
            with suppress(ValueError):
                operation.decode_row(bytes(spoilt), rng.random(23), out)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ops.Image(224), "must be a crop"),  # type: ignore[arg-type]
        (lambda: ops.Image(ops.Resize(8), flip=1.5), "flip is 1.5"),
        (lambda: ops.Image(ops.Resize(8), max_pixels=0), "max_pixels is 0"),
        (lambda: ops.Resize(0), "size is 0"),
        (lambda: ops.Resize((8, 8, 8)), "size is"),  # type: ignore[arg-type]
        (lambda: ops.CenterCrop(224, resize=200), "resize is 200; it must be 224"),
        (lambda: ops.RandomResizedCrop(8, scale=(0.0, 1.0)), "scale is"),
        (lambda: ops.RandomResizedCrop(8, ratio=(2.0, 1.0)), "ratio is"),
    ],
)
def test_arguments_are_checked(make: Callable[[], object], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_the_description_tells_operations_apart(tmp_path: Path) -> None:
    described = ops.Image(ops.RandomResizedCrop(224), flip=0.5).describe()
    assert described["op"] == "Image"
    assert described["crop"] == {"op": "RandomResizedCrop", "size": 224, "scale": [0.08, 1.0], "ratio": [0.75, 4 / 3]}
    assert described["version"] == 1


def test_normalised_pixels() -> None:
    pixels = torch.from_numpy(draw(12, 20)[None])
    normalised = ops.Normalize()(pixels)
    expected = (pixels.permute(0, 3, 1, 2) / 255 - torch.tensor(ops.Normalize().mean)[:, None, None]) / torch.tensor(
        ops.Normalize().deviation
    )[:, None, None]
    assert normalised.shape == (1, 3, 12, 20)
    assert torch.allclose(normalised, expected, atol=1e-5)
    assert ops.Normalize()(pixels[None]).shape == (1, 1, 3, 12, 20)
    with pytest.raises(ValueError, match=r"pixels are torch\.float32"):
        ops.Normalize()(pixels.float())
    with pytest.raises(ValueError, match="above 0"):
        ops.Normalize(deviation=(0.0, 1.0, 1.0))
