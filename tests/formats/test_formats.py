"""Parsers of images and recordings: exact on real files, safe and linear on any bytes."""

import time
from contextlib import suppress
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.formats.audio import flac, ogg, wav
from pipeline.formats.format_errors import FormatFault, Truncated
from pipeline.formats.image import jpeg, png
from pipeline.formats.type_names import FLAC
from pipeline.modalities.audio.check import PARSERS as AUDIO_PARSERS
from pipeline.modalities.audio.decode import read_blocks
from pipeline.modalities.image.check import PARSERS as IMAGE_PARSERS
from pipeline.modalities.image.formats import decode_image
from shardwright.format import exif_orientation
from tests.support.dirty_files import make_dirty_files
from tests.support.factory_media import (
    SECRET,
    build_png,
    draw_scene,
    encode_audio,
    encode_jpeg,
    encode_png,
    insert_chunks,
    insert_segments,
    make_chunk,
    make_dirty_jpeg,
    make_dirty_png,
    make_exif,
    make_segment,
    make_tone,
)

PARSERS: dict[str, ModuleType] = {**IMAGE_PARSERS, **AUDIO_PARSERS}
DIRTY = make_dirty_files()
TYPES = list(PARSERS)
IN_PLACE = {"image/avif", "image/heic", "audio/mp4", "audio/x-nist"}
"""Formats whose metadata is overwritten, as they are full of offsets, or whose header has one size."""

edits = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.sampled_from(["flip", "cut", "copy", "put"]),
        st.binary(min_size=1, max_size=12),
    ),
    min_size=1,
    max_size=6,
)


def mutate(data: bytes, changes: list[tuple[float, str, bytes]]) -> bytes:
    for where, how, content in changes:
        at = int(where * len(data))
        match how:
            case "flip":
                data = (
                    data[:at] + bytes(a ^ b for a, b in zip(data[at : at + 1], content, strict=False)) + data[at + 1 :]
                )
            case "cut":
                data = data[:at] + data[at + len(content) :]
            case "copy":
                data = data[:at] + data[at : at + 40] + data[at:]
            case _:
                data = data[:at] + content + data[at + len(content) :]
    return data


def decode(data: bytes, media_type: str) -> Any:
    if media_type.startswith("image/"):
        return decode_image(data, media_type)
    return np.concatenate([block.samples for block in read_blocks(data, media_type)])


@pytest.mark.parametrize("media_type", TYPES)
@settings(max_examples=80)
@given(changes=edits)
def test_damaged_bytes_give_a_result_or_a_fault(media_type: str, changes: list[tuple[float, str, bytes]]) -> None:
    parser = PARSERS[media_type]
    data = mutate(DIRTY[media_type], changes)
    for read in ("read_header", "check_whole", "strip_metadata", "read_orientation"):
        with suppress(FormatFault):
            getattr(parser, read, len)(data)


@pytest.mark.parametrize("media_type", TYPES)
@settings(max_examples=60)
@given(data=st.binary(max_size=200))
def test_any_bytes_give_a_result_or_a_fault(media_type: str, data: bytes) -> None:
    start = DIRTY[media_type][: len(data) % 48]
    with pytest.raises(FormatFault):
        PARSERS[media_type].check_whole(start + data)


@pytest.mark.parametrize("media_type", TYPES)
def test_stripping_takes_the_words_and_leaves_the_content(media_type: str) -> None:
    parser, dirty = PARSERS[media_type], DIRTY[media_type]
    parser.check_whole(dirty)
    clean = parser.strip_metadata(dirty)
    assert SECRET in dirty
    assert SECRET[:8] not in clean
    assert len(clean) < len(dirty) or media_type in IN_PLACE
    parser.check_whole(clean)
    assert parser.read_header(clean) == parser.read_header(dirty)
    content = decode(clean, media_type)
    # FFmpeg takes some tags at the end for a last frame
    assert np.array_equal(content, decode(dirty, media_type)[: len(content)])
    assert parser.strip_metadata(clean) is clean


@pytest.mark.parametrize("media_type", TYPES)
@settings(max_examples=60)
@given(changes=edits)
def test_stripping_twice_is_stripping_once(media_type: str, changes: list[tuple[float, str, bytes]]) -> None:
    parser = PARSERS[media_type]
    try:
        once = parser.strip_metadata(mutate(DIRTY[media_type], changes))
    except FormatFault:
        return
    assert parser.strip_metadata(once) is once


@pytest.mark.parametrize("media_type", [kind for kind in TYPES if kind != FLAC])
def test_a_file_cut_anywhere_is_truncated(media_type: str) -> None:
    parser = PARSERS[media_type]
    whole = parser.strip_metadata(DIRTY[media_type])
    for end in [*range(1, 120), *range(120, len(whole), 97), *range(len(whole) - 40, len(whole))]:
        with pytest.raises(Truncated):
            parser.check_whole(whole[:end])


def test_a_flac_file_cut_before_its_frames_is_truncated() -> None:
    whole = flac.strip_metadata(DIRTY["audio/flac"])
    for end in range(43):
        with pytest.raises(Truncated):
            flac.check_whole(whole[:end])


HOSTILE = {
    "image/jpeg": [
        b"\xff\xd8" + b"\xff\xfe\0\2" * 60_000,
        b"\xff\xd8" + b"\xff" * 240_000,
        b"\xff\xd8\xff\xda\0\2" + b"\xff\0" * 120_000,
        b"\xff\xd8\xff\xda\0\2" + b"\xff\xd0" * 120_000,
        b"\xff\xd8" + b"\xff\xda\0\2" * 60_000,
        b"\xff\xd8" + b"\xff\0" * 120_000,
    ],
    "image/png": [DIRTY["image/png"][:33] + make_chunk(b"tEXt", b"") * 20_000],
    "image/webp": [DIRTY["image/webp"][:30] + (b"mine" + bytes(4)) * 30_000],
    "image/gif": [
        DIRTY["image/gif"][:13] + b"\x21\xfe\0" * 60_000,
        DIRTY["image/gif"][:13] + b"\x21\xfe" + b"\1a" * 99_000,
    ],
    "image/bmp": [DIRTY["image/bmp"] + bytes(200_000)],
    "image/tiff": [b"II*\0\x08\0\0\0\xff\xff" + (b"\1\1\3\0\1\0\0\0" + bytes(4)) * 65_535 + bytes(4)],
    "image/avif": [DIRTY["image/avif"][:24] + (b"\0\0\0\x08free") * 30_000],
    "image/heic": [DIRTY["image/heic"] + (b"\0\0\0\x08mdat") * 30_000],
    "audio/wav": [DIRTY["audio/wav"][:12] + (b"LIST" + bytes(4)) * 30_000],
    "audio/ogg": [
        DIRTY["audio/ogg"][:58] + (b"OggS" + bytes(23)) * 9_000,
        DIRTY["audio/ogg"][:58] + (b"OggS" + bytes(22) + b"\xff" + bytes(255)) * 900,
    ],
    "audio/ogg; codecs=opus": [DIRTY["audio/ogg; codecs=opus"][:47] + (b"OggS" + bytes(23)) * 9_000],
    "audio/mpeg": [
        b"\xff\xfb" * 120_000,
        b"ID3\4\0\0\0\0\0\0" * 24_000,
        b"\xff\xe3\x18\xc4" * 60_000,
        DIRTY["audio/mpeg"] + b"APETAGEX" + bytes(24),
    ],
    "audio/aac": [b"\xff\xf1\x50\x40\0\xff\xfc" * 34_000, b"\xff\xf1\x60\x40\0\xff\xfc" * 34_000],
    "audio/mp4": [DIRTY["audio/mp4"] + (b"\0\0\0\x08free") * 30_000],
    "audio/aiff": [b"FORM\0\0\0\4AIFF" + (b"NAME" + bytes(4)) * 30_000],
    "audio/x-nist": [b"NIST_1A\n" + b"1000000\n" + b"a -i 1\n" * 140_000],
    "audio/flac": [b"fLaC" + b"\1\0\0\0" * 60_000, DIRTY["audio/flac"][:42] + b"\1\0\0\0" * 60_000],
}


@pytest.mark.parametrize("media_type", TYPES)
def test_many_tiny_pieces_takes_linear_time(media_type: str) -> None:
    parser = PARSERS[media_type]
    for data in HOSTILE[media_type]:
        started = time.process_time()
        for read in (parser.read_header, parser.check_whole, parser.strip_metadata):
            with suppress(FormatFault):
                read(data)
        assert time.process_time() - started < 5  # quadratic would be hours


# images


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_read_from_both_formats(orientation: int, order: str) -> None:
    tiff = make_exif(orientation, order)
    assert exif_orientation.read_orientation(tiff) == orientation
    assert (
        jpeg.read_orientation(insert_segments(encode_jpeg(draw_scene()), make_segment(0xE1, b"Exif\0\0" + tiff)))
        == orientation
    )
    assert png.read_orientation(insert_chunks(encode_png(draw_scene()), make_chunk(b"eXIf", tiff))) == orientation


@pytest.mark.parametrize(
    "tiff",
    [
        b"",
        b"II*\0",
        b"II*\0\xff\xff\xff\xff",
        make_exif(9),
        make_exif(0),
        make_exif(6)[:20],
        b"MM\0*\0\0\0\x08\xff\xff",
    ],
)
def test_orientation_is_1_where_exif_does_not_say(tiff: bytes) -> None:
    assert exif_orientation.read_orientation(tiff) == 1


@settings(max_examples=100)
@given(st.binary(max_size=80))
def test_orientation_of_any_bytes_is_one_of_eight(tail: bytes) -> None:
    for head in (b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b""):
        assert 1 <= exif_orientation.read_orientation(head + tail) <= 8


@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_header_is_what_was_encoded(progressive: bool) -> None:
    header = jpeg.read_header(encode_jpeg(draw_scene(37, 53), progressive=progressive))
    assert (header.width, header.height, header.channels, header.precision) == (53, 37, 3, 8)
    assert jpeg.read_header(encode_jpeg(draw_scene(9, 11)[..., 0])).channels == 1


def test_jpeg_keeps_what_decides_how_pixels_look() -> None:
    adobe, icc = make_segment(0xEE, b"Adobe\0\x64\0\0\0\0\1"), make_segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(64))
    data = insert_segments(encode_jpeg(draw_scene()), icc, adobe)
    assert jpeg.strip_metadata(data) is data


def test_jpeg_thumbnail_inside_jfif_is_emptied() -> None:
    plain = encode_jpeg(draw_scene())
    assert plain[2:4] == b"\xff\xe0"
    jfif = make_segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1" + b"\2\2" + SECRET[:12])
    clean = jpeg.strip_metadata(plain[:2] + jfif + plain[20:])
    assert clean == plain


def test_jpeg_bytes_between_segments_go() -> None:
    plain = encode_jpeg(draw_scene())
    assert jpeg.strip_metadata(insert_segments(plain, SECRET)) == plain


def test_jpeg_with_a_thousand_scans_is_refused() -> None:
    plain = encode_jpeg(draw_scene())
    with pytest.raises(FormatFault, match="1001 scans"):
        jpeg.check_whole(plain[:-2] + make_segment(0xDA, bytes(6)) * 1000 + b"\xff\xd9")


@pytest.mark.parametrize(
    ("depth", "colour", "row", "chunks", "channels"),
    [
        (1, 0, b"\xaa", (), 1),
        (8, 2, bytes(24), (), 3),
        (8, 2, bytes(24), (make_chunk(b"tRNS", bytes(6)),), 4),
        (2, 3, bytes(2), (make_chunk(b"PLTE", bytes(12)),), 3),
        (2, 3, bytes(2), (make_chunk(b"PLTE", bytes(12)), make_chunk(b"tRNS", b"\x80")), 4),
        (16, 4, bytes(32), (), 2),
        (8, 6, bytes(32), (), 4),
    ],
)
def test_png_header_says_size_and_channels(
    depth: int, colour: int, row: bytes, chunks: tuple[bytes, ...], channels: int
) -> None:
    data = build_png((8, 3), depth, colour, (b"\0" + row) * 3, *chunks)
    png.check_whole(data)
    header = png.read_header(data)
    assert (header.width, header.height, header.channels) == (8, 3, channels)


@pytest.mark.parametrize(("depth", "colour"), [(3, 0), (16, 3), (4, 2), (8, 1), (8, 7)])
def test_png_header_that_png_does_not_have_is_a_fault(depth: int, colour: int) -> None:
    with pytest.raises(FormatFault):
        png.read_header(build_png((8, 3), depth, colour, b""))


def test_png_with_one_wrong_bit_is_a_fault() -> None:
    data = png.strip_metadata(make_dirty_png())
    for at in range(8, len(data), 53):
        with pytest.raises(FormatFault):
            png.check_whole(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


# recordings


def compute_crc_bit_by_bit(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    return crc


@settings(max_examples=50)
@given(st.binary(max_size=200))
def test_ogg_crc_is_that_of_the_rfc(data: bytes) -> None:
    assert ogg.compute_crc(data) == compute_crc_bit_by_bit(data)


@pytest.mark.parametrize(("kind", "parser"), [("WAV", wav), ("OGG", ogg), ("FLAC", flac)])
@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (44100, 2), (48000, 1)])
def test_audio_header_is_what_was_encoded(kind: str, parser: ModuleType, rate: int, channels: int) -> None:
    audio = make_tone(rate, 0.3, channels)
    header = parser.read_header(encode_audio(audio, rate, kind))
    assert (header.rate, header.channels, header.frames) == (rate, channels, len(audio))


def test_ogg_pages_are_renumbered_when_the_comments_took_several() -> None:
    long = encode_audio(make_tone(8000, 0.5), 8000, "OGG", comment="x" * 200_000)
    clean = ogg.strip_metadata(long)
    assert len(long) - len(clean) > 200_000
    ogg.check_whole(clean)
    assert np.array_equal(decode(clean, "audio/ogg"), decode(long, "audio/ogg"))
    assert ogg.strip_metadata(clean) is clean


def test_ogg_pages_of_audio_stay_byte_for_byte() -> None:
    plain = encode_audio(make_tone(8000, 0.5), 8000, "OGG")
    clean = ogg.strip_metadata(plain)
    audio = plain.rindex(b"OggS")
    assert clean != plain
    assert clean.endswith(plain[audio:])


def test_ogg_with_one_wrong_bit_or_a_page_missing_is_a_fault() -> None:
    data = encode_audio(make_tone(16000, 1.0), 16000, "OGG")
    for at in range(0, len(data), 211):
        with pytest.raises(FormatFault):
            ogg.check_whole(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    pages = [at for at in range(len(data)) if data.startswith(b"OggS", at)]
    with pytest.raises(FormatFault, match="missing"):
        ogg.check_whole(data[: pages[-2]] + data[pages[-1] :])


@pytest.mark.parametrize("how", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"])
def test_wav_codings_that_are_taken(how: str) -> None:
    audio = make_tone(8000, 0.1, 2)
    for kind in ("WAV", "WAVEX", "RF64"):
        data = encode_audio(audio, 8000, kind, subtype=how, comment="c")
        wav.check_whole(data)
        clean = wav.strip_metadata(data)
        assert wav.read_header(clean) == wav.read_header(data)
        assert (wav.read_header(data).rate, wav.read_header(data).frames) == (8000, len(audio))
        assert np.array_equal(decode(clean, "audio/wav"), decode(data, "audio/wav"))
        with pytest.raises(Truncated):
            wav.check_whole(clean[:-3])


def test_dirty_files_are_dirty() -> None:
    assert jpeg.read_orientation(make_dirty_jpeg(8)) == png.read_orientation(make_dirty_png(8)) == 8
