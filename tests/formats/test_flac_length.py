"""FLAC files whose header does not know the length, as programs write them to a pipe."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.formats.audio import flac
from pipeline.formats.format_errors import Truncated
from pipeline.modalities.audio.check import check_audio
from pipeline.modalities.audio.rules import AudioCheck
from pipeline.modalities.modality import Checked

pytestmark = pytest.mark.slow

TOTAL = slice(21, 26)
"""The bytes of the stream info that hold the number of samples, but for 4 bits of the first."""


def encode(frames: int, channels: int) -> bytes:
    import soundfile

    noise = np.random.default_rng(frames).normal(0, 6000, (frames, channels)).astype(np.int16)
    file = io.BytesIO()
    soundfile.write(file, noise, 16000, format="FLAC")
    return file.getvalue()


def forget_length(content: bytes) -> bytes:
    changed = bytearray(content)
    changed[TOTAL] = bytes([changed[TOTAL.start] & 0xF0, 0, 0, 0, 0])
    return bytes(changed)


@settings(max_examples=15)
@given(st.integers(100, 100_000), st.integers(1, 2), st.binary(max_size=3))
def test_the_length_is_found_in_the_last_frame(frames: int, channels: int, noise: bytes) -> None:
    whole = encode(frames, channels)
    piped = forget_length(whole)
    assert flac.read_header(piped).frames == 0
    flac.check_whole(piped)
    assert flac.strip_metadata(piped) == flac.strip_metadata(whole)
    for damaged in (piped[:-1], piped[:-40], piped + noise + b"\xff\xf8"):
        with pytest.raises(Truncated, match="ends inside a frame"):
            flac.check_whole(damaged)


def test_a_file_from_a_pipe_is_decoded_in_full() -> None:
    checked = check_audio(forget_length(encode(50_000, 1)), "audio/flac", AudioCheck())
    assert isinstance(checked, Checked)
    assert checked.facts["frames"] == 50_000
    assert flac.read_header(checked.data).frames == 50_000


def test_ffmpeg_writes_such_files() -> None:
    import av

    class Pipe(io.RawIOBase):
        content = b""

        def writable(self) -> bool:
            return True

        def write(self, data: bytes) -> int:  # type: ignore[override]
            self.content += bytes(data)
            return len(data)

    pipe = Pipe()
    with av.open(pipe, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=16000, layout="mono")
        noise = np.random.default_rng(1).normal(0, 6000, (1, 20_000)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(noise, format="s16", layout="mono")
        frame.rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert flac.read_header(pipe.content).frames == 0
    checked = check_audio(pipe.content, "audio/flac", AudioCheck())
    assert isinstance(checked, Checked)
    assert checked.facts["frames"] == 20_000
