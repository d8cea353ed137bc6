"""Read the audio of a video, mixed to one channel and resampled."""

from pipeline.modalities.audio.decode import Span, make_clip, take_span
from pipeline.modalities.audio.ffmpeg import read_blocks_by_ffmpeg
from pipeline.modalities.audio.mel import Samples
from pipeline.modalities.audio.params import AudioFeatures
from pipeline.modalities.video.formats import FORMATS
from pipeline.tables.drops import Rejection


def read_soundtrack(data: bytes, media_type: str, span: Span, params: AudioFeatures) -> Samples | Rejection:
    """Return the first `params.seconds` of the span, mono, at `params.rate` Hz, of the video's first audio stream.

    It is empty where there is none, as in animated images, or none in the span; audio that begins late keeps its start.
    It is rejected where its channels cancel each other.

    Raises:
        UndecodableError: as `read_blocks_by_ffmpeg`.
    """
    container = FORMATS[media_type].container
    block = take_span(read_blocks_by_ffmpeg(data, container) if container else (), span, params.seconds, params.rate)
    return make_clip(block, params.mono, params.seconds, params.rate)
