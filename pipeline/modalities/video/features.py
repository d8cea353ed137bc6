"""Turn videos into frames of one size and the features of their audio.

Frames are uint8 arrays (height, width, 3) with axes HWC in the order R, G, B. What can be decoded is what the FFmpeg
inside OpenCV and PyAV knows: H.264, HEVC, MPEG-4, VP8, VP9, AV1, MJPEG and more; AAC, MP3, Opus, Vorbis, PCM and more.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.formats.format_errors import FormatFault
from pipeline.formats.video.header import VideoHeader
from pipeline.modalities.audio.block import UndecodableError
from pipeline.modalities.audio.decode import Span
from pipeline.modalities.audio.features import compute_features, plan_features, warm_up_features
from pipeline.modalities.image.pixels import Pixels, blend_to_rgb, fit_pixels
from pipeline.modalities.modality import MediaItem
from pipeline.modalities.video.formats import PARSERS
from pipeline.modalities.video.frames import open_video, read_frames, space_evenly
from pipeline.modalities.video.params import VideoFeatures
from pipeline.modalities.video.soundtrack import read_soundtrack
from pipeline.modalities.video.times import find_shown, is_even, read_times
from pipeline.tables.drops import Reason, Rejection
from shardwright.format.field import Field

PREFIX = "video_"
"""Of the fields of a video's audio, so that a sample may have audio of its own beside the video."""


def plan_video_fields(params: VideoFeatures) -> Mapping[str, Field]:
    """Return `video`: uint8 (frames, height, width, 3), axes THWC, RGB; and the fields of its audio, as `video_mfcc`
    and `video_mfcc_length`, which is 0 where a video has none."""
    shape = (params.frames, params.height, params.width, 3)
    return {"video": Field("uint8", shape, axes="THWC", unit="RGB 0-255"), **plan_features(params.sound, PREFIX)}


def extract_video(item: MediaItem, params: VideoFeatures, learned: Any) -> Mapping[str, NDArray[Any]] | Rejection:
    """Return frames of the item's span, and the features of its audio.

    The span is cut into `params.frames` equal parts of time, and the frame that is shown in the middle of each is
    taken; where there are fewer frames than parts, some are taken twice.
    """
    span = (item.start or 0.0, item.end)
    try:
        header = PARSERS[item.media_type].read_header(item.data)
        numbers = _choose_frames(item, header, span, params.frames)
        if not numbers:
            return Rejection(Reason.TOO_SHORT, "the span lies beyond the end of the video")
        video = open_video(item.data, item.media_type, header)
        seen = read_frames(video, numbers, lambda pixels: _fit(pixels, params), numbers[-1] + 1)
    except (FormatFault, UndecodableError):
        return Rejection(Reason.BROKEN, "the decoder cannot read the frames")
    try:
        samples = read_soundtrack(item.data, item.media_type, span, params.sound)
    except UndecodableError:
        return Rejection(Reason.BROKEN, "the decoder cannot read the audio")
    if isinstance(samples, Rejection):
        return replace(samples, setting=f"sound.{samples.setting}")
    features = compute_features(samples, params.sound, PREFIX)
    return features if isinstance(features, Rejection) else {"video": np.stack(seen.frames), **features}


def prepare_video(params: VideoFeatures) -> None:
    """Import what computes the features of the audio; every value that the type allows can be computed."""
    warm_up_features(params.sound)


def _choose_frames(item: MediaItem, header: VideoHeader, span: Span, count: int) -> Sequence[int]:
    """The numbers of the frames to take; none where the span lies beyond the end. They are counted, as they are the
    same for every decoder, unless frames last for different times."""
    times = read_times(item.data, item.media_type)
    first, end = _find_span(header, span)
    if first >= end:
        return []
    if is_even(times, header):
        return space_evenly(count, first, end)
    return find_shown(times, (span[0], min(span[1] or header.seconds, header.seconds)), count)


def _find_span(header: VideoHeader, span: Span) -> tuple[int, int]:
    """The number of the first frame of a span in seconds, and that of the first one after it, if all last as long."""
    rate = header.frames / header.seconds
    start, end = span
    first = int(min(start * rate, header.frames))
    return first, header.frames if end is None else math.ceil(min(end * rate, header.frames))


def _fit(pixels: Pixels, params: VideoFeatures) -> Pixels:
    rgb = blend_to_rgb(pixels, params.background)
    return fit_pixels(rgb, (params.height, params.width), params.fit, params.background)
