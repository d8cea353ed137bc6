"""Audio features in NumPy: equal to those of librosa, of one length, and never beyond their dtype."""

import fcntl
import warnings
from pathlib import Path
from typing import Any, Literal

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.errors import ParamsError
from pipeline.modalities.audio.feature_table import AUDIO_FEATURES
from pipeline.modalities.audio.features import compute_features, extract_audio, plan_features
from pipeline.modalities.audio.librosa_features import lock_compiled_functions
from pipeline.modalities.audio.mel import Framing
from pipeline.modalities.audio.numpy_features import DELTA_WIDTH, compute_delta, compute_logmel, compute_loudness
from pipeline.modalities.audio.params import AudioFeatures
from pipeline.modalities.modality import MediaItem
from pipeline.tables.drops import Reason, Rejection
from shardwright.datasets.shard_dataset import ShardDataset
from tests.support.factory_extract import Thing, extract_things, make_params, make_things, read_all
from tests.support.factory_media import encode_audio, make_tone

ALL = tuple(AUDIO_FEATURES)
BLOCK: dict[str, Any] = {
    "rate": 16000, "seconds": 1.0, "coefficients": 20, "mels": 40, "fft": 400, "hop": 160,
    "features": ALL, "dtype": "float32",
}  # fmt: skip
CLIPS = st.builds(
    lambda rate, samples, level, silent, seed: (rate, draw_clip(rate, samples, level, silent, seed)),
    st.sampled_from([8000, 16000, 44100]),
    st.integers(1, 12_000),
    st.floats(1e-6, 1.0),
    st.floats(0, 1),
    st.integers(0, 2**32 - 1),
)
FRAMES = st.tuples(st.sampled_from([255, 400, 512, 1024]), st.integers(50, 700))


def choose(**changes: Any) -> AudioFeatures:
    return AudioFeatures.model_validate(BLOCK | changes)


def draw_clip(rate: int, samples: int, level: float, silent: float, seed: int) -> NDArray[np.float32]:
    """A tone in noise, the first part of it silent or nearly so."""
    draw = np.random.default_rng(seed)
    time = np.arange(samples) / rate
    audio = np.sin(2 * np.pi * draw.uniform(50, rate / 2) * time) + draw.normal(0, draw.uniform(0, 0.3), samples)
    audio[: int(silent * samples)] *= draw.choice([0.0, 1e-4, 1.0])
    return (level * audio).astype(np.float32)


def compute(samples: NDArray[np.float32], params: AudioFeatures, prefix: str = "") -> dict[str, NDArray[Any]]:
    arrays = compute_features(samples, params, prefix)
    assert not isinstance(arrays, Rejection)
    return dict(arrays)


@settings(max_examples=40)
@given(CLIPS, FRAMES, st.integers(20, 80))
def test_logmel_is_librosas(clip: tuple[int, NDArray[np.float32]], cut: tuple[int, int], mels: int) -> None:
    (rate, audio), (fft, hop) = clip, cut
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # clips shorter than a frame, and filters narrower than a bin
        energies = librosa.feature.melspectrogram(y=audio, sr=rate, n_fft=fft, hop_length=hop, n_mels=mels)
    theirs = librosa.power_to_db(energies).T
    ours = compute_logmel(audio, Framing(rate, fft, hop, mels, 0.0, rate / 2))
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < 1e-3


@settings(max_examples=40)
@given(CLIPS, FRAMES)
def test_loudness_is_librosas(clip: tuple[int, NDArray[np.float32]], cut: tuple[int, int]) -> None:
    (rate, audio), (fft, hop) = clip, cut
    rms = librosa.feature.rms(y=audio, frame_length=fft, hop_length=hop, center=True, pad_mode="constant")
    theirs = librosa.amplitude_to_db(rms, ref=1.0, amin=1e-5, top_db=None).T
    ours = compute_loudness(audio, Framing(rate, fft, hop, 40, 0.0, rate / 2))
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < 1e-3


def test_loudness_of_full_scale() -> None:
    framing = Framing(16000, 400, 160, 40, 0.0, 8000.0)
    time = np.arange(16000) / 16000
    square, sine, nothing = np.ones(16000), np.sin(2 * np.pi * 440 * time), np.zeros(16000)
    for audio, level in ((square, 0.0), (sine, -3.01), (nothing, -100.0)):
        middle = compute_loudness(audio.astype(np.float32), framing)[10:-10]
        assert np.abs(middle - level).max() < 0.01


@settings(max_examples=60)
@given(st.integers(1, 40), st.integers(1, 12), st.sampled_from([1, 2]), st.integers(0, 2**32 - 1))
def test_deltas_are_librosas(frames: int, values: int, order: Literal[1, 2], seed: int) -> None:
    features = np.random.default_rng(seed).normal(0, 200, (frames, values)).astype(np.float32)
    ours = compute_delta(features, order)
    assert (str(ours.dtype), ours.shape) == ("float32", features.shape)
    width = max(odd for odd in range(1, DELTA_WIDTH + 1, 2) if odd <= frames)  # librosa refuses more than there are
    theirs = librosa.feature.delta(features.T, width=width, order=order).T if width >= 3 else np.zeros_like(features)
    assert np.abs(ours - theirs).max() < 1e-3


@given(st.integers(3, 30), st.floats(-50, 50), st.floats(-5, 5))
def test_deltas_of_a_parabola_are_its_derivatives(frames: int, slope: float, bend: float) -> None:
    places = np.arange(frames, dtype=np.float64)[:, None]
    parabola = (slope * places + bend * places**2).astype(np.float32)
    half = min(DELTA_WIDTH, frames - (frames + 1) % 2) // 2
    inner = slice(half, frames - half)
    assert np.allclose(compute_delta(parabola, 1)[inner], (slope + 2 * bend * places)[inner], atol=0.02)
    assert np.allclose(compute_delta(parabola, 2), 2 * bend, atol=0.02)


@settings(max_examples=30)
@given(st.permutations(ALL), st.integers(1, 5), st.sampled_from(["float32", "float16"]), st.integers(0, 20_000))
def test_arrays_are_the_planned_fields(names: list[str], count: int, dtype: str, samples: int) -> None:
    params = choose(features=names[:count], dtype=dtype)
    audio = make_tone(16000, 1.25)[: min(samples, params.samples), 0]
    fields, arrays = plan_features(params, "x_"), compute(audio, params, "x_")
    assert list(arrays) == list(fields) == [f"x_{name}{end}" for name in names[:count] for end in ("", "_length")]
    for name, field in fields.items():
        assert (str(arrays[name].dtype), arrays[name].shape) == (field.dtype, field.shape)
        if field.padding is not None:
            length = int(arrays[f"{name}_length"])
            assert length == (params.framing.count_frames(len(audio)) if len(audio) else 0)
            assert (arrays[name][length:] == field.padding).all()


def test_half_precision_is_the_single_one_rounded() -> None:
    audio = make_tone(16000, 0.9)[:, 0]
    single, half = compute(audio, choose()), compute(audio, choose(dtype="float16"))
    for name, array in single.items():
        assert np.array_equal(array.astype(half[name].dtype), half[name])


def test_what_half_precision_cannot_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """No audio comes so far, the cosine transform of 256 bands of 400 dB would give 6,400: the limit is held anyway."""
    large = np.full((3, 20), 70_000, np.float32)
    monkeypatch.setattr("pipeline.modalities.audio.clip.compute_mfcc", lambda logmel, coefficients: large)
    audio = make_tone(16000, 0.5)[:, 0]
    assert not isinstance(compute_features(audio, choose(features=["mfcc"])), Rejection)
    rejection = compute_features(audio, choose(features=["logmel", "mfcc"], dtype="float16"))
    assert isinstance(rejection, Rejection)
    assert (rejection.reason, rejection.value) == (Reason.NONFINITE, "70000")
    assert "mfcc" in rejection.detail


def test_each_feature_is_the_same_alone_and_with_others() -> None:
    item = MediaItem(encode_audio(make_tone(16000, 0.7), 16000, "WAV"), "audio/wav")
    together = extract_audio(item, choose(), None)
    assert not isinstance(together, Rejection)
    for name in ALL:
        alone = extract_audio(item, choose(features=[name]), None)
        assert not isinstance(alone, Rejection)
        assert np.array_equal(alone[name], together[name])


@pytest.mark.parametrize("features", [[], ["mfcc", "mfcc"], ["mel"], "mfcc"])
def test_features_that_are_none_are_refused(features: Any) -> None:
    with pytest.raises(ParamsError, match=r"extract\.audio\.features"):
        make_params(audio__features=features)


def test_features_in_shards(tmp_path: Path) -> None:
    params = make_params(audio__features=["logmel", "mfcc_delta", "loudness"], audio__dtype="float16")
    mute = Thing("mute", modalities=("image",))
    root = extract_things(tmp_path, [*make_things(12), mute], params)
    data = ShardDataset(root, "train")
    names = ["logmel", "logmel_length", "mfcc_delta", "mfcc_delta_length", "loudness", "loudness_length"]
    assert (data.manifest.extract or {})["modalities"]["audio"] == names
    assert {str(data.fields[name].dtype) for name in names[::2]} == {"float16"}
    statistics = data.manifest.statistics or {}
    assert len(statistics["logmel"].mean) == 16
    assert -100 < statistics["loudness"].mean[0] < 0
    sample = read_all(root)["mute"]
    assert (int(sample["audio_present"]), int(sample["logmel_length"])) == (0, 0)
    assert (sample["logmel"] == -100).all()
    assert not sample["mfcc_delta"].any()


def test_one_process_at_a_time_compiles_into_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "numba"))
    with lock_compiled_functions(), (tmp_path / "numba/.lock").open() as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with (tmp_path / "numba/.lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
