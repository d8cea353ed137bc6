"""Make real videos for tests: a block that moves over a changing colour, with a tone."""

import io
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.audio.stream import AudioStream
from av.video.stream import VideoStream
from numpy.typing import NDArray

from tests.support.factory_media import SECRET, make_tone

FPS = 10
WIDTH, HEIGHT = 64, 48
CODECS = {
    "video/mp4": ("mp4", "mpeg4", "aac"),
    "video/webm": ("webm", "libvpx", "libopus"),
    "video/x-matroska": ("matroska", "mpeg4", "pcm_s16le"),
    "video/x-msvideo": ("avi", "mjpeg", "pcm_s16le"),
}
"""By media type: PyAV's names of the container, of the coder of images, and of that of audio."""


def draw_frames(count: int, seed: int = 0) -> list[NDArray[np.uint8]]:
    """`count` images, each uint8 (48, 64, 3), RGB, whose colours tell them apart."""
    draw = np.random.default_rng(seed)
    first, last = draw.integers(0, 200, (2, 3))
    frames = []
    for number in range(count):
        share = number / max(1, count - 1)
        frame = np.empty((HEIGHT, WIDTH, 3), np.uint8)
        frame[:] = (first + (last - first) * share).astype(np.uint8)
        left = int(share * (WIDTH - 16))
        frame[16:32, left : left + 16] = (255, 255 * (number % 2), 128)
        frames.append(frame)
    return frames


def encode_video(
    frames: list[NDArray[np.uint8]],
    media_type: str,
    audio: NDArray[np.float32] | None = None,
    comment: str = "",
    times: Sequence[int] | None = None,
) -> bytes:
    """A file of that type, 10 images a second, or at these tenths of seconds; with audio of 48 kHz, float32
    (samples, 1), where one is given."""
    container, image_coder, audio_coder = CODECS[media_type]
    file = io.BytesIO()
    with av.open(file, "w", format=container, options={"fflags": "+bitexact"}) as out:
        if comment:
            out.metadata.update({"title": comment, "comment": comment})
        stream = out.add_stream(image_coder, rate=FPS, options={"g": "4"})
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if image_coder == "mjpeg" else "yuv420p"
        stream.bit_rate = 2_000_000
        packets: list[Any] = []
        for frame, time in zip(frames, times or range(len(frames)), strict=True):
            image = av.VideoFrame.from_ndarray(frame, "rgb24")
            image.pts, image.time_base = time, Fraction(1, FPS)
            packets += stream.encode(image)
        packets += stream.encode()
        if audio is not None:
            listened = out.add_stream(audio_coder, rate=48000, layout="mono")
            assert isinstance(listened, AudioStream)
            packets += _encode_audio(listened, audio)
        for packet in packets:
            out.mux(packet)
    return file.getvalue()


def _encode_audio(stream: AudioStream, audio: NDArray[np.float32]) -> list[Any]:
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio.T), format="fltp", layout="mono")
    frame.sample_rate = 48000
    coder = stream.codec_context
    fitting = av.AudioResampler(format=coder.format, layout="mono", rate=48000, frame_size=coder.frame_size or 1024)
    pieces = [*fitting.resample(frame), *fitting.resample(None)]
    return [packet for piece in [*pieces, None] for packet in stream.encode(piece)]


def write_with_opencv(path: Path, frames: list[NDArray[np.uint8]], code: str) -> None:
    """A file without audio, as `cv2.VideoWriter` makes it for the path's ending and a code such as mp4v."""
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*code), FPS, (width, height))
    assert writer.isOpened(), code
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()


@cache
def make_dirty_videos() -> dict[str, bytes]:
    """A file full of metadata for each media type."""
    frames, audio = draw_frames(8), make_tone(48000, 0.3)
    return {kind: encode_video(frames, kind, audio, SECRET.decode()) for kind in CODECS}
