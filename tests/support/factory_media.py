"""Make real media files for tests: images by OpenCV or chunk by chunk, recordings by libsndfile."""

import io
import struct
import zlib

import cv2
import numpy as np
import soundfile
from numpy.typing import NDArray

SECRET = b"jane.doe@example.org 52.5N 13.4E"
"""What no cleaned file may hold."""


def draw_scene(height: int = 90, width: int = 120, seed: int = 0) -> NDArray[np.uint8]:
    """An image without symmetry, smooth enough for JPEG: uint8 (height, width, 3), BGR."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    scene: NDArray[np.uint8] = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return scene


def make_tone(rate: int, seconds: float, channels: int = 1, seed: int = 0) -> NDArray[np.float32]:
    """Three gliding partials and a little noise, float32 (frames, channels), peaks below 0.9."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(rate * seconds)) / rate
    pitches = rng.uniform(100, min(900, rate / 4), (channels, 3))
    glides = rng.uniform(-0.3, 0.3, (channels, 3))
    phases = 2 * np.pi * pitches[..., None] * (time + glides[..., None] * time**2)
    audio = np.sin(phases).sum(1) * 0.25 + rng.normal(0, 0.01, (channels, len(time)))
    return np.ascontiguousarray(audio.T, dtype=np.float32)


def encode_audio(samples: NDArray[np.float32], rate: int, kind: str, comment: str = "", **how: str) -> bytes:
    """A file of libsndfile's format `kind` (WAV, OGG, FLAC), with an artist and a comment where one is given."""
    buffer = io.BytesIO()
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    with soundfile.SoundFile(buffer, "w", rate, channels, format=kind, **how) as file:
        if comment:
            file.artist = comment[:100]
            file.comment = comment
        file.write(samples)
    return buffer.getvalue()


def encode_jpeg(pixels: NDArray[np.uint8], quality: int = 92, progressive: bool = False) -> bytes:
    how = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)]
    return bytes(cv2.imencode(".jpg", pixels, how)[1].tobytes())


def encode_png(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    return bytes(cv2.imencode(".png", pixels)[1].tobytes())


def make_segment(code: int, content: bytes) -> bytes:
    """A JPEG segment."""
    return struct.pack(">BBH", 0xFF, code, len(content) + 2) + content


def insert_segments(data: bytes, *segments: bytes) -> bytes:
    """A JPEG file with `segments` right after its start marker."""
    return data[:2] + b"".join(segments) + data[2:]


def make_chunk(name: bytes, content: bytes) -> bytes:
    """A PNG chunk."""
    return struct.pack(">I4s", len(content), name) + content + struct.pack(">I", zlib.crc32(name + content))


def insert_chunks(data: bytes, *chunks: bytes) -> bytes:
    """A PNG file with `chunks` right after its header."""
    return data[:33] + b"".join(chunks) + data[33:]


def build_png(size: tuple[int, int], depth: int, colour: int, rows: bytes, *chunks: bytes) -> bytes:
    """A PNG file of (width, height) from its unfiltered rows, each with its filter byte."""
    header = make_chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0))
    pixels = make_chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + pixels + make_chunk(b"IEND", b"")


def make_exif(orientation: int, order: str = "<") -> bytes:
    """A TIFF with a maker, the orientation and a GPS directory that holds the secret."""
    magic = b"II*\0" if order == "<" else b"MM\0*"
    entries = struct.pack(order + "HHII", 0x010F, 2, len(SECRET), 100)
    entries += struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    entries += struct.pack(order + "HHII", 0x8825, 4, 1, 60)
    directory = struct.pack(order + "H", 3) + entries + bytes(4)
    return (magic + struct.pack(order + "I", 8) + directory).ljust(100, b"\0") + SECRET


def make_dirty_jpeg(orientation: int = 6) -> bytes:
    """EXIF with GPS, XMP, IPTC, a comment, a thumbnail extension, a multi-image index, and bytes after the end."""
    segments = [
        make_segment(0xE1, b"Exif\0\0" + make_exif(orientation)),
        make_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta>" + SECRET),
        make_segment(0xED, b"Photoshop 3.0\0" + SECRET),
        make_segment(0xE0, b"JFXX\0\x10" + SECRET),
        make_segment(0xE2, b"MPF\0" + SECRET),
        make_segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(64)),
        make_segment(0xFE, SECRET),
    ]
    return insert_segments(encode_jpeg(draw_scene()), *segments) + b"after the end " + SECRET


def make_dirty_png(orientation: int = 6) -> bytes:
    """Text of all three kinds, EXIF with GPS, a date, an unknown chunk, and bytes after the end."""
    chunks = [
        make_chunk(b"gAMA", struct.pack(">I", 45455)),
        make_chunk(b"tEXt", b"Author\0" + SECRET),
        make_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(SECRET)),
        make_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + SECRET),
        make_chunk(b"eXIf", make_exif(orientation, ">")),
        make_chunk(b"tIME", bytes(7)),
        make_chunk(b"prVt", SECRET),
        make_chunk(b"pHYs", struct.pack(">IIB", 2835, 2835, 1)),
    ]
    return insert_chunks(encode_png(draw_scene()), *chunks) + b"after the end " + SECRET


def make_dirty_wav() -> bytes:
    """A list of words, a broadcast extension, an ID3 tag, and bytes after the end, with all lengths right."""
    plain = encode_audio(make_tone(16000, 0.5), 16000, "WAV", comment=SECRET.decode())
    extra = b"".join(
        name + struct.pack("<I", len(SECRET)) + SECRET + bytes(len(SECRET) % 2) for name in (b"bext", b"id3 ")
    )
    content = plain[8:36] + extra + plain[36:] + extra
    return b"RIFF" + struct.pack("<I", len(content)) + content + b"TAG" + SECRET


def make_dirty_ogg() -> bytes:
    return encode_audio(make_tone(16000, 0.5, 2), 16000, "OGG", comment=SECRET.decode()) + b"TAG" + SECRET


def make_dirty_flac() -> bytes:
    return encode_audio(make_tone(16000, 0.5), 16000, "FLAC", comment=SECRET.decode())
