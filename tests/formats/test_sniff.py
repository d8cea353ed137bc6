"""Media types found from bytes, and web pages in any encoding."""

import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from pipeline.formats.encodings import decode_page
from pipeline.formats.html import check_selector, parse_html, read_text
from pipeline.formats.media_type import (
    MODALITIES_BY_TYPE,
    UNKNOWN,
    UNKNOWN_TEXT,
    claims_page,
    find_media_type,
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
        (b"<!-- a --><!-- b -->\n<head><meta charset=utf-8>", "text/html"),
        (b'<?xml version="1.0"?><html xmlns="x">', "text/html"),
        (b"<p>caf\xe9", UNKNOWN_TEXT),
        ("<!doctype html><p>é".encode("utf-16"), "text/html"),
        (b"<p>A house <img src=a.jpg>", "text/html"),
        (b"<style of the sixties> in a room", "text/plain"),
        (b"<html is what they said>", "text/plain"),
        (b"<svg of a cat>", "text/plain"),
        (b'<?xml version="1.0"?><!DOCTYPE svg PUBLIC "x"><svg>', "image/svg+xml"),
        (b"caf\xe9", UNKNOWN_TEXT),
        ("text".encode("utf-16"), UNKNOWN_TEXT),
        (b"BM\x00\x00", "image/bmp"),
        (b"text with a NUL\x00", "text/plain"),
        (b"NULs at the end\x00\x00\x1a", "text/plain"),
        (b"a NUL\x00 within", UNKNOWN),
        (b"\x00\x1a", UNKNOWN),
        (b"a\x0bvertical tab", "text/plain"),
        (b"RIFF and WAVE are words", "text/plain"),
        (b"BMW f\xe4hrt", UNKNOWN_TEXT),
        (b"%PDF-files on a desk", "text/plain"),
        (b"%!PSst", "text/plain"),
        (b"%!PS-Adobe-3.0", "application/postscript"),
        (b"\x89", UNKNOWN_TEXT),
        (b"", UNKNOWN),
        (b"RIFF\x04\x00\x00\x00WEBP", "image/webp"),
        (b"OggS\x00", "application/ogg"),
        (b"\x00\x00\x00\x20ftypavif", "image/avif"),
        (b"\x00\x00\x00\x20ftypM4A ", "audio/mp4"),
        (b"%PDF-1.7", "application/pdf"),
    ],
)
def test_others(content: bytes, media_type: str) -> None:
    assert find_media_type(content) == media_type


SIGNATURES = [
    b"GIF89a",
    b"GIF87a",
    b"OggS",
    b"fLaC",
    b"%PDF-",
    b"%!PS?",
    b"BM",
    b"ID3",
    b"BZh",
    b"7z",
    b"RIFF    WAVE",
    b"    ftypavif",
]


@given(content=st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_bytes_have_a_type_and_what_is_text_decodes(content: bytes) -> None:
    if find_media_type(content) == "text/plain":
        assert "\0" not in content.decode().rstrip("\0\x1a")


@pytest.mark.parametrize("content", [b"<!--a-->" * 20_000, b"<!--" * 40_000, b" " * 160_000, b"<?xml ?>" * 20_000])
def test_no_text_takes_long(content: bytes) -> None:
    start = time.thread_time()
    find_media_type(content + b"\xff")
    assert time.thread_time() - start < 0.5


@given(st.sampled_from(SIGNATURES), st.text(st.characters(exclude_categories=["C"]), max_size=40))
def test_a_text_that_begins_as_another_format_is_a_text(signature: bytes, text: str) -> None:
    content = signature + b" " + text.encode()
    assert find_media_type(content) == "text/plain"
    assert not find_media_type(content + b"\0" + content).startswith("text/")


@given(
    st.sampled_from(
        ["a", "b", "body", "center", "div", "h1", "head", "main", "p", "script", "style", "table", "title"]
    ),
    st.sampled_from(["", " of water", " with a hat", "/"]),
    st.text(st.characters(exclude_categories=["C"], exclude_characters="<>"), max_size=20),
)
def test_words_in_angle_brackets_are_no_page_unless_it_says_so(name: str, more: str, text: str) -> None:
    content = f"<{name}{more}>{text}".encode()
    assert find_media_type(content) == "text/plain"
    assert find_media_type(b"<!doctype html>" + content) == "text/html"


def test_servers_and_names_claim_pages() -> None:
    assert claims_page("a.HTML", None)
    assert claims_page("a.txt", "Text/HTML; charset=utf-8")
    assert not claims_page("a.html", "text/plain")
    assert not claims_page("a.txt", None)
    assert find_media_type(b"<p>A red car</p>", page=True) == "text/html"


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
        ("<meta http-equiv=content-type content='text/html; charset=shift_jis'><p>犬".encode("shift_jis"), "犬"),
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
    decode_page(content, None).encode()
    parse_html(content)


def test_selectors() -> None:
    assert check_selector("meta[name=kind]")
    assert not check_selector("p[")
    assert not check_selector("")
