"""Videos: MP4, WebM, Matroska and AVI, checked and stripped without re-encoding, and made into pictures and sound.

Pictures are uint8 arrays (height, width, 3) with axes HWC in the order R, G, B. What can be decoded is what the FFmpeg
inside OpenCV and PyAV knows: H.264, HEVC, MPEG-4, VP8, VP9, AV1, MJPEG and more; AAC, MP3, Opus, Vorbis, PCM and more.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Limits

from pipeline.config.params import Params
from pipeline.formats import avi, matroska, mp4
from pipeline.formats.format_errors import FormatFault, Truncated
from pipeline.formats.video_header import VideoHeader
from pipeline.modalities.audio.decode import UndecodableError
from pipeline.modalities.audio.features import AudioFeatures, compute_features, plan_features
from pipeline.modalities.image.pixels import Fit, Pixels, fit_pixels, load_opencv, resize_pixels
from pipeline.modalities.modality import Checked, MediaItem, Modality
from pipeline.modalities.perceptual_hash import SIDE, compute_perceptual_hash
from pipeline.modalities.video.frames import DecodedFrames, read_frames
from pipeline.modalities.video.soundtrack import read_soundtrack
from pipeline.tables.drops import Reason, Rejection
from shardwright.format.field import Field

FORMATS = {"video/mp4": mp4, "video/webm": matroska, "video/x-matroska": matroska, "video/x-msvideo": avi}
"""The parsers of what this modality takes, by media type."""

CONTAINERS = {"video/mp4": "mov", "video/webm": "matroska", "video/x-matroska": "matroska", "video/x-msvideo": "avi"}
"""FFmpeg's names of them."""

PREFIX = "video_"
"""Of the fields of the sound, so that a sample may have a sound of its own beside the video."""

MIN_DECODED = 0.9
"""Share of the listed pictures that have to come: edit lists leave some out that a file has."""

Level = Annotated[int, Limits(ge=0, le=255)]

_CELLS = 4  # pictures in the fingerprint, two beside two
_THRESHOLD = 8.0  # of the fingerprint, as of pictures


class VideoCheck(Params):
    """What a video must be to be kept. All but `near_` is read in the header, before anything is decoded."""

    max_pixels: Annotated[int, Limits(ge=1)] = 9_000_000
    """Width times height."""
    min_side: Annotated[int, Limits(ge=1)] = 16
    """Pixels of the shorter side."""
    max_seconds: Annotated[float, Limits(gt=0)] = 600.0
    """Seconds."""
    max_frames: Annotated[int, Limits(ge=1)] = 36_000
    """Pictures."""
    near_bits: Annotated[int, Limits(ge=0, le=16)] = 3
    """Of the 64 bits of the fingerprint, as many as may differ between near-duplicates."""
    near_difference: Annotated[float, Limits(ge=0, le=255)] = 2.0
    """Levels of 255 by which near-duplicates may differ on average over four pictures of 8 × 8 cells, brought to one
    brightness and contrast."""


class VideoFeatures(Params):
    """What becomes of a video in the shards."""

    frames: Annotated[int, Limits(ge=1, le=4096)] = 8
    """Pictures, evenly spaced."""
    height: Annotated[int, Limits(ge=1, le=8192)] = 64
    """Pixels."""
    width: Annotated[int, Limits(ge=1, le=8192)] = 64
    """Pixels."""
    fit: Fit = "crop"
    """Cut to the shape about the centre, or fill up with background, or distort."""
    background: Annotated[tuple[Level, Level, Level], Limits(strict=False)] = (0, 0, 0)
    """R, G, B around what `pad` fits."""
    sound: AudioFeatures = AudioFeatures()
    """What becomes of its sound."""


def check_video(data: bytes, media_type: str, params: VideoCheck) -> Checked | Rejection:
    """Judge a video by its header, then strip it, then decode the pictures of what is left, which is what is kept.

    The facts are width and height, as stored, and frames, of pictures. Its container's metadata goes; what an encoder
    wrote of itself inside the pictures and sounds stays, since no byte of them changes. The sound is not listened to.
    """
    if not data:
        return Rejection(Reason.EMPTY, "no bytes")
    if media_type not in FORMATS:
        return Rejection(Reason.UNSUPPORTED_TYPE, "no parser for this type of video", media_type, ", ".join(FORMATS))
    try:
        header = FORMATS[media_type].read_header(data)
        if rejection := _check_header(header, params):
            return rejection
        FORMATS[media_type].check_whole(data)
        stripped = FORMATS[media_type].strip_metadata(data)
    except Truncated as fault:
        return Rejection(Reason.TRUNCATED, str(fault))
    except FormatFault as fault:
        return Rejection(Reason.BROKEN, str(fault))
    try:
        seen = read_frames(stripped, _find_size(header), _space(_CELLS, 0, header.frames), _shrink, header.frames)
    except UndecodableError:
        return Rejection(Reason.BROKEN, "the decoder cannot read the pictures")
    if seen.decoded < MIN_DECODED * header.frames:
        return Rejection(Reason.TRUNCATED, "pictures decoded, of those listed", str(seen.decoded), str(header.frames))
    facts = {"width": header.width, "height": header.height, "frames": seen.decoded}
    return Checked(stripped, facts, compute_perceptual_hash(_join_cells(seen), _THRESHOLD))


def plan_video_fields(params: VideoFeatures) -> Mapping[str, Field]:
    """`video`: uint8 (frames, height, width, 3), axes THWC, RGB; and those of its sound, as `video_mfcc` and
    `video_mfcc_length`, which is 0 where a video has none."""
    shape = (params.frames, params.height, params.width, 3)
    return {"video": Field("uint8", shape, axes="THWC", unit="RGB 0-255"), **plan_features(params.sound, PREFIX)}


def extract_video(item: MediaItem, params: VideoFeatures, learned: Any) -> Mapping[str, NDArray[Any]] | Rejection:
    """Pictures of the span of the item that is asked for, and the features of its sound.

    The span is cut into `params.frames` equal parts, and the picture in the middle of each is taken; where there are
    fewer pictures than parts, some are taken twice. Places are counted in pictures: where they last for different
    times, those taken are evenly spaced among pictures and not in time.
    """
    span = (item.start or 0.0, item.end)
    try:
        header = FORMATS[item.media_type].read_header(item.data)
        first, end = _find_span(header, span)
        if first >= end:
            return Rejection(Reason.TOO_SHORT, "the span lies beyond the end of the video")
        places = _space(params.frames, first, end)
        seen = read_frames(item.data, _find_size(header), places, lambda pixels: _fit(pixels, params), places[-1] + 1)
    except (FormatFault, UndecodableError):
        return Rejection(Reason.BROKEN, "the decoder cannot read the pictures")
    try:
        sound = read_soundtrack(item.data, CONTAINERS[item.media_type], span, params.sound.seconds, params.sound.rate)
    except UndecodableError:
        return Rejection(Reason.BROKEN, "the decoder cannot read the sound")
    features = compute_features(sound, params.sound, PREFIX)
    return features if isinstance(features, Rejection) else {"video": np.stack(seen.pictures), **features}


def prepare_video(params: VideoFeatures) -> None:
    """Nothing to prepare: every value that the type allows can be carried out."""


def _check_header(header: VideoHeader, params: VideoCheck) -> Rejection | None:
    shown = f"{header.width} × {header.height}"
    if not header.frames:
        return Rejection(Reason.UNSUPPORTED_TYPE, "its header lists no pictures: it has none, or is fragmented")
    if header.width * header.height > params.max_pixels:
        return Rejection(Reason.TOO_MANY_PIXELS, "by its header, in width × height", shown, str(params.max_pixels))
    if min(header.width, header.height) < params.min_side:
        return Rejection(Reason.TOO_SMALL, "pixels of the shorter side", shown, str(params.min_side))
    if header.frames > params.max_frames:
        return Rejection(Reason.TOO_LONG, "pictures, by the header", str(header.frames), str(params.max_frames))
    if header.seconds > params.max_seconds:
        return Rejection(Reason.TOO_LONG, "seconds, by the header", f"{header.seconds:.2f}", f"{params.max_seconds:g}")
    if not header.seconds > 0:
        return Rejection(Reason.TOO_SHORT, "seconds, by the header", f"{header.seconds:g}", "0")
    return None


def _find_size(header: VideoHeader) -> tuple[int, int]:
    return header.height, header.width


def _find_span(header: VideoHeader, span: tuple[float, float | None]) -> tuple[int, int]:
    """The number of the first picture of a span in seconds, and that of the first one after it."""
    rate = header.frames / header.seconds
    start, end = span
    first = int(min(start * rate, header.frames))
    return first, header.frames if end is None else math.ceil(min(end * rate, header.frames))


def _space(count: int, first: int, end: int) -> list[int]:
    """The middles of `count` equal parts of what lies from `first` up to before `end`."""
    return [first + (2 * part + 1) * (end - first) // (2 * count) for part in range(count)]


def _fit(pixels: Pixels, params: VideoFeatures) -> Pixels:
    return fit_pixels(pixels, (params.height, params.width), params.fit, params.background)


def _shrink(pixels: Pixels) -> Pixels:
    """Grey levels, uint8 (8, 8)."""
    cv2 = load_opencv()
    return resize_pixels(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), (SIDE // 2, SIDE // 2))


def _join_cells(seen: DecodedFrames) -> Pixels:
    """Four of 8 × 8 cells as 16 × 16, in reading order."""
    first, second, third, fourth = seen.pictures
    return np.block([[first, second], [third, fourth]])


VIDEO = Modality("video", check_video, plan_video_fields, extract_video, prepare_video, VideoCheck, VideoFeatures)
