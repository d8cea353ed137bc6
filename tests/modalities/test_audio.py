"""Audio: which recordings are kept and why others are dropped; MFCC equal to those of librosa."""

import io
import struct
import warnings

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from librosa.feature import mfcc as compute_reference
from librosa.filters import mel as make_reference
from numpy.typing import NDArray

from pipeline.modalities.audio.block import MAX_RATE, MIN_RATE
from pipeline.modalities.audio.check import check_audio
from pipeline.modalities.audio.features import extract_audio, plan_audio_fields
from pipeline.modalities.audio.mel import Framing, build_filter_bank
from pipeline.modalities.audio.mono import mix_to_mono
from pipeline.modalities.audio.numpy_features import compute_logmel, compute_mfcc
from pipeline.modalities.audio.params import AudioFeatures
from pipeline.modalities.audio.rules import AudioCheck
from pipeline.modalities.modality import Checked, MediaItem
from pipeline.tables.drops import Reason, Rejection
from tests.support.factory_media import encode_audio, make_tone

CHECK = AudioCheck.model_validate({"max_seconds": 20.0, "near_difference": 8.0})
FEATURES = AudioFeatures(
    rate=16000, seconds=2.5, coefficients=40, mels=64, fft=512, hop=256, features=("mfcc",), dtype="float32"
)


def frame(rate: int = 16000, mels: int = 64, fft: int = 512, hop: int = 256) -> Framing:
    return Framing(rate, fft, hop, mels, 0.0, rate / 2)


def compute(audio: NDArray[np.float32], framing: Framing, coefficients: int) -> NDArray[np.float32]:
    return compute_mfcc(compute_logmel(audio, framing), coefficients)


def compute_with_librosa(audio: NDArray[np.float32], framing: Framing, coefficients: int) -> NDArray[np.float32]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # clips shorter than a frame, and filters narrower than a bin
        mfcc: NDArray[np.float32] = compute_reference(
            y=audio,
            sr=framing.rate,
            n_mfcc=coefficients,
            n_fft=framing.fft,
            hop_length=framing.hop,
            n_mels=framing.bands,
        ).T
    return mfcc


def extract(item: MediaItem, params: AudioFeatures = FEATURES) -> tuple[NDArray[np.float32], int]:
    arrays = extract_audio(item, params, None)
    assert not isinstance(arrays, Rejection)
    return arrays["mfcc"], int(arrays["mfcc_length"])


def reject(data: bytes, media_type: str = "audio/wav", params: AudioCheck = CHECK) -> Reason:
    rejection = check_audio(data, media_type, params)
    assert isinstance(rejection, Rejection)
    return rejection.reason


@settings(max_examples=60)
@given(
    rate=st.sampled_from([8000, 11025, 16000, 22050, 44100, 48000]),
    samples=st.integers(1, 30_000),
    fft=st.sampled_from([255, 400, 512, 1024, 2048]),
    hop=st.integers(50, 700),
    mels=st.integers(20, 128),
    level=st.floats(1e-6, 1.0),
    seed=st.integers(0, 2**32 - 1),
)
def test_mfcc_are_librosas(rate: int, samples: int, fft: int, hop: int, mels: int, level: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    time = np.arange(samples) / rate
    audio = np.sin(2 * np.pi * rng.uniform(50, rate / 2) * time) + rng.normal(0, rng.uniform(0, 0.3), samples)
    audio[: rng.integers(0, samples)] *= rng.choice([0.0, 1e-4, 1.0])  # silence, then audio: the 80 dB clip
    clip = (level * audio).astype(np.float32)
    ours = compute(clip, frame(rate, mels, fft, hop), 20)
    theirs = compute_with_librosa(clip, frame(rate, mels, fft, hop), 20)
    assert ours.shape == theirs.shape
    assert ours.dtype == np.float32
    assert np.abs(ours - theirs).max() < 1e-3


@pytest.mark.parametrize("samples", [1, 2, 255, 256, 257, 511, 512, 513, 2048])
def test_mfcc_of_very_short_clips_are_librosas(samples: int) -> None:
    clip = make_tone(16000, 1.0)[:samples, 0]
    ours = compute(clip, frame(), 40)
    assert np.abs(ours - compute_with_librosa(clip, frame(), 40)).max() < 1e-3
    assert len(ours) == frame().count_frames(samples) == 1 + samples // 256


def test_silence_is_finite() -> None:
    clip = np.zeros(4000, np.float32)
    assert np.abs(compute(clip, frame(), 40) - compute_with_librosa(clip, frame(), 40)).max() < 1e-3


@pytest.mark.parametrize(
    ("rate", "fft", "mels"), [(16000, 512, 64), (8000, 256, 20), (44100, 2048, 128), (22050, 401, 40)]
)
def test_mel_filters_are_librosas(rate: int, fft: int, mels: int) -> None:
    theirs = make_reference(sr=rate, n_fft=fft, n_mels=mels).T
    assert np.allclose(build_filter_bank(frame(rate, mels, fft)).filters, theirs, rtol=1e-5, atol=1e-8)


def test_long_clips_are_framed_in_parts_with_the_same_result() -> None:
    audio = make_tone(16000, 20.0)[:, 0]
    ours = compute(audio, frame(), 40)
    assert len(ours) > 1024
    assert np.abs(ours - compute_with_librosa(audio, frame(), 40)).max() < 1e-3


@pytest.mark.parametrize(
    ("kind", "rate", "channels"), [("WAV", 16000, 1), ("WAV", 44100, 2), ("FLAC", 8000, 3), ("OGG", 48000, 2)]
)
def test_extract_is_decode_mix_resample_mfcc(kind: str, rate: int, channels: int) -> None:
    data = encode_audio(make_tone(rate, 0.8, channels), rate, kind)
    decoded, _ = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    mono = soxr.resample(decoded.mean(1), rate, 16000)
    mfcc, length = extract(MediaItem(data, "audio/" + kind.lower()))
    assert np.abs(mfcc[:length] - compute_with_librosa(mono, frame(), 40)).max() < 1e-2
    assert length == 1 + len(mono) // 256
    assert mfcc.shape == plan_audio_fields(FEATURES)["mfcc"].shape
    assert not mfcc[length:].any()


def test_a_long_recording_is_cut_as_if_it_ended_there() -> None:
    audio = make_tone(16000, 4.0)
    whole, length = extract(MediaItem(encode_audio(audio, 16000, "WAV"), "audio/wav"))
    cut, same = extract(MediaItem(encode_audio(audio[:40_000], 16000, "WAV"), "audio/wav"))
    assert length == same == len(whole) == 157
    assert np.array_equal(whole, cut)


@pytest.mark.parametrize("rate", [8000, 44100])
def test_what_follows_the_cut_does_not_matter_to_the_resampler(rate: int) -> None:
    audio = make_tone(rate, 4.0)
    whole, _ = extract(MediaItem(encode_audio(audio, rate, "WAV"), "audio/wav"))
    mono = soxr.resample(audio[:, 0].astype(np.float32), rate, 16000)[:40_000]
    assert np.abs(whole - compute_with_librosa(mono, frame(), 40)).max() < 0.1  # WAV has 16 bits


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG"])
def test_spans_are_honoured(kind: str) -> None:
    audio = make_tone(16000, 3.0)
    data = encode_audio(audio, 16000, kind)
    media_type = "audio/" + kind.lower()
    part, length = extract(MediaItem(data, media_type, start=0.5, end=1.5))
    alone, same = extract(MediaItem(encode_audio(audio[8000:24000], 16000, "WAV"), "audio/wav"))
    assert length == same == 63
    assert (
        np.abs(part - alone).max() < {"WAV": 1e-3, "FLAC": 0.1, "OGG": 20}[kind]
    )  # 16 bits rounded otherwise; a lossy coder
    _, length = extract(MediaItem(data, media_type, start=2.5))
    assert length == 32
    rejection = extract_audio(MediaItem(data, media_type, start=3.5), FEATURES, None)
    assert isinstance(rejection, Rejection)
    assert rejection.reason is Reason.TOO_SHORT


@settings(max_examples=30)
@given(st.integers(1, 8), st.integers(1, 400), st.integers(0, 2**32 - 1))
def test_mono_is_the_mean_of_the_channels(channels: int, frames: int, seed: int) -> None:
    block = np.random.default_rng(seed).normal(size=(frames, channels)).astype(np.float32)
    mono = mix_to_mono(block)
    assert np.allclose(mono, block.mean(axis=1), atol=1e-5)
    assert mono.dtype == np.float32
    assert mono.base is None


def test_headers_are_refused_before_samples_are_read() -> None:
    audio = make_tone(16000, 0.5)
    wav = bytearray(encode_audio(audio, 16000, "WAV"))
    flac = bytearray(encode_audio(audio, 16000, "FLAC"))
    huge = bytearray(flac)
    huge[21] |= 0x0F
    huge[22:26] = b"\xff\xff\xff\xff"  # 2**36 - 1 frames
    assert reject(bytes(huge), "audio/flac") is Reason.TOO_LONG
    long = bytearray(wav)
    struct.pack_into("<I", long, long.index(b"data") + 4, 0x70000000)
    struct.pack_into("<I", long, 4, 0x70000024)
    assert reject(bytes(long)) is Reason.TOO_LONG
    ogg = bytearray(encode_audio(audio, 16000, "OGG"))
    struct.pack_into("<q", ogg, ogg.rindex(b"OggS") + 6, 2**62)
    assert reject(bytes(ogg), "audio/ogg") is Reason.TOO_LONG
    for rate in (0, 1, MIN_RATE - 1, MAX_RATE + 1, 4_000_000_000):
        odd = bytearray(wav)
        struct.pack_into("<I", odd, 24, rate)
        assert reject(bytes(odd)) is Reason.BAD_RATE
    assert reject(encode_audio(make_tone(8000, 0.2, 9), 8000, "WAV")) is Reason.TOO_MANY_CHANNELS


def test_empty_short_silent_and_impossible_recordings_have_their_reasons() -> None:
    audio = make_tone(16000, 0.5)
    assert reject(encode_audio(audio[:0], 16000, "WAV")) is Reason.TOO_SHORT
    assert reject(encode_audio(audio[:1599], 16000, "WAV")) is Reason.TOO_SHORT
    assert isinstance(check_audio(encode_audio(audio[:1600], 16000, "WAV"), "audio/wav", CHECK), Checked)
    assert reject(encode_audio(np.zeros_like(audio), 16000, "OGG"), "audio/ogg") is Reason.SILENT
    assert reject(encode_audio(audio * 0.0009, 16000, "WAV", subtype="FLOAT")) is Reason.SILENT
    for value in (np.nan, np.inf, -np.inf):
        odd = audio.copy()
        odd[4000] = value
        assert reject(encode_audio(odd, 16000, "WAV", subtype="FLOAT")) is Reason.NONFINITE
    assert reject(encode_audio(audio, 16000, "WAV"), "audio/ogg") is Reason.BROKEN


def test_samples_whose_energy_is_infinite_are_dropped_by_name() -> None:
    loud = make_tone(16000, 0.5) * np.float32(1e30)
    item = MediaItem(encode_audio(loud, 16000, "WAV", subtype="FLOAT"), "audio/wav")
    rejection = extract_audio(item, FEATURES, None)
    assert isinstance(rejection, Rejection)
    assert rejection.reason is Reason.NONFINITE


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG"])
def test_facts_are_what_was_decoded(kind: str) -> None:
    checked = check_audio(encode_audio(make_tone(22050, 0.7, 2), 22050, kind), "audio/" + kind.lower(), CHECK)
    assert isinstance(checked, Checked)
    assert checked.facts == {"sample_rate": 22050, "frames": 15435, "channels": 2}


@pytest.mark.parametrize("seed", range(4))
def test_copies_are_near_and_other_recordings_are_not(seed: int) -> None:
    audio = make_tone(44100, 1.5, seed=seed) * np.hanning(66150)[:, None].astype(np.float32)
    hashes = []
    for data, kind in (
        (encode_audio(audio, 44100, "WAV"), "audio/wav"),
        (encode_audio(audio, 44100, "OGG"), "audio/ogg"),
        (encode_audio(audio * 0.5, 44100, "FLAC"), "audio/flac"),
        (encode_audio(soxr.resample(audio, 44100, 16000), 16000, "WAV"), "audio/wav"),
        (encode_audio(make_tone(44100, 1.5, seed=seed + 50), 44100, "WAV"), "audio/wav"),
    ):
        checked = check_audio(data, kind, CHECK)
        assert isinstance(checked, Checked)
        hashes.append(checked.perceptual_hash)
    first, *copies, other = hashes
    for copy in copies:
        assert (first.bits ^ copy.bits).bit_count() <= 3
        cells = [np.frombuffer(one.thumbnail, np.uint8).astype(int) for one in (first, copy)]
        assert np.abs(cells[0] - cells[1]).mean() <= 8
    assert (first.bits ^ other.bits).bit_count() > 3


def test_recordings_that_are_all_noise_have_bits_that_tell_them_apart() -> None:
    """Else every pair of them would have to be compared cell by cell: 5 billion pairs of 100,000 recordings."""
    found = set()
    for seed in range(50):
        noise = np.random.default_rng(seed).normal(0, 0.1, (8000, 1)).astype(np.float32)
        checked = check_audio(encode_audio(noise, 16000, "WAV"), "audio/wav", CHECK)
        assert isinstance(checked, Checked)
        found.add(checked.perceptual_hash.bits)
    assert len(found) == 50


def test_more_coefficients_than_mels_are_refused() -> None:
    with pytest.raises(ValueError, match="mels"):
        AudioFeatures.model_validate({**FEATURES.model_dump(), "coefficients": 65})
