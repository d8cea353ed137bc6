"""The block `extract:` of `params.yaml`."""

from typing import Annotated

from pydantic import Field, field_validator

from pipeline.config.params import Params, Share, Strings
from pipeline.modalities.audio.features import AudioFeatures
from pipeline.modalities.image.modality import ImageFeatures
from pipeline.modalities.text.params import TextFeatures
from pipeline.modalities.video.modality import VideoFeatures

MAX_SHARDS = 2**19
"""Of a split: the largest power of two that the six digits of a shard's name can count."""


class ExtractParams(Params):
    """How shards are cut, and the features of each modality."""

    shard_bytes: Annotated[int, Field(ge=4096, le=2**33)]
    """The mean size of a split's shards is at most this; their number is the smallest power of two that keeps to it."""
    shards: Annotated[int, Field(ge=1, le=MAX_SHARDS)] | None
    """A fixed number of shards a split instead, a power of two; `null` to go by `shard_bytes`."""
    classes: Annotated[Strings, Field(min_length=1)] | None
    """The labels in the order of their numbers; samples with others are dropped. `null`: those found, sorted."""
    image: ImageFeatures
    """Pictures to pixels."""
    audio: AudioFeatures
    """Sounds to MFCC, and more where it says so."""
    text: TextFeatures
    """Words to numbers."""
    video: VideoFeatures
    """Videos to pictures and features of their sound."""
    max_dropped: Share
    """More than this share of the samples dropped stops the run."""

    @field_validator("shards")
    @classmethod
    def _check_power(cls, shards: int | None) -> int | None:
        if shards is not None and shards & (shards - 1):
            raise ValueError("a power of two, so that doubling it splits each shard in two")
        return shards

    @field_validator("classes")
    @classmethod
    def _check_distinct(cls, classes: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if classes is not None and len(set(classes)) < len(classes):
            raise ValueError("a list without repetitions")
        return classes
