"""`damaged: drop` and `keep`: what decoders read to the end though it is damaged, and what only looks so."""

import io
import random
from collections import Counter
from collections.abc import Iterator

import cv2
import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

from pipeline.formats.audio import ogg
from pipeline.formats.image import jpeg
from pipeline.formats.image.jpeg_zeros import MIN_ZEROS
from pipeline.modalities.audio.check import check_audio
from pipeline.modalities.audio.rules import AudioCheck
from pipeline.modalities.image.check import check_image
from pipeline.modalities.image.rules import ImageCheck
from pipeline.modalities.modality import Checked
from pipeline.tables.drops import Reason, Rejection
from tests.support.factory_audio import build_wav, encode_pcm
from tests.support.factory_media import encode_audio, make_tone

END = b"\xff\xd9"
SAMPLINGS = ("444", "422", "420", "411", "440")


def draw_photo(draw: random.Random) -> NDArray[np.uint8]:
    """Noise of all scales as photographs have it: uint8 (height, width, 3)."""
    rng = np.random.default_rng(draw.randrange(2**32))
    height, width = draw.randrange(150, 420), draw.randrange(150, 420)
    photo = np.zeros((height, width, 3))
    for scale in (2, 4, 9, 20, 60):
        coarse = rng.normal(0, scale**0.8, (height // scale + 2, width // scale + 2, 3))
        photo += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    flat: NDArray[np.uint8] = np.clip(photo * 2 + 128, 0, 255).astype(np.uint8)
    flat[: draw.choice([0, height // 3])] = 255  # a white part, as of clip art
    return flat


def encode_sound_files(draw: random.Random) -> Iterator[tuple[str, bytes]]:
    """Yield JPEG files of several encoders and kinds, with their kind."""
    photo, quality = draw_photo(draw), draw.choice([50, 75, 90, 98])
    plain = [cv2.IMWRITE_JPEG_QUALITY, quality]
    for kind, how in {
        "plain": [],
        "optimized": [cv2.IMWRITE_JPEG_OPTIMIZE, 1],
        "progressive": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
        "restarts": [cv2.IMWRITE_JPEG_RST_INTERVAL, draw.choice([1, 7, 64])],
    }.items():
        yield kind, cv2.imencode(".jpg", photo, [*plain, *how])[1].tobytes()
    sampling = getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{draw.choice(SAMPLINGS)}")
    odd = cv2.imencode(".jpg", photo, [*plain, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling])[1].tobytes()
    yield "subsampled", odd
    yield "trailing bytes", odd + draw.randbytes(draw.choice([1, 100, 5000]))
    yield "padded", odd[:-2] + draw.choice([bytes(9), bytes([255, 0]) * 9]) + END
    yield "grey", cv2.imencode(".jpg", photo[..., 0], plain)[1].tobytes()
    image = PIL.Image.fromarray(photo)
    for kind, form, mode in (("mpo", "MPO", "RGB"), ("cmyk", "JPEG", "CMYK"), ("pillow", "JPEG", "RGB")):
        file = io.BytesIO()
        more = {"append_images": [image.convert(mode)], "save_all": True} if form == "MPO" else {}
        image.convert(mode).save(file, form, quality=quality, **more)
        yield kind, file.getvalue()


def damage_scan(kind: str, data: bytes, draw: random.Random) -> bytes:
    """Return the file with its scan cut and ended again, with 512 bytes of it missing, or zeroed."""
    scans = [segment for segment in jpeg.list_segments(data) if segment[0] == jpeg.SCAN]
    at = draw.randrange(scans[0][1] + 20, scans[-1][2] - 600)
    match kind:
        case "cut":
            return data[:at] + END
        case "missing":
            return data[:at] + data[at + 512 :]
        case _:
            return data[:at] + bytes(512) + data[at + 512 :]


def check(data: bytes, **settings: str) -> Checked | Rejection:
    return check_image(data, "image/jpeg", ImageCheck(**settings))  # type: ignore[arg-type]


def assert_sound_files_are_kept(rounds: int) -> None:
    draw = random.Random(0)
    for _ in range(rounds):
        for kind, data in encode_sound_files(draw):
            checked = check(data)
            assert isinstance(checked, Checked), (kind, checked)
            assert checked.flaw in ("", "padding before its end")
            assert (checked.flaw != "") <= (kind == "padded")


def count_kept(kind: str, count: int) -> int:
    """Return how many of `count` damaged files are kept."""
    draw = random.Random(1)
    kept = 0
    for number in range(count):
        quality = [cv2.IMWRITE_JPEG_QUALITY, draw.choice([60, 85, 95])]
        data = cv2.imencode(".jpg", draw_photo(draw), quality)[1].tobytes()
        damaged = check(damage_scan(kind, data, draw))
        kept += isinstance(damaged, Checked)
        if isinstance(damaged, Rejection):
            assert (damaged.reason, damaged.setting) == (Reason.BROKEN, "damaged"), number
    return kept


def test_sound_jpegs_are_kept() -> None:
    assert_sound_files_are_kept(8)


@pytest.mark.parametrize("kind", ["cut", "missing", "zeroed"])
def test_damaged_jpegs_are_dropped(kind: str) -> None:
    assert count_kept(kind, 30) == 0


@pytest.mark.sweep
def test_two_thousand_sound_jpegs_are_kept() -> None:
    assert_sound_files_are_kept(182)


@pytest.mark.sweep
@pytest.mark.parametrize("kind", ["cut", "missing", "zeroed"])
def test_three_hundred_damaged_jpegs_are_dropped(kind: str) -> None:
    assert count_kept(kind, 300) <= 1


def test_damaged_jpegs_can_be_kept_and_are_named() -> None:
    draw = random.Random(2)
    data = cv2.imencode(".jpg", draw_photo(draw))[1].tobytes()
    flaws: Counter[str] = Counter()
    for kind in ("cut", "missing", "zeroed"):
        checked = check(damage_scan(kind, data, draw), damaged="keep")
        assert isinstance(checked, Checked)
        flaws[checked.flaw] += 1
    assert flaws["too few bytes for the pixels"] > 0
    assert "" not in flaws


def test_zeros_are_a_flat_area_where_the_tables_say_so() -> None:
    white = np.full((600, 600, 3), 255, np.uint8)
    white[:40, :40] = draw_photo(random.Random(3))[-40:, :40]
    data = cv2.imencode(".jpg", white, [cv2.IMWRITE_JPEG_OPTIMIZE, 1])[1].tobytes()
    assert bytes(MIN_ZEROS) in data
    assert isinstance(check(data), Checked)


@pytest.mark.parametrize("quality", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)])
def test_a_jpeg_that_is_cut_off_can_be_kept(quality: tuple[int, ...]) -> None:
    data = cv2.imencode(".jpg", draw_photo(random.Random(4)), quality)[1].tobytes()[:-3_000]
    dropped = check(data)
    assert isinstance(dropped, Rejection)
    assert (dropped.reason, dropped.detail) == (Reason.TRUNCATED, "no end marker")
    kept = check(data, damaged="keep")
    assert isinstance(kept, Checked)
    assert kept.flaw == "no end marker"


def drop_last_page(data: bytes) -> bytes:
    last = data.rindex(b"OggS")
    return data[:last]


def test_an_ogg_file_without_its_last_page_can_be_kept() -> None:
    data = drop_last_page(encode_audio(make_tone(16_000, 6.0), 16_000, "OGG"))
    dropped = check_audio(data, "audio/ogg", AudioCheck())
    assert isinstance(dropped, Rejection)
    assert (dropped.reason, dropped.detail) == (Reason.TRUNCATED, "no last page")
    kept = check_audio(data, "audio/ogg", AudioCheck(damaged="keep"))
    assert isinstance(kept, Checked)
    assert kept.flaw == "no last page"
    assert 0.5 * 96_000 < kept.facts["frames"] < 96_000
    assert ogg.read_header(kept.data).frames == kept.facts["frames"]


def test_what_a_recording_lacks_is_counted() -> None:
    whole = build_wav(encode_pcm(make_tone(8_000, 1.0)))
    data = whole[:-4_000]
    assert isinstance(check_audio(data, "audio/wav", AudioCheck()), Rejection)
    kept = check_audio(data, "audio/wav", AudioCheck(damaged="keep"))
    assert isinstance(kept, Checked)
    assert (kept.facts["frames"], kept.facts["missing_frames"]) == (6_000, 2_000)
    assert kept.flaw == "fewer samples than declared"
