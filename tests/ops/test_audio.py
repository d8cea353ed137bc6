"""Spans of recordings: the samples of the whole file, in every format, as they are, resampled and as features."""

import io
import random
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from shardwright import DamageError, Loader, ShardDataset, ops
from shardwright.datasets.read_context import allocate
from shardwright.ops.audio.open_audio import open_audio
from tests.support.factory_audio import PCM_16, build_wav, make_id3
from tests.support.factory_codecs import CODECS, Files, damage, decode_files, encode_stream
from tests.support.factory_media import encode_audio, make_tone
from tests.support.webdataset_tars import user_cache, write_shards

__all__ = ["user_cache"]

RATE, SECONDS = 48_000, 3
LIMIT = 10_000_000
EXACT = {"wav", "wav-u8", "wav-24", "wav-32", "wav-float", "wav-double", "rf64", "flac", "alac"}
PADDED = {"adts": 3 * 1024, "mp3": 0, "m4a": 0}
"""Samples that an encoder adds."""


@pytest.fixture(scope="module")
def clip() -> NDArray[np.float32]:
    """Stereo, of tones and a little noise: (frames, channels)."""
    return make_tone(RATE, SECONDS, channels=2)


@pytest.fixture(scope="module", params=CODECS)
def coded(request: pytest.FixtureRequest, clip: NDArray[np.float32]) -> tuple[str, bytes]:
    return request.param, CODECS[request.param](clip, RATE)


def read_whole(data: bytes) -> NDArray[np.float32]:
    with open_audio(data, LIMIT) as file:
        return file.read(0, file.frames)


def read_mono(data: bytes, rate: int) -> NDArray[np.float32]:
    """The whole file, resampled whole."""
    with open_audio(data, LIMIT) as file:
        mono = file.read(0, file.frames).mean(1)
        return mono if file.rate == rate else np.asarray(soxr.resample(mono, file.rate, rate))


def test_files_hold_what_was_encoded(coded: tuple[str, bytes], clip: NDArray[np.float32]) -> None:
    name, data = coded
    whole = read_whole(data)
    assert whole.dtype == np.float32
    assert len(clip) <= len(whole) <= len(clip) + PADDED.get(name, 0)
    if name in EXACT:
        assert np.abs(whole - clip).max() <= 2**-7 if name == "wav-u8" else 2**-15


def test_wav_files_have_the_samples_of_libsndfile(coded: tuple[str, bytes]) -> None:
    name, data = coded
    if not name.startswith("wav"):
        return
    expected, _ = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    assert np.array_equal(read_whole(data), expected)


def test_a_span_has_the_samples_of_the_whole_file(coded: tuple[str, bytes]) -> None:
    _, data = coded
    whole = read_whole(data)
    for start, stop in [(0, 1), (0, 700), (40_001, 90_000), (100_000, len(whole)), (len(whole) - 1, len(whole))]:
        with open_audio(data, LIMIT) as file:
            assert np.array_equal(file.read(start, stop), whole[start:stop])


@pytest.mark.parametrize("rate", [RATE, 16_000, 44_100])
def test_a_resampled_span_is_that_of_the_whole_clip(coded: tuple[str, bytes], rate: int) -> None:
    _, data = coded
    whole = read_mono(data, rate)
    for draw in (0.0, 0.37, 0.9999):
        found = decode_files(ops.Audio(ops.RandomSpan(0.7), rate), [data], [[draw]])
        size = round(0.7 * rate)
        start = int(draw * (len(whole) - size + 1))
        assert found["_length"].tolist() == [size]
        assert np.abs(found[""][0] - whole[start : start + size]).max() < 1e-6


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_056, 44_101, 96_000])
def test_any_rate_is_resampled_in_phase(rate: int) -> None:
    data = encode_audio(np.random.default_rng(0).normal(0, 0.1, rate * 3).astype(np.float32), rate, "WAV")
    whole = read_mono(data, 16_000)
    for seconds in (0.01, 1.0, 2.99):
        found = decode_files(ops.Audio(ops.CenterSpan(seconds)), [data])[""][0]
        start = int(0.5 * (len(whole) - len(found) + 1))
        assert np.abs(found - whole[start : start + len(found)]).max() < 1e-6


def test_aac_with_noise_of_the_decoder_is_the_same_each_time() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (RATE * 2, 1)).astype(np.float32)
    data = encode_stream(noise, RATE, "ipod", "aac")
    operation = ops.Audio(ops.FirstSpan(0.5))
    assert np.array_equal(decode_files(operation, [data])[""], decode_files(operation, [data])[""])
    assert np.abs(decode_files(operation, [data])[""][0] - read_mono(data, 16_000)[:8_000]).max() < 1e-6
    middle = ops.Audio(ops.CenterSpan(0.5))
    assert np.array_equal(decode_files(middle, [data])[""], decode_files(middle, [data])[""])


def test_short_clips_are_followed_by_zeros() -> None:
    clips = [make_tone(16_000, seconds) for seconds in (0.5, 0.25, 1.0)]
    data = [encode_audio(clip, 16_000, "FLAC") for clip in clips]
    for span in (ops.RandomSpan(0.5), ops.CenterSpan(0.5), ops.FirstSpan(0.5)):
        found = decode_files(ops.Audio(span), data)
        assert found[""].shape == (3, 8_000)
        assert found["_length"].tolist() == [8_000, 4_000, 8_000]
        assert np.abs(found[""][1, :4_000] - clips[1][:, 0]).max() < 2**-15
        assert not found[""][1, 4_000:].any()
    features = decode_files(ops.Audio(ops.FirstSpan(0.5), features=ops.LogMel(20)), data)
    assert features[""].shape == (3, 51, 20)
    assert features["_length"].tolist() == [51, 26, 51]
    assert not features[""][1, 26:].any()
    alone = decode_files(ops.Audio(ops.FirstSpan(0.25), features=ops.LogMel(20)), [data[1]])
    assert np.array_equal(features[""][1, :26], alone[""][0])


def test_whole_clips_and_several_channels_are_lists(clip: NDArray[np.float32]) -> None:
    data = [encode_audio(clip[:frames], RATE, "WAV", subtype="FLOAT") for frames in (100, 9_600)]
    found = decode_files(ops.Audio(ops.Whole(0.1), RATE, mono=False), data)
    assert [part.shape for part in found[""]] == [(100, 2), (4_800, 2)]
    assert found["_length"].tolist() == [100, 4_800]
    assert np.array_equal(found[""][1], clip[:4_800])
    spans = decode_files(ops.Audio(ops.FirstSpan(0.01), RATE, mono=False), data)
    assert [part.shape for part in spans[""]] == [(100, 2), (480, 2)]
    features = decode_files(ops.Audio(ops.Whole(9.0), RATE, features=ops.LogMel(8)), data)
    assert [part.shape for part in features[""]] == [(1, 8), (61, 8)]
    assert features["_length"].tolist() == [1, 61]


@pytest.mark.slow  # numba compiles some of librosa the first time
@pytest.mark.parametrize(("fft", "hop", "bands"), [(400, 160, 80), (512, 100, 40), (2048, 512, 128), (401, 50, 20)])
def test_features_are_librosas(fft: int, hop: int, bands: int) -> None:
    import librosa

    samples = make_tone(16_000, 1.5)[:, 0]
    data = encode_audio(samples, 16_000, "WAV", subtype="FLOAT")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of filters that lie between two bins
        energies = librosa.feature.melspectrogram(
            y=samples, sr=16_000, n_fft=fft, hop_length=hop, n_mels=bands, fmin=20, fmax=7_000
        )
    expected = librosa.power_to_db(energies).T
    options: dict[str, Any] = {"fft": fft, "hop": hop, "low": 20.0, "high": 7_000.0}
    logmel = decode_files(ops.Audio(ops.FirstSpan(1.5), features=ops.LogMel(bands, **options)), [data])[""][0]
    assert len(logmel) in (len(expected), len(expected) - fft % 2)
    assert np.abs(logmel - expected[: len(logmel)]).max() < 1e-4
    mfcc = decode_files(ops.Audio(ops.FirstSpan(1.5), features=ops.Mfcc(bands, coefficients=13, **options)), [data])[
        ""
    ][0]
    assert np.abs(mfcc - librosa.feature.mfcc(S=expected.T, n_mfcc=13).T[: len(mfcc)]).max() < 1e-4


def test_arguments_are_checked() -> None:
    span = ops.RandomSpan(1.0)
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: ops.RandomSpan(0), "RandomSpan.seconds is 0; it must be a number over 0"),
        (lambda: ops.Whole(float("nan")), "Whole.longest is nan"),
        (lambda: ops.Audio(span, 10), "rate is 10; it must be a whole number from 1000"),
        (lambda: ops.Audio(ops.FirstSpan(1e-5)), "must have a sample at 16000 Hz"),
        (lambda: ops.Audio(span, mono=False, features=ops.LogMel()), "features are computed of one channel"),
        (lambda: ops.Audio(span, features=ops.LogMel(high=9_000.0)), "must ascend from 0 to 8000"),
        (lambda: ops.LogMel(0), "bands is 0"),
        (lambda: ops.Mfcc(10, coefficients=11), "coefficients is 11; it must be 1 to bands"),
    ]
    for make, message in cases:
        with pytest.raises(ValueError, match=message):
            make()
    with pytest.raises(TypeError, match="it must be a span"):
        ops.Audio(2.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it begins with b''"),
        (b"text that is no audio", "it must be a WAV, FLAC"),
        (build_wav(bytes(100), size=200), "declares 200 bytes of samples; there are 100"),
        (build_wav(bytes(1)), "0 frames at 16000 Hz"),
        (build_wav(bytes(100), struct.pack("<HHIIHH", 1, 1, 1, 2, 2, 16)), "its rate is 1 Hz"),
        (build_wav(bytes(100), struct.pack("<HHIIHH", 1, 0, 8000, 2, 2, 16)), "no WAV header"),
        (build_wav(bytes(2_000_002)), "has 1000001 frames of 1 channels; max_values allows 1000000 values"),
        (
            build_wav(np.array([0, np.inf], "<f4").tobytes(), struct.pack("<HHIIHH", 3, 1, 16000, 64000, 4, 32)),
            "a sample is no number",
        ),
    ],
)
def test_what_is_no_recording_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode_files(ops.Audio(ops.FirstSpan(0.1), max_values=1_000_000), [data])


def test_headers_without_a_length_or_with_tags_are_read() -> None:
    samples = make_tone(16_000, 0.5)
    piped = build_wav((samples * 32767).astype("<i2").tobytes(), PCM_16, size=0xFFFFFFFF)
    assert len(read_whole(piped)) == 8_000
    flac = bytearray(encode_audio(samples, 16_000, "FLAC"))
    known = read_whole(bytes(flac))
    flac[21] &= 0xF0  # 36 bits of the number of samples in STREAMINFO, RFC 9639 section 8.2
    flac[22:26] = bytes(4)
    assert np.array_equal(read_whole(bytes(flac)), known)
    with pytest.raises(ValueError, match="max_values allows 100"):
        decode_files(ops.Audio(ops.FirstSpan(0.1), max_values=100), [bytes(flac)])
    mp3 = encode_audio(samples, 16_000, "MP3")
    assert np.array_equal(read_whole(make_id3() + mp3), read_whole(mp3))


def test_a_cut_file_is_damage_or_a_shorter_clip(coded: tuple[str, bytes], clip: NDArray[np.float32]) -> None:
    """Ogg does not say how long it is, but each page says whether it is the last."""
    name, data = coded
    operation = ops.Audio(ops.Whole(60.0), RATE, mono=False)
    cut = data[: len(data) * 2 // 3]
    if name in ("vorbis", "opus"):
        files = Files([cut])
        (found,) = operation.decode(files, np.empty((1, 0)), allocate)[""]
        assert len(found) < len(clip)
        assert "may have been cut" in files.warnings[0]
        whole = Files([data])
        operation.decode(whole, np.empty((1, 0)), allocate)
        assert not whole.warnings
    else:
        with pytest.raises(ValueError, match=r"declares|need|decode"):
            decode_files(operation, [cut])


def test_damage_names_the_file_and_a_loader_goes_on(tmp_path: Path) -> None:
    files = [encode_audio(make_tone(16_000, 0.5, seed=seed), 16_000, "FLAC") for seed in range(6)]
    files[3] = files[3][: len(files[3]) // 2]
    write_shards(tmp_path / "set", [[(f"k{number}", {"flac": file}) for number, file in enumerate(files)]])
    data = ShardDataset.from_webdataset(tmp_path / "set").decode(
        flac=ops.Audio(ops.RandomSpan(0.4), features=ops.LogMel(16))
    )
    assert data.names == ("flac", "flac_length")
    assert data.fields["flac"].shape == (41, 16)
    with pytest.raises(DamageError, match="'k3', flac at byte"):
        data.gather(range(6))
    loader = Loader(data, 3, shuffle=True, on_error="skip")
    batches = [batch for _ in range(2) for batch in loader]
    assert sum(int(batch["valid"].sum()) for batch in batches) == 10
    assert batches[0]["flac"].shape == (3, 41, 16)
    assert batches[0]["flac_length"].tolist() == [41] * 3


def test_whole_clips_are_padded_or_ragged_by_layouts(tmp_path: Path) -> None:
    clips = [make_tone(16_000, seconds)[:, 0] for seconds in (0.2, 0.5, 0.1)]
    files = [encode_audio(clip, 16_000, "WAV", subtype="FLOAT") for clip in clips]
    write_shards(tmp_path / "set", [[(f"k{number}", {"wav": file}) for number, file in enumerate(files)]])
    data, whole = ShardDataset.from_webdataset(tmp_path / "set"), ops.Audio(ops.Whole(0.4))
    padded = data.decode(wav=ops.Pad(whole)).gather(range(3))
    assert padded["wav"].shape == (3, 6_400)
    assert padded["wav_length"].tolist() == [3_200, 6_400, 1_600]
    assert np.array_equal(padded["wav"][1], clips[1][:6_400])
    assert not padded["wav"][0, 3_200:].any()
    ragged = data.decode(wav=ops.Ragged(whole)).gather(range(3))["wav"]
    assert np.array_equal(ragged.values, np.concatenate([clip[:6_400] for clip in clips]))


def count_refused(name: str, mutants: int, seed: int) -> int:
    draw, data = random.Random(seed), CODECS[name](make_tone(RATE, 0.4, channels=2), RATE)
    spans = [ops.RandomSpan(0.1), ops.FirstSpan(0.3), ops.CenterSpan(1.0)]
    refused = 0
    for _ in range(mutants):
        operation = ops.Audio(draw.choice(spans), draw.choice([16_000, RATE]))
        try:
            found = decode_files(operation, [damage(data, draw)], [[draw.random()] * operation.draws])
        except ValueError:
            refused += 1
        else:
            (length,), (row,) = found["_length"], found[""]
            assert 0 < length <= len(row)
            assert np.isfinite(row).all()
            assert not row[length:].any()
    return refused


@pytest.mark.parametrize("name", CODECS)
def test_damaged_files_are_refused_or_decoded(name: str) -> None:
    assert 0 < count_refused(name, 30, 0) < 30


@pytest.mark.sweep
@pytest.mark.parametrize("name", CODECS)
def test_many_damaged_files_are_refused_or_decoded(name: str) -> None:
    assert 0 < count_refused(name, 3_000, 1) < 3_000
