"""No metadata survives: a canary in each place that a format has for words is gone from the cleaned bytes."""

import re
import struct
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.formats.image.icc_profile import blank_texts
from pipeline.modalities.modality import Checked
from pipeline.modalities.table import MODALITIES
from tests.support.factory_audio import encode_by_ffmpeg, make_ape, make_id3, make_id3v1, make_lyrics
from tests.support.factory_images import build_webp, encode_image, make_gif_extension, make_riff_chunk
from tests.support.factory_media import (
    draw_scene,
    encode_audio,
    encode_jpeg,
    encode_png,
    insert_chunks,
    insert_segments,
    make_chunk,
    make_segment,
    make_tone,
)
from tests.support.factory_video import draw_frames, encode_video

CANARY = b"canary.jane@example.org"
WIDE = CANARY.decode().encode("utf-16-le")


def make_profile() -> bytes:
    """An ICC profile with the canary as description, copyright, model, and in a gap; and one colour."""
    desc = b"desc" + bytes(4) + struct.pack(">I", len(CANARY) + 1) + CANARY + bytes(79)
    text = b"text" + bytes(4) + CANARY + b"\0"
    many = CANARY.decode().encode("utf-16-be")
    mluc = b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(many), 28) + many
    colour = b"XYZ " + bytes(4) + struct.pack(">iii", 1, 2, 3)
    tags, body, at = b"", b"", 128 + 4 + 12 * 4
    for name, content in ((b"desc", desc), (b"cprt", text), (b"dmdd", mluc), (b"rXYZ", colour)):
        tags += struct.pack(">4sII", name, at, len(content))
        body += content
        at += len(content)
    size = at + len(CANARY)
    head = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x04300000, b"mntr", b"RGB ", b"XYZ ") + bytes(12) + b"acsp"
    return head.ljust(128, b"\0") + struct.pack(">I", 4) + tags + body + CANARY


PROFILE = make_profile()
PNG = encode_png(draw_scene())
JPEG = encode_jpeg(draw_scene())
WEBP = encode_image(draw_scene(), "webp", (cv2.IMWRITE_WEBP_QUALITY, 90))
GIF = encode_image(draw_scene(), "gif")
WAV = encode_audio(make_tone(16000, 0.5), 16000, "WAV")


def in_jpeg(code: int, start: bytes) -> bytes:
    return insert_segments(JPEG, make_segment(code, start + CANARY))


def in_png(name: bytes, content: bytes) -> bytes:
    return insert_chunks(PNG, make_chunk(name, content))


def in_webp(name: bytes, content: bytes = CANARY) -> bytes:
    flags = {b"ICCP": 0x20, b"EXIF": 0x08, b"XMP ": 0x04}.get(name, 0)
    size = (119).to_bytes(3, "little") + (89).to_bytes(3, "little")
    extended = make_riff_chunk(b"VP8X", bytes([flags, 0, 0, 0]) + size)
    chunk = make_riff_chunk(name, content)
    parts = [extended, chunk, WEBP[12:]] if name == b"ICCP" else [extended, WEBP[12:], chunk]
    return build_webp(*parts)


def in_gif(label: int, *pieces: bytes) -> bytes:
    start = 13 + (3 << (GIF[10] & 7) + 1 if GIF[10] & 0x80 else 0)
    return b"GIF89a" + GIF[6:start] + make_gif_extension(label, *pieces) + GIF[start:]


def in_wav(name: bytes, content: bytes = CANARY) -> bytes:
    content = WAV[8:36] + make_riff_chunk(name, content) + WAV[36:]
    return b"RIFF" + struct.pack("<I", len(content)) + content


def in_flac(kind: int, content: bytes = CANARY) -> bytes:
    plain = encode_audio(make_tone(16000, 0.5), 16000, "FLAC")
    block = bytes([kind]) + len(content).to_bytes(3, "big") + content
    return plain[:4] + bytes([plain[4] & 0x7F]) + plain[5:42] + block + plain[42:]


PATHS = {
    b"moov": (b"moov",),
    b"trak": (b"moov", b"trak"),
    b"stbl": (b"moov", b"trak", b"mdia", b"minf", b"stbl"),
}


def in_mp4(parent: bytes | None, box: bytes) -> bytes:
    """At the end of the file, or of the last box of that name within `moov`, which is last."""
    plain = encode_video(draw_frames(6), "video/mp4")
    if parent is None:
        return plain + box
    data = bytearray(plain)
    path = PATHS[parent]
    at, ends = 0, list[int]()
    for name in path:
        at = data.index(name, at) - 4
        ends.append(at)
        at += 8
    last = ends[-1] + int.from_bytes(data[ends[-1] : ends[-1] + 4], "big")
    for place in ends:
        size = int.from_bytes(data[place : place + 4], "big") + len(box)
        data[place : place + 4] = size.to_bytes(4, "big")
    return bytes(data[:last] + box + data[last:])


def make_box(name: bytes, content: bytes = CANARY) -> bytes:
    return struct.pack(">I4s", 8 + len(content), name) + content


def name_coder(data: bytes) -> bytes:
    at = data.index(b"mp4v", data.index(b"stsd")) + 4 + 42
    return data[:at] + bytes([len(CANARY)]) + CANARY.ljust(31, b"\0") + data[at + 32 :]


def comment_audio(kind: str, **how: str) -> bytes:
    return encode_audio(make_tone(16000, 0.5), 16000, kind, CANARY.decode(), **how)


def with_tags(media_type: str) -> bytes:
    return encode_video(draw_frames(6), media_type, comment=CANARY.decode())


def make_tiff(tag: int, content: bytes) -> bytes:
    """A TIFF of 64 × 64 grey pixels with one more tag."""
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8).tobytes()
    entries = [(256, 4, 1, 64), (257, 4, 1, 64), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8),
               (277, 3, 1, 1), (278, 4, 1, 64), (279, 4, 1, 4096)]  # fmt: skip
    at = 8 + len(pixels)
    entries = sorted([*entries, (tag, 7, len(content), at)])
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    return struct.pack("<2sHI", b"II", 42, at + len(content)) + pixels + content + directory


MP3 = encode_audio(make_tone(16000, 0.5), 16000, "MP3")
BLANK = zlib.compress(blank_texts(PROFILE))
SEGMENTS = [
    (0xE0, b"JFXX\0\x10"), (0xE1, b"Exif\0\0MM\0*\0\0\0\x08"), (0xE1, b"http://ns.adobe.com/xap/1.0/\0"),
    (0xE1, b"http://ns.adobe.com/xmp/extension/\0"), (0xE2, b"MPF\0"), (0xE2, b"FPXR\0"), (0xE3, b"Meta\0\0"),
    (0xE4, b"x"), (0xE5, b"RMETA\0"), (0xE6, b"GoPro\0"), (0xE7, b"x"), (0xE8, b"SPIFF\0"), (0xE9, b"x"),
    (0xEA, b"comment"), (0xEB, b"HDR_RI"), (0xEC, b"Ducky"), (0xED, b"Photoshop 3.0\0"),
    (0xEE, b"Adobe\0\x64\0\0\0\0\1"), (0xEF, b"x"), (0xFE, b""),
]  # fmt: skip
TIFF_TAGS = (270, 271, 305, 315, 316, 700, 33432, 33723, 34377, 34665, 37500, 37510, 40092, 50827)
WAV_CHUNKS = (
    b"bext",
    b"iXML",
    b"id3 ",
    b"LIST",
    b"cart",
    b"axml",
    b"_PMX",
    b"JUNK",
    b"cue ",
    b"note",
    b"DISP",
    b"smpl",
)

IMAGES: dict[str, list[Callable[[], bytes]]] = {
    "image/jpeg": [
        *(partial(in_jpeg, code, start) for code, start in SEGMENTS),
        lambda: insert_segments(JPEG, make_segment(0xE2, b"ICC_PROFILE\0\1\1" + PROFILE)),
        lambda: insert_segments(
            JPEG,
            make_segment(0xE2, b"ICC_PROFILE\0\1\2" + PROFILE[:250]),
            make_segment(0xE2, b"ICC_PROFILE\0\2\2" + PROFILE[250:]),
        ),
        lambda: JPEG + CANARY,
    ],
    "image/png": [
        partial(in_png, b"tEXt", b"Author\0" + CANARY),
        partial(in_png, b"zTXt", b"Author\0\0" + zlib.compress(CANARY)),
        partial(in_png, b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + CANARY),
        partial(in_png, b"eXIf", b"MM\0*\0\0\0\x08\0\0" + CANARY),
        partial(in_png, b"prVt", CANARY),
        partial(in_png, b"sPLT", CANARY + b"\0\x08"),
        partial(in_png, b"iCCP", b"sRGB\0\0" + zlib.compress(PROFILE)),
        partial(in_png, b"iCCP", CANARY + b"\0\0" + BLANK),
        partial(in_png, b"iCCP", b"ICC\0\0" + BLANK + CANARY),
        partial(in_png, b"pHYs", bytes(9) + CANARY),
        lambda: PNG + CANARY,
    ],
    "image/webp": [
        *(partial(in_webp, name) for name in (b"EXIF", b"XMP ", b"mine")),
        partial(in_webp, b"ICCP", PROFILE),
        lambda: WEBP + CANARY,
    ],
    "image/gif": [
        partial(in_gif, 0xFE, CANARY),
        partial(in_gif, 0xFF, b"XMP DataXMP", CANARY),
        partial(in_gif, 0xFF, b"ICCRGBG1012", CANARY),
        partial(in_gif, 0x01, bytes(12), CANARY),
        lambda: GIF + CANARY,
    ],
    "image/tiff": [*(partial(make_tiff, tag, CANARY) for tag in TIFF_TAGS), partial(make_tiff, 34675, PROFILE)],
}
AUDIO: dict[str, list[Callable[[], bytes]]] = {
    "audio/wav": [
        *(partial(in_wav, name) for name in WAV_CHUNKS),
        partial(in_wav, b"fact", struct.pack("<I", 8000) + CANARY),
        lambda: WAV + CANARY,
    ],
    "audio/flac": [partial(in_flac, kind) for kind in (1, 2, 4, 5, 6, 77)],
    "audio/ogg": [partial(comment_audio, "OGG"), partial(comment_audio, "OGG", subtype="OPUS")],
    "audio/aiff": [partial(comment_audio, "AIFF")],
    "audio/mp4": [lambda: encode_by_ffmpeg(make_tone(16000, 0.5), 16000, "ipod", "aac", CANARY.decode())],
    "audio/mpeg": [
        lambda: make_id3(CANARY) + MP3,
        *(partial(lambda make: MP3 + make(CANARY), make) for make in (make_id3v1, make_ape, make_lyrics)),
    ],
}
VIDEO: dict[str, list[Callable[[], bytes]]] = {
    **{kind: [partial(with_tags, kind)] for kind in ("video/webm", "video/x-matroska", "video/x-msvideo")},
    "video/mp4": [
        partial(with_tags, "video/mp4"),
        lambda: name_coder(encode_video(draw_frames(6), "video/mp4")),
        *(
            partial(in_mp4, parent, make_box(name))
            for parent in (None, *PATHS)
            for name in (b"udta", b"meta", b"uuid", b"free")
        ),
    ],
}
CASES = [
    pytest.param(modality, media_type, make, id=f"{media_type}-{number}")
    for modality, kinds in (("image", IMAGES), ("audio", AUDIO), ("video", VIDEO))
    for media_type, makers in kinds.items()
    for number, make in enumerate(makers)
]


def unfold(data: bytes) -> bytes:
    """The bytes, and what is inflated of them wherever a zlib stream begins."""
    parts = [data]
    for start in (match.start() for match in re.finditer(rb"\x78[\x01\x5e\x9c\xda]", data)):
        try:
            parts.append(zlib.decompressobj().decompress(data[start:], 1 << 20))
        except zlib.error:
            continue
    return b"\n".join(parts)


def has_canary(data: bytes) -> bool:
    whole = unfold(data)
    return any(form in whole for form in (CANARY, WIDE, CANARY.decode().encode("utf-16-be")))


@pytest.mark.parametrize(("modality", "media_type", "make"), CASES)
def test_no_canary_survives(modality: str, media_type: str, make: Callable[[], bytes]) -> None:
    data = make()
    assert has_canary(data), "the test itself is wrong"
    check = MODALITIES[modality]
    params: Any = check.check_params()
    checked = check.check(data, media_type, params)
    assert isinstance(checked, Checked), checked
    assert not has_canary(checked.data)
    again = check.check(checked.data, media_type, params)
    assert isinstance(again, Checked), again
    assert again.data == checked.data, "stripping again changes nothing"


def test_profiles_keep_their_colours() -> None:
    blank = blank_texts(PROFILE)
    assert len(blank) == len(PROFILE)
    assert struct.pack(">iii", 1, 2, 3) in blank
    assert blank_texts(blank) == blank
    assert blank_texts(b"short") == bytes(5)
