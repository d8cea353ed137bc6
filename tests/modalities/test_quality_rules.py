"""The rules of quality: what they measure rises with the fault, and the stock limits drop nothing for it."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.params import Block
from pipeline.modalities.audio.check import check_audio
from pipeline.modalities.audio.rules import AudioCheck
from pipeline.modalities.image.check import check_image
from pipeline.modalities.image.quality import measure_sharpness
from pipeline.modalities.image.rules import ImageCheck
from pipeline.modalities.modality import Checked
from pipeline.modalities.text.check import check_text
from pipeline.modalities.text.quality import measure_repetition, measure_symbols
from pipeline.modalities.text.rules import TextCheck
from pipeline.tables.drops import Reason, Rejection
from tests.support.factory_media import draw_scene, encode_audio, encode_jpeg, encode_png, make_tone


def limit(kind: type[Block], **limits: float) -> Block:
    """The block with limits, whose keys come from the tables of rules."""
    return kind.model_validate(limits)


def reject(checked: Checked | Rejection) -> Rejection:
    assert isinstance(checked, Rejection)
    return checked


def keep(checked: Checked | Rejection) -> Checked:
    assert isinstance(checked, Checked), checked
    return checked


def test_blur_is_measured_at_full_size() -> None:
    rng = np.random.default_rng(0)
    sharp = cv2.resize(rng.integers(0, 256, (200, 300, 3), dtype=np.uint8), (1500, 1000), interpolation=cv2.INTER_AREA)
    blurred = cv2.GaussianBlur(sharp, (0, 0), 12)
    params = limit(ImageCheck, min_sharpness=100.0)
    keep(check_image(encode_jpeg(sharp), "image/jpeg", params))
    dropped = reject(check_image(encode_jpeg(blurred), "image/jpeg", params))
    assert (dropped.reason, dropped.setting) == (Reason.BLURRED, "min_sharpness")
    keep(check_image(encode_jpeg(blurred), "image/jpeg", ImageCheck()))


def test_sharpness_falls_with_blur_and_hardly_depends_on_the_size() -> None:
    scene = cv2.cvtColor(draw_scene(1024, 1024), cv2.COLOR_BGR2GRAY)
    scene[::64] = 255
    found = [measure_sharpness(cv2.GaussianBlur(scene, (0, 0), sigma)) for sigma in (1, 2, 4, 8)]
    assert found == sorted(found, reverse=True)
    half = cv2.resize(scene, (512, 512), interpolation=cv2.INTER_AREA)
    assert measure_sharpness(half) == pytest.approx(measure_sharpness(scene), rel=0.01)


def test_exposure_and_aspect() -> None:
    scene = draw_scene(100, 100)
    white = scene.copy()
    white[:60] = 255
    half = limit(ImageCheck, max_extreme=0.5)
    dropped = reject(check_image(encode_png(white), "image/png", half))
    assert dropped.reason is Reason.BAD_EXPOSURE
    assert 0.6 <= float(dropped.value) < 0.7
    keep(check_image(encode_png(white), "image/png", ImageCheck()))
    keep(check_image(encode_png(scene), "image/png", half))
    strip = draw_scene(20, 420)
    assert reject(check_image(encode_png(strip), "image/png", ImageCheck())).reason is Reason.BAD_ASPECT
    keep(check_image(encode_png(strip), "image/png", limit(ImageCheck, max_aspect=21.0)))


def test_clipping() -> None:
    tone = make_tone(16_000, 1.0)
    loud = np.clip(tone * 3, -1, 1)
    dropped = reject(check_audio(encode_audio(loud, 16_000, "WAV"), "audio/wav", limit(AudioCheck, max_clipped=0.05)))
    assert dropped.reason is Reason.CLIPPED
    assert float(dropped.value) == pytest.approx(np.mean(np.abs(loud) >= 0.999), abs=0.01)
    keep(check_audio(encode_audio(loud, 16_000, "WAV"), "audio/wav", AudioCheck()))
    keep(check_audio(encode_audio(tone, 16_000, "WAV"), "audio/wav", limit(AudioCheck, max_clipped=0.05)))


@pytest.mark.parametrize("noise_level", [-20, -40])
def test_dynamics_estimate_the_distance_to_the_noise(noise_level: float) -> None:
    rng = np.random.default_rng(1)
    tone = make_tone(16_000, 4.0)[:, 0]
    tone[(np.arange(len(tone)) // 8_000) % 2 == 1] = 0  # pauses
    noise = rng.normal(0, 1, len(tone)).astype(np.float32)
    noise *= np.sqrt(np.mean(tone[:8_000] ** 2)) * 10 ** (noise_level / 20)
    data = encode_audio((tone + noise)[:, None] * 0.5, 16_000, "WAV", subtype="FLOAT")
    keep(check_audio(data, "audio/wav", limit(AudioCheck, min_dynamics=-noise_level - 3.0)))
    dropped = reject(check_audio(data, "audio/wav", limit(AudioCheck, min_dynamics=-noise_level + 15.0)))
    assert (dropped.reason, dropped.setting) == (Reason.NOISY, "min_dynamics")


@pytest.mark.parametrize(
    ("text", "kept"), [("鯨", True), ("鲸", True), ("か", True), ("한", True), ("a", False), ("é", False)]
)
def test_one_character_is_a_caption_where_it_is_a_word(text: str, kept: bool) -> None:
    assert isinstance(check_text(text.encode(), "text/plain", TextCheck()), Checked) is kept


def test_repetition_and_symbols() -> None:
    prose = "A whale swims beside a small boat, and the fishermen in it look up from their nets to see it pass by."
    assert measure_repetition(prose) < 0.05
    assert measure_repetition(prose * 5) > 0.75
    assert measure_symbols(prose) < 0.1
    assert measure_symbols("{ a[i] += (b->c) * 2; } // !!") > 0.3
    dropped = reject(check_text((prose * 5).encode(), "text/plain", limit(TextCheck, max_repetition=0.3)))
    assert dropped.reason is Reason.REPETITIVE
    dropped = reject(check_text(b"{ a[i] += (b->c) * 2; } // !!", "text/plain", limit(TextCheck, max_symbols=0.3)))
    assert dropped.reason is Reason.SYMBOLS
    keep(check_text((prose * 5).encode(), "text/plain", TextCheck()))


@given(st.text())
def test_shares_of_any_text_are_shares(text: str) -> None:
    assert 0 <= measure_repetition(text) < 1
    assert 0 <= measure_symbols(text) <= 1
