"""Define the block `extract.audio`, which is also that of the audio of videos."""

from typing import Annotated, Literal, Self

from pydantic import Field as Limits
from pydantic import field_validator, model_validator

from pipeline.config.params import OneOf, Params
from pipeline.config.plugins import shorten_name
from pipeline.modalities.audio.block import MAX_RATE, MIN_RATE
from pipeline.modalities.audio.feature_table import AUDIO_FEATURES
from pipeline.modalities.audio.mel import Framing
from pipeline.modalities.audio.mono import Mono

FeatureName = Annotated[str, OneOf(AUDIO_FEATURES, plugins=True)]


class AudioFeatures(Params):
    """Which audio features are stored in the shards, and how clips are cut."""

    late_keys = ("mono",)

    rate: Annotated[int, Limits(ge=MIN_RATE, le=MAX_RATE)] = 16_000
    """Hz, after resampling."""
    seconds: Annotated[float, Limits(gt=0, le=3600)] = 2.5
    """Longer clips are cut at their end, shorter ones padded."""
    mono: Mono = "mean"
    """How several channels become one: their `mean`, the `first`, or the `loudest`, which has the most energy in the
    clip. A clip whose channels cancel each other in the mean, by 20 dB or more, is dropped as `cancelled_channels`."""
    coefficients: Annotated[int, Limits(ge=1, le=256)] = 40
    """MFCC per frame; at most `mels`."""
    mels: Annotated[int, Limits(ge=1, le=256)] = 64
    """Mel bands that they are computed from."""
    fft: Annotated[int, Limits(ge=16, le=65536)] = 512
    """Samples of a frame."""
    hop: Annotated[int, Limits(ge=1, le=65536)] = 256
    """Samples from one frame to the next."""
    features: Annotated[tuple[FeatureName, ...], Limits(strict=False, min_length=1)] = ("mfcc",)
    """The features to store, in this order; a model sees the first. Deltas are the slopes and the curvatures of the
    MFCC over 9 frames, `logmel` the bands in dB that the MFCC are computed from, `loudness` the level of each frame;
    the others are librosa's of these names, `f0` by its `pyin`. The table of features is
    `pipeline.modalities.audio.feature_table`."""
    dtype: Literal["float32", "float16"] = "float32"
    """Of all of them. float16 takes half the bytes and is off by up to 0.05 % of a value: 0.25 of an MFCC of 512."""

    @field_validator("features")
    @classmethod
    def _check_distinct(cls, features: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(map(shorten_name, features))) < len(features):
            raise ValueError("a list without repeats")
        return features

    @model_validator(mode="after")
    def _check_coefficients(self) -> Self:
        if self.coefficients > self.mels:
            raise self.refuse("coefficients", f"it must be at most mels ({self.mels})")
        return self

    @model_validator(mode="after")
    def _check_features(self) -> Self:
        for name in self.features:
            if fault := AUDIO_FEATURES[name].find_fault(self):
                raise self.refuse(*fault)
        return self

    @property
    def framing(self) -> Framing:
        """How clips are cut into frames."""
        return Framing(self.rate, self.fft, self.hop, self.mels, 0.0, self.rate / 2)

    @property
    def samples(self) -> int:
        """Samples of a clip, at most."""
        return int(self.rate * self.seconds)
