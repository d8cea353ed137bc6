"""List the formats of video: what parses each, and what decodes it. To add one: its row here, see `media_type`."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from pipeline.formats.type_names import AVI, GIF, MATROSKA, MP4, WEBM, WEBP
from pipeline.formats.video import avi, gif_animation, matroska, mp4, webp_animation
from pipeline.formats.video.animation import AnimationFrame
from pipeline.modalities.strip_file import Parser


@dataclass(frozen=True, slots=True)
class VideoFormat:
    """A format: its parser, and FFmpeg's name of the container; or, of an animated image, what lists its frames."""

    parser: Parser
    container: str = ""
    walk_frames: Callable[[bytes], Iterator[AnimationFrame]] | None = None


FORMATS: Mapping[str, VideoFormat] = {
    MP4: VideoFormat(mp4, "mov"),
    WEBM: VideoFormat(matroska, "matroska"),
    MATROSKA: VideoFormat(matroska, "matroska"),
    AVI: VideoFormat(avi, "avi"),
    GIF: VideoFormat(gif_animation, walk_frames=gif_animation.walk_frames),
    WEBP: VideoFormat(webp_animation, walk_frames=webp_animation.walk_frames),
}
"""By media type."""

PARSERS = {media_type: form.parser for media_type, form in FORMATS.items()}
