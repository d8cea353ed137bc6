"""All audio features of the table: equal to those of librosa, deterministic, of one length, and never NaN."""

import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
from librosa.onset import onset_strength
from numpy.typing import NDArray

from pipeline.config.params import Params
from pipeline.errors import ParamsError
from pipeline.incremental.arrays_folder import VARIABLE
from pipeline.modalities.audio.feature_table import AUDIO_FEATURES
from pipeline.modalities.audio.features import compute_features, plan_features
from pipeline.modalities.audio.librosa_features import CONTRAST_LOW, F0_MAX, F0_MIN, find_pitch_frame
from pipeline.modalities.audio.numpy_features import load_cosines, load_filter_bank
from pipeline.modalities.audio.params import AudioFeatures
from pipeline.tables.drops import Rejection
from tests.support.factory_extract import make_params
from tests.support.factory_media import make_tone
from tests.support.running import ROOT

pytestmark = pytest.mark.slow

Clip = NDArray[np.float32]
RATES = [(16000, 512, 256), (8000, 255, 100), (44100, 2048, 512), (1000, 16, 7)]
TOLERANCE = {"mfcc": 1e-3, "mfcc_delta": 1e-3, "mfcc_delta2": 1e-3, "logmel": 1e-3, "loudness": 1e-3}
"""Of those that are computed in NumPy, in their unit. All others are librosa's values rounded to float32."""


def choose(rate: int, fft: int, hop: int, **changes: Any) -> AudioFeatures:
    block = {"rate": rate, "seconds": 1.0, "fft": fft, "hop": hop, "mels": 20, "coefficients": 10}
    return AudioFeatures.model_validate(block | changes)


def draw_clip(rate: int, seconds: float) -> Clip:
    """A tone that rises and falls silent, in a little noise."""
    time = np.arange(int(rate * seconds)) / rate
    tone = np.sin(2 * np.pi * (rate / 80 + 40 * time) * time) * (time % 0.4 < 0.3)
    noise = np.random.default_rng(3).normal(0, 0.003, len(time))
    return (0.5 * tone + noise).astype(np.float32)


def compute(name: str, clip: Clip, params: AudioFeatures) -> tuple[NDArray[Any], int]:
    arrays = compute_features(clip, params.model_copy(update={"features": (name,)}))
    assert not isinstance(arrays, Rejection)
    return arrays[name], int(arrays[f"{name}_length"])


def compute_onsets(clip: Clip, params: AudioFeatures) -> NDArray[Any]:
    onsets: NDArray[Any] = onset_strength(
        y=clip, sr=params.rate, n_fft=params.fft, hop_length=params.hop, n_mels=params.mels
    )
    return onsets


def call_librosa(name: str, clip: Clip, params: AudioFeatures) -> NDArray[Any]:
    """The feature as a user of librosa would compute it from samples: (values, frames)."""
    rate, fft, hop = params.rate, params.fft, params.hop
    spectrum = {"y": clip, "sr": rate, "n_fft": fft, "hop_length": hop}
    mfcc = {**spectrum, "n_mfcc": params.coefficients, "n_mels": params.mels}
    feature = librosa.feature
    bands = min(6, int(np.ceil(np.log2(rate / 2 / CONTRAST_LOW))))
    bins = min(84, 1 + int(12 * np.log2(rate / 2 / 1.05 / librosa.note_to_hz("C1"))))
    calls: dict[str, Callable[[], Any]] = {
        "mfcc": lambda: feature.mfcc(**mfcc),
        "mfcc_delta": lambda: feature.delta(feature.mfcc(**mfcc), order=1),
        "mfcc_delta2": lambda: feature.delta(feature.mfcc(**mfcc), order=2),
        "logmel": lambda: librosa.power_to_db(feature.melspectrogram(**spectrum, n_mels=params.mels)),
        "loudness": lambda: librosa.amplitude_to_db(
            feature.rms(y=clip, frame_length=fft, hop_length=hop), ref=1.0, amin=1e-5, top_db=None
        ),
        "chroma": lambda: feature.chroma_stft(**spectrum),
        "spectral_flatness": lambda: feature.spectral_flatness(y=clip, n_fft=fft, hop_length=hop),
        "spectral_contrast": lambda: feature.spectral_contrast(**spectrum, n_bands=bands),
        "zero_crossing_rate": lambda: feature.zero_crossing_rate(clip, frame_length=fft, hop_length=hop),
        "rms": lambda: feature.rms(y=clip, frame_length=fft, hop_length=hop),
        "f0": lambda: librosa.pyin(
            clip,
            fmin=F0_MIN,
            fmax=min(F0_MAX, rate / 2),
            sr=rate,
            frame_length=find_pitch_frame(params),
            hop_length=hop,
            fill_na=0.0,
        )[0][None],
        "tempogram": lambda: feature.tempogram(
            onset_envelope=compute_onsets(clip, params), sr=rate, hop_length=hop, win_length=384
        ),
        "cqt": lambda: np.abs(librosa.cqt(clip, sr=rate, hop_length=hop, n_bins=bins)),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values: NDArray[Any] = calls[name]() if name in calls else getattr(feature, name)(**spectrum)
    return values


@pytest.mark.parametrize(("rate", "fft", "hop"), RATES)
@pytest.mark.parametrize("name", AUDIO_FEATURES)
def test_a_feature_is_librosas(name: str, rate: int, fft: int, hop: int) -> None:
    params, clip = choose(rate, fft, hop), draw_clip(rate, 0.9)
    ours, length = compute(name, clip, params)
    theirs = call_librosa(name, clip, params).T[:length]
    assert length == params.framing.count_frames(len(clip)) == len(theirs)
    tolerance = TOLERANCE.get(name, 1e-6 * max(1.0, float(np.abs(theirs).max())))
    assert np.abs(ours[:length] - theirs).max() <= tolerance


@pytest.mark.parametrize(("rate", "fft", "hop"), RATES)
@pytest.mark.parametrize("name", AUDIO_FEATURES)
def test_a_feature_is_as_planned_for_silence_and_for_very_short_clips(name: str, rate: int, fft: int, hop: int) -> None:
    params = choose(rate, fft, hop, features=(name,))
    field = plan_features(params)[name]
    tone = make_tone(rate, 0.3)[:, 0]
    for clip in (np.zeros(rate // 4, np.float32), tone[:1], tone[:2], tone[: fft // 2 + 1], np.zeros(1, np.float32)):
        array, length = compute(name, clip, params)
        assert (str(array.dtype), array.shape) == (field.dtype, field.shape)
        assert length == params.framing.count_frames(len(clip))
        assert np.isfinite(array).all()
        assert (array[length:] == field.padding).all()
        again, _ = compute(name, clip, params)
        assert np.array_equal(array, again)


def test_unvoiced_frames_have_no_pitch_and_a_tone_has_its_own() -> None:
    time = np.arange(16000) / 16000
    tone = np.sin(2 * np.pi * 220 * time) * (time < 0.5)
    f0, length = compute("f0", tone.astype(np.float32), choose(16000, 512, 256))
    assert length == 63
    assert np.abs(f0[5:25] - 220).max() < 3
    assert not f0[40:].any()


def test_a_spectrum_too_coarse_for_contrast_is_refused() -> None:
    with pytest.raises(ParamsError, match=r"extract\.audio\.fft is 64; it must be at least rate / 200 \(80\)"):
        make_params(audio__features=["spectral_contrast"], audio__fft=64, audio__hop=32, audio__rate=16000)


PROGRAM = """
import json, os, sys
import numpy as np
from pipeline.modalities.audio.features import compute_features, prepare_audio
from pipeline.modalities.audio.params import AudioFeatures
params = AudioFeatures(features=tuple(sys.argv[1:]))
prepare_audio(params)
before = set(sys.modules)
compute_features(np.ones(4000, np.float32), params)
loaded = [name for name in set(sys.modules) - before if name.split(".")[0] in ("librosa", "numba", "scipy")]
print(json.dumps([sorted(sys.modules), sorted(loaded), len(os.listdir("/proc/self/task"))]))
"""


def run_alone(*features: str, **variables: str) -> tuple[list[str], list[str], int]:
    threads = variables | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "PATH": ""}
    command = [sys.executable, "-c", PROGRAM, *features]
    done = subprocess.run(command, cwd=ROOT, env=threads, capture_output=True, text=True, check=True)
    modules, loaded, count = json.loads(done.stdout)
    return modules, loaded, count


def test_the_default_loads_no_feature_of_librosa() -> None:
    modules, _, _ = run_alone("mfcc", "loudness")
    assert "librosa.feature" not in modules
    assert "librosa.onset" not in modules


def test_a_second_run_imports_neither_librosa_nor_scipy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_alone("mfcc", "loudness", **{VARIABLE: str(tmp_path)})
    modules, _, _ = run_alone("mfcc", "loudness", **{VARIABLE: str(tmp_path)})
    assert not {"librosa", "numba", "scipy"} & set(modules)
    made = load_filter_bank.__wrapped__(AudioFeatures().framing), load_cosines.__wrapped__(64, 40)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    kept = load_filter_bank.__wrapped__(AudioFeatures().framing), load_cosines.__wrapped__(64, 40)
    assert kept[0].window.tobytes() == made[0].window.tobytes()
    assert kept[0].filters.tobytes() == made[0].filters.tobytes()
    assert kept[1].tobytes() == made[1].tobytes()


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_libraries_are_loaded_in_the_prepared_process_and_start_no_threads() -> None:
    """A process with threads cannot be forked from."""
    modules, loaded, threads = run_alone(*AUDIO_FEATURES)
    assert "librosa.feature" in modules
    assert (loaded, threads) == ([], 1)


def test_names_in_params_are_those_of_the_table() -> None:
    for name in AUDIO_FEATURES:
        assert isinstance(make_params(audio__features=[name], audio__fft=256).features["audio"], Params)
    with pytest.raises(ParamsError, match=r"extract\.audio\.features.*chroma"):
        make_params(audio__features=["chromas"])
