"""Media types found from bytes, and web pages in any encoding."""

import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from pipeline.formats.html import check_selector, decode_html, parse_html, read_text
from pipeline.formats.media_type import (
    HEAD_BYTES,
    MODALITIES_BY_TYPE,
    UNKNOWN,
    UNKNOWN_TEXT,
    find_media_type,
    is_binary,
)


@pytest.mark.parametrize(
    ("ending", "format_", "subtype", "media_type"),
    [
        ("wav", "WAV", "PCM_16", "audio/wav"),
        ("wav", "WAVEX", "FLOAT", "audio/wav"),
        ("ogg", "OGG", "VORBIS", "audio/ogg"),
        ("ogg", "OGG", "OPUS", "audio/ogg; codecs=opus"),
        ("flac", "FLAC", "PCM_16", "audio/flac"),
        ("aiff", "AIFF", "PCM_16", "audio/aiff"),
        ("rf64", "RF64", "PCM_16", "audio/wav"),
        ("mp3", "MP3", "MPEG_LAYER_III", "audio/mpeg"),
    ],
)
def test_recordings(tmp_path: Path, ending: str, format_: str, subtype: str, media_type: str) -> None:
    path = tmp_path / f"audio.{ending}"
    soundfile.write(path, np.zeros(4800, np.float32), 48000, format=format_, subtype=subtype)
    assert find_media_type(path.read_bytes()) == media_type


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "bmp", "tiff"])
def test_images(ending: str) -> None:
    import cv2

    _, data = cv2.imencode(f".{ending}", np.zeros((8, 8, 3), np.uint8))
    assert find_media_type(data.tobytes()) == f"image/{ending.replace('jpg', 'jpeg')}"


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (b"a caption", "text/plain"),
        ("\ufeffla légende\r\n\tעברית".encode(), "text/plain"),
        (b"BMW", "text/plain"),
        (b"ID3 is a tag", "text/plain"),
        (b"a < b <i>c</i>", "text/plain"),
        (b"<abbr>", "text/plain"),
        (b"<!DOCTYPE html><p>", "text/html"),
        (b"\xef\xbb\xbf\n<HTML lang=en>", "text/html"),
        (b"<!-- a --><!-- b -->\n<head>", "text/html"),
        (b'<?xml version="1.0"?><html xmlns="x">', "text/html"),
        (b"<p>caf\xe9", "text/html"),
        (b'<?xml version="1.0"?><!DOCTYPE svg PUBLIC "x"><svg>', "image/svg+xml"),
        (b"caf\xe9", UNKNOWN_TEXT),
        ("text".encode("utf-16"), UNKNOWN_TEXT),
        (b"BM\x00\x00", "image/bmp"),
        (b"text with a NUL\x00", UNKNOWN),
        (b"\x89", UNKNOWN_TEXT),
        (b"", UNKNOWN),
        (b"RIFF\x04\x00\x00\x00WEBP", "image/webp"),
        (b"OggS", "application/ogg"),
        (b"\x00\x00\x00\x20ftypavif", "image/avif"),
        (b"\x00\x00\x00\x20ftypM4A ", "audio/mp4"),
        (b"%PDF-1.7", "application/pdf"),
    ],
)
def test_others(content: bytes, media_type: str) -> None:
    assert find_media_type(content) == media_type


@given(content=st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_bytes_have_a_type_and_what_is_text_decodes(content: bytes) -> None:
    if find_media_type(content) == "text/plain":
        assert "\0" not in content.decode()


@pytest.mark.parametrize("content", [b"<!--a-->" * 20_000, b"<!--" * 40_000, b" " * 160_000, b"<?xml ?>" * 20_000])
def test_no_text_takes_long(content: bytes) -> None:
    start = time.thread_time()
    find_media_type(content + b"\xff")
    assert time.thread_time() - start < 0.5


STARTS = st.sampled_from([b"", b"BM", b"ID3", b"\xff\xd8\xff", b"RIFF\0\0\0\0WAVE", b"<html>", b"OggS"])
REST = st.sampled_from([b"", b"<p>", b"\x00", b"\xff", "é".encode() * 3000, b"x" + "é".encode() * 3000, b"a" * 5000])


@given(STARTS, REST, st.binary(max_size=5) | st.just(b"<html>"))
def test_what_begins_as_a_binary_format_is_no_page(start: bytes, rest: bytes, end: bytes) -> None:
    content = start + rest + end
    media_type = find_media_type(content)
    if is_binary(content[:HEAD_BYTES]):
        assert not media_type.startswith("text/")
    elif len(content) <= HEAD_BYTES:
        assert media_type.startswith("text/") or media_type == UNKNOWN


def test_an_image_begins_as_a_binary_format() -> None:
    assert is_binary(b"\xff\xd8\xff\xe0" + bytes(100))
    assert not is_binary(b"BMW " + "é".encode() * HEAD_BYTES)


def test_supported_types_have_modalities() -> None:
    assert set(MODALITIES_BY_TYPE.values()) == {"image", "audio", "text", "video"}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("<p>é".encode(), "é"),
        ("\ufeff<p>é".encode(), "é"),
        ("\ufeff<p>é".encode("utf-16-le"), "é"),
        ("<p>é€".encode("cp1252"), "é€"),
        ('<meta charset="iso-8859-2"><p>ł'.encode("iso-8859-2"), "ł"),
        ("<meta http-equiv=x content='text/html; charset=shift_jis'><p>犬".encode("shift_jis"), "犬"),
        ("<meta charset=latin1><p>é€".encode("cp1252"), "é€"),
        ("<meta charset=rot13><p>é".encode("cp1252"), "é"),
        ("<meta charset=nonsense><p>é".encode("cp1252"), "é"),
    ],
)
def test_encodings_of_pages(content: bytes, text: str) -> None:
    node = parse_html(content).css_first("p")
    assert node is not None
    assert read_text(node) == text


@given(content=st.binary(max_size=200))
def test_any_bytes_are_a_page(content: bytes) -> None:
    decode_html(content).encode()
    parse_html(content)


def test_selectors() -> None:
    assert check_selector("meta[name=kind]")
    assert not check_selector("p[")
    assert not check_selector("")
