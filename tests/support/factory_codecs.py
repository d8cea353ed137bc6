"""Make recordings in every format that `ops.Audio` reads, decode files by operations, and damage them."""

import io
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import av
import numpy as np
from av.audio.stream import AudioStream
from numpy.typing import NDArray

from shardwright.datasets.read_context import Content, allocate
from shardwright.ops.operation import Operation
from tests.support.factory_media import encode_audio

Samples = NDArray[np.float32]


def encode_stream(samples: Samples, rate: int, container: str, codec: str, **options: str) -> bytes:
    """A file of FFmpeg's whose times begin at 0, so that an encoder's delay is cut by an edit list."""
    file = io.BytesIO()
    layout = "mono" if samples.shape[1] == 1 else "stereo"
    with av.open(file, "w", format=container, options={"fflags": "+bitexact"}) as out:
        stream = out.add_stream(codec, rate=rate, layout=layout, options=options)
        assert isinstance(stream, AudioStream)
        coder = stream.codec_context
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T), format="fltp", layout=layout)
        frame.sample_rate, frame.pts = rate, 0
        fit = av.AudioResampler(format=coder.format, layout=layout, rate=rate, frame_size=coder.frame_size or 1024)
        for piece in [*fit.resample(frame), *fit.resample(None), None]:
            for packet in stream.encode(piece):
                out.mux(packet)
    return file.getvalue()


CODECS: Mapping[str, Callable[[Samples, int], bytes]] = {
    "wav": lambda samples, rate: encode_audio(samples, rate, "WAV"),
    "wav-u8": lambda samples, rate: encode_audio(samples, rate, "WAV", subtype="PCM_U8"),
    "wav-24": lambda samples, rate: encode_audio(samples, rate, "WAV", subtype="PCM_24"),
    "wav-32": lambda samples, rate: encode_audio(samples, rate, "WAV", subtype="PCM_32"),
    "wav-float": lambda samples, rate: encode_audio(samples, rate, "WAV", subtype="FLOAT"),
    "wav-double": lambda samples, rate: encode_audio(samples, rate, "WAVEX", subtype="DOUBLE"),
    "wav-ulaw": lambda samples, rate: encode_audio(samples, rate, "WAV", subtype="ULAW"),
    "rf64": lambda samples, rate: encode_audio(samples, rate, "RF64"),
    "flac": lambda samples, rate: encode_audio(samples, rate, "FLAC"),
    "vorbis": lambda samples, rate: encode_audio(samples, rate, "OGG", subtype="VORBIS"),
    "opus": lambda samples, rate: encode_audio(samples, rate, "OGG", subtype="OPUS"),
    "mp3": lambda samples, rate: encode_audio(samples, rate, "MP3"),
    "m4a": lambda samples, rate: encode_stream(samples, rate, "ipod", "aac", aac_pns="0"),
    "alac": lambda samples, rate: encode_stream(samples, rate, "ipod", "alac"),
    "adts": lambda samples, rate: encode_stream(samples, rate, "adts", "aac"),
    "webm": lambda samples, rate: encode_stream(samples, rate, "webm", "libopus"),
}
"""What encodes float32 (frames, channels) at a rate that all of them allow, such as 48 kHz."""


class Files(list[Content]):
    """Files of a batch, see `shardwright.ops.operation.Contents`.

    Attributes:
        warnings: what decoders said.
        position: of the file that errors and warnings are of, where the operation went back to one.
    """

    def __init__(self, contents: Sequence[Content]) -> None:
        super().__init__(contents)
        self.warnings: list[str] = []
        self.position = -1

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def go_back(self, position: int) -> None:
        self.position = position


def decode_files(operation: Operation, contents: Sequence[Content], draws: Sequence[Sequence[float]] = ()) -> Any:
    """Decode files by an operation; without draws, all of them are 0.5."""
    numbers = np.array(draws) if len(draws) else np.full((len(contents), operation.draws), 0.5)
    return operation.decode(Files(contents), numbers.reshape(len(contents), operation.draws), allocate)


def damage(data: bytes, draw: random.Random) -> bytes:
    """Flip, cut, remove and insert bytes, half of them where the headers are."""
    damaged = bytearray(data)
    for _ in range(draw.choice([1, 2, 10])):
        at = draw.randrange(max(1, min(len(damaged), draw.choice([80, len(data)]))))
        match draw.randrange(4):
            case 0:
                damaged[at : at + 1] = bytes([draw.randrange(256)])
            case 1:
                del damaged[at : at + draw.choice([1, 8, 500])]
            case 2:
                damaged[at:at] = draw.randbytes(draw.choice([1, 4, 16]))
            case 3:
                damaged[at : at + 4] = draw.choice([bytes(4), b"\xff" * 4, draw.randbytes(4)])
    return bytes(damaged[: draw.randrange(len(damaged))] if draw.random() < 0.2 else damaged)
