"""What becomes of a sound in the shards, frame by frame: MFCC, their slopes, log-mel bands, loudness.

Each is an array (frames, values) with axes TC, of one length for all sounds: cut at its end, or filled up with its
padding, beside the number of frames that are the sound's own. All of a sound have the same frames.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Limits
from pydantic import field_validator, model_validator

from pipeline.config.params import Params
from pipeline.modalities.audio import loudness, mfcc
from pipeline.modalities.audio.decode import MAX_PEAK
from pipeline.modalities.audio.delta import compute_delta
from pipeline.modalities.audio.loudness import compute_loudness
from pipeline.modalities.audio.mel import Framing, Samples
from pipeline.modalities.audio.mfcc import compute_logmel, compute_mfcc
from pipeline.runtime.stopwatch import clock
from pipeline.tables.drops import Reason, Rejection
from shardwright.format.field import Field

MIN_RATE, MAX_RATE = 1_000, 768_000
"""Hz. Below is no sound that anybody could recognise, above no converter that is sold: such headers are wrong."""

REJECTED_PEAK = Rejection(Reason.NONFINITE, "a sample is no number, or larger than any sound", limit=f"{MAX_PEAK:g}")

Feature = Literal["mfcc", "mfcc_delta", "mfcc_delta2", "logmel", "loudness"]


class _Kind(NamedTuple):
    """The unit of a feature, and what stands after its last frame: where that is a level, the lowest."""

    unit: str
    padding: float


_KINDS: Mapping[Feature, _Kind] = {
    "mfcc": _Kind("", 0.0),
    "mfcc_delta": _Kind("per frame", 0.0),
    "mfcc_delta2": _Kind("per frame squared", 0.0),
    "logmel": _Kind("dB", mfcc.FLOOR_DB),
    "loudness": _Kind("dBFS", loudness.FLOOR_DB),
}


class AudioFeatures(Params):
    """What becomes of a sound in the shards."""

    rate: Annotated[int, Limits(ge=MIN_RATE, le=MAX_RATE)] = 16_000
    """Hz, after resampling."""
    seconds: Annotated[float, Limits(gt=0, le=3600)] = 2.5
    """Longer sounds are cut at their end, shorter ones padded."""
    coefficients: Annotated[int, Limits(ge=1, le=256)] = 40
    """MFCC a frame; at most `mels`."""
    mels: Annotated[int, Limits(ge=1, le=256)] = 64
    """Mel bands that they are computed from."""
    fft: Annotated[int, Limits(ge=16, le=65536)] = 512
    """Samples of a frame."""
    hop: Annotated[int, Limits(ge=1, le=65536)] = 256
    """Samples from one frame to the next."""
    features: Annotated[tuple[Feature, ...], Limits(strict=False, min_length=1)] = ("mfcc",)
    """Which features there are, in this order; a model sees the first. Deltas are the slopes and the curvatures of the
    MFCC over 9 frames, `logmel` the bands in dB that the MFCC are made of, `loudness` the level of each frame."""
    dtype: Literal["float32", "float16"] = "float32"
    """Of all of them. Half the bytes cost up to 0.05 % of a value, 0.25 of an MFCC of 512."""

    @field_validator("features")
    @classmethod
    def _check_distinct(cls, features: tuple[Feature, ...]) -> tuple[Feature, ...]:
        if len(set(features)) < len(features):
            raise ValueError("a list without repeats")
        return features

    @model_validator(mode="after")
    def _check_coefficients(self) -> Self:
        if self.coefficients > self.mels:
            raise self.refuse("coefficients", f"it must be at most mels ({self.mels})")
        return self

    @property
    def framing(self) -> Framing:
        """How the sound is cut into frames."""
        return Framing(self.rate, self.fft, self.hop, self.mels, 0.0, self.rate / 2)

    @property
    def samples(self) -> int:
        """Samples of a clip, at most."""
        return int(self.rate * self.seconds)


def plan_features(params: AudioFeatures, prefix: str = "") -> dict[str, Field]:
    """The fields of each feature, in the order of `params.features`, their names after `prefix`.

    `mfcc`, `mfcc_delta` and `mfcc_delta2`: `params.dtype` (frames, coefficients), padded with 0. `logmel`: (frames,
    mels), dB, and `loudness`: (frames, 1), dBFS, padded with -100. Each has its `<name>_length`: int32, frames of the
    sound.
    """
    fields = {}
    for name, field in _plan_arrays(params).items():
        fields[f"{prefix}{name}"] = field
        fields[f"{prefix}{name}_length"] = Field("int32", (), unit="frames")
    return fields


@lru_cache(maxsize=8)  # of the two modalities with sound; it is asked for with every item
def _plan_arrays(params: AudioFeatures) -> Mapping[Feature, Field]:
    frames = params.framing.count_frames(params.samples)
    fields: dict[Feature, Field] = {}
    for name in params.features:
        unit, padding = _KINDS[name]
        shape = (frames, {"logmel": params.mels, "loudness": 1}.get(name, params.coefficients))
        fields[name] = Field(params.dtype, shape, axes="TC", unit=unit, padding=padding)
    return fields


def compute_features(
    samples: Samples, params: AudioFeatures, prefix: str = ""
) -> Mapping[str, NDArray[Any]] | Rejection:
    """Arrays for exactly the fields of `plan_features`, of a clip at `params.rate` no longer than `params.seconds`.

    A clip without samples has no frames: its arrays are all padding. One with a sample beyond `MAX_PEAK`, or with a
    value that `params.dtype` cannot hold, is rejected.
    """
    if samples.size and not np.abs(samples).max() <= MAX_PEAK:  # which no NaN is
        return REJECTED_PEAK
    with clock("sound features"):
        clips = _compute_clips(samples, params) if samples.size else {}
    arrays: dict[str, NDArray[Any]] = {}
    for name, field in _plan_arrays(params).items():
        clip = clips.get(name, np.empty((0, field.shape[1]), np.float32))
        array = np.full(field.shape, _KINDS[name].padding, field.dtype)
        with np.errstate(over="ignore"):
            array[: len(clip)] = clip
        if not np.isfinite(array).all():
            return Rejection(Reason.NONFINITE, f"{name} has values beyond {params.dtype}", f"{np.abs(clip).max():g}")
        arrays[f"{prefix}{name}"] = array
        arrays[f"{prefix}{name}_length"] = np.array(len(clip), np.int32)
    return arrays


def _compute_clips(samples: Samples, params: AudioFeatures) -> dict[str, NDArray[np.float32]]:
    """The features that are asked for, float32 (frames, values), and those that they are made of."""
    wanted, clips = set(params.features), dict[str, NDArray[np.float32]]()
    if wanted != {"loudness"}:
        clips["logmel"] = compute_logmel(samples, params.framing)
    if wanted & {"mfcc", "mfcc_delta", "mfcc_delta2"}:
        clips["mfcc"] = compute_mfcc(clips["logmel"], params.coefficients)
    if "mfcc_delta" in wanted:
        clips["mfcc_delta"] = compute_delta(clips["mfcc"], 1)
    if "mfcc_delta2" in wanted:
        clips["mfcc_delta2"] = compute_delta(clips["mfcc"], 2)
    if "loudness" in wanted:
        clips["loudness"] = compute_loudness(samples, params.framing)
    return clips
