"""Make audio files full of metadata for tests: MP3, Opus, AAC, AIFF, NIST SPHERE, and WAV files of any header."""

import io
import struct

import av
import numpy as np
from av.audio.stream import AudioStream
from numpy.typing import NDArray

from tests.support.factory_media import SECRET, encode_audio, make_tone

PCM_16 = struct.pack("<HHIIHH", 1, 1, 16000, 32000, 2, 16)


def build_wav(data: bytes, form: bytes = PCM_16, size: int | None = None, whole: int | None = None) -> bytes:
    """A WAV file of 16 kHz whose header says these lengths, of the data and of the whole, whatever there is."""
    content = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data"
    content += struct.pack("<I", len(data) if size is None else size) + data
    return b"RIFF" + struct.pack("<I", len(content) if whole is None else whole) + content


def encode_pcm(samples: NDArray[np.float32]) -> bytes:
    return (samples * 32767).astype("<i2").tobytes()


def encode_by_ffmpeg(samples: NDArray[np.float32], rate: int, container: str, codec: str, comment: str = "") -> bytes:
    """A file of FFmpeg's: samples are float32 (frames, channels), of one channel or two."""
    file = io.BytesIO()
    layout = "mono" if samples.shape[1] == 1 else "stereo"
    with av.open(file, "w", format=container, options={"fflags": "+bitexact"}) as out:
        if comment:
            out.metadata.update({"title": comment, "comment": comment})
        stream = out.add_stream(codec, rate=rate, layout=layout)
        assert isinstance(stream, AudioStream)
        coder = stream.codec_context
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T), format="fltp", layout=layout)
        frame.sample_rate = rate
        fit = av.AudioResampler(format=coder.format, layout=layout, rate=rate, frame_size=coder.frame_size or 1024)
        for piece in [*fit.resample(frame), *fit.resample(None), None]:
            for packet in stream.encode(piece):
                out.mux(packet)
    return file.getvalue()


def make_id3(content: bytes = SECRET) -> bytes:
    """An ID3v2 tag with a title."""
    frame = b"TIT2" + struct.pack(">IH", len(content), 0) + content
    return b"ID3\4\0\0" + bytes([0, 0, len(frame) >> 7, len(frame) & 0x7F]) + frame


def make_ape(content: bytes = SECRET) -> bytes:
    """An APEv2 tag with a header and a footer."""
    item = struct.pack("<II", len(content), 0) + b"Title\0" + content
    parts = [struct.pack("<IIII", 2000, len(item) + 32, 1, flags) + bytes(8) for flags in (0xA0000000, 0x80000000)]
    return b"APETAGEX" + parts[0] + item + b"APETAGEX" + parts[1]


def make_lyrics(content: bytes = SECRET) -> bytes:
    body = b"LYRICSBEGINLYR" + b"%05d" % len(content) + content
    return body + b"%06d" % len(body) + b"LYRICS200"


def make_id3v1(content: bytes = SECRET) -> bytes:
    return (b"TAG" + content).ljust(128, b"\0")


def make_dirty_mp3() -> bytes:
    plain = encode_audio(make_tone(16000, 0.5), 16000, "MP3")
    return make_id3() + plain + make_ape() + make_lyrics() + make_id3v1()


def make_dirty_opus() -> bytes:
    return encode_audio(make_tone(16000, 0.5), 16000, "OGG", SECRET.decode(), subtype="OPUS") + b"TAG" + SECRET


def make_dirty_aac() -> bytes:
    return make_id3() + encode_by_ffmpeg(make_tone(16000, 0.5), 16000, "adts", "aac") + make_id3v1()


def make_dirty_m4a() -> bytes:
    return encode_by_ffmpeg(make_tone(16000, 0.5), 16000, "ipod", "aac", SECRET.decode())


def make_dirty_aiff() -> bytes:
    """Names, a comment, ID3, and bytes after the end."""
    plain = encode_audio(make_tone(16000, 0.5), 16000, "AIFF", SECRET.decode())
    chunk = b"ID3 " + struct.pack(">I", len(SECRET)) + SECRET + bytes(len(SECRET) % 2)
    content = plain[8:] + chunk
    return b"FORM" + struct.pack(">I", len(content)) + content + SECRET


def make_dirty_nist() -> bytes:
    """Who spoke."""
    plain = encode_audio(make_tone(16000, 0.5), 16000, "NIST")
    head = plain[:1024].replace(b"end_head\n", b"speaker_id -s%d %s\nend_head\n" % (len(SECRET), SECRET))
    return head[:1024] + plain[1024:]
