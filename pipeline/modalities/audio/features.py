"""Compute the audio features of clips, frame by frame, as arrays of one length.

Each feature is an array (frames, values) with axes TC: cut at the clip's end or filled up with its padding, beside the
number of frames of the clip. All features of a clip have the same frames.
"""

from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.plugins import shorten_name
from pipeline.modalities.audio.block import UndecodableError
from pipeline.modalities.audio.clip import Clip
from pipeline.modalities.audio.decode import MAX_PEAK, REJECTED_PEAK, load_decoder, make_clip, read_clip
from pipeline.modalities.audio.feature_table import AUDIO_FEATURES
from pipeline.modalities.audio.librosa_features import lock_compiled_functions
from pipeline.modalities.audio.mel import Samples
from pipeline.modalities.audio.params import AudioFeatures
from pipeline.modalities.modality import MediaItem
from pipeline.runtime.stopwatch import clock
from pipeline.tables.drops import Reason, Rejection
from shardwright.format.field import Field


def plan_audio_fields(params: AudioFeatures) -> Mapping[str, Field]:
    """Return the fields of `plan_features`: by default `mfcc` and `mfcc_length`."""
    return plan_features(params)


def extract_audio(item: MediaItem, params: AudioFeatures, learned: Any) -> Mapping[str, NDArray[Any]] | Rejection:
    """Return the features of the item's span, mono, at `params.rate`."""
    try:
        span = (item.start or 0.0, item.end)
        block = read_clip(item.data, item.media_type, span, params.seconds, params.rate)
    except UndecodableError:
        return Rejection(Reason.BROKEN, "the decoder cannot read the samples")
    if not block.samples.size:
        return Rejection(Reason.TOO_SHORT, "the span lies beyond the end of the recording")
    samples = make_clip(block, params.mono, params.seconds, params.rate)
    return samples if isinstance(samples, Rejection) else compute_features(samples, params)


def prepare_audio(params: AudioFeatures) -> None:
    """Import the decoder and whatever computes the features; every value that the type allows can be computed."""
    load_decoder()
    warm_up_features(params)


@cache
def warm_up_features(params: AudioFeatures) -> None:
    """Compute the features of a short clip, so that libraries are imported, and functions of librosa compiled, once in
    the process that workers are forked from."""
    with lock_compiled_functions():
        compute_features(np.zeros(params.fft, np.float32), params)


def plan_features(params: AudioFeatures, prefix: str = "") -> dict[str, Field]:
    """Return the fields of each feature, in the order of `params.features`, their names after `prefix`.

    A feature fills `<name>`: `params.dtype` (frames, values), axes TC, with the unit and padding of its row in
    `AUDIO_FEATURES`; and `<name>_length`: int32, frames of the clip. The name of a plugin is that of `shorten_name`.
    """
    fields = {}
    for name, field in _plan_arrays(params).items():
        field_name = f"{prefix}{shorten_name(name)}"
        fields[field_name] = field
        fields[f"{field_name}_length"] = Field("int32", (), unit="frames")
    return fields


@lru_cache(maxsize=8)  # of the two modalities with audio; it is called for every item
def _plan_arrays(params: AudioFeatures) -> Mapping[str, Field]:
    frames = params.framing.count_frames(params.samples)
    fields = {}
    for name in params.features:
        row = AUDIO_FEATURES[name]
        shape = (frames, row.count_values(params))
        fields[name] = Field(params.dtype, shape, axes="TC", unit=row.unit, padding=row.padding)
    return fields


def compute_features(
    samples: Samples, params: AudioFeatures, prefix: str = ""
) -> Mapping[str, NDArray[Any]] | Rejection:
    """Return arrays for exactly the fields of `plan_features`, of a clip at `params.rate` up to `params.seconds` long.

    A clip without samples has no frames: its arrays are all padding. One with a sample beyond `MAX_PEAK`, or with a
    value that `params.dtype` cannot hold, is rejected.
    """
    if samples.size and not np.abs(samples).max() <= MAX_PEAK:  # which no NaN is
        return REJECTED_PEAK
    clip = Clip(samples, params)
    arrays: dict[str, NDArray[Any]] = {}
    for name, field in _plan_arrays(params).items():
        row = AUDIO_FEATURES[name]
        array = np.full(field.shape, row.padding, field.dtype)
        values: NDArray[Any] = np.empty((0, field.shape[1]), np.float32)
        if samples.size:
            with clock("audio features"):
                values = row.compute(clip)
        with np.errstate(over="ignore"):
            array[: len(values)] = values
        if not np.isfinite(array).all():
            shown = f"{np.abs(values).max():g}"
            return Rejection(Reason.NONFINITE, f"{name} has values beyond {params.dtype}", shown)
        field_name = f"{prefix}{shorten_name(name)}"
        arrays[field_name] = array
        arrays[f"{field_name}_length"] = np.array(len(values), np.int32)
    return arrays
