"""Texts and pages in any encoding, as browsers and people use them."""

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.formats.encodings import decode_page, decode_text, find_codec, read_charset

PAGES = [
    ("cp932", "sjis", "㈱の①犬"),
    ("cp949", "ks_c_5601-1987", "뷁과 강아지"),
    ("gb18030", "gb2312", "喆和囧"),
    ("gb18030", "x-gbk", "龍€"),
    ("big5hkscs", "cn-big5", "香港嘅狗"),
    ("euc_jp", "x-euc-jp", "犬の写真"),
    ("iso2022_jp", "csISO2022JP", "犬の写真"),
    ("cp874", "iso-8859-11", "หมา…"),
    ("cp1254", "latin5", "köpek “ağaç”"),
    ("cp1252", "us-ascii", "“chien” – café"),
    ("cp1251", "x-cp1251", "собака"),
    ("koi8-r", "koi8", "собака"),
    ("cp866", "ibm866", "собака"),
    ("iso8859-8", "logical", "כלב"),
    ("mac-cyrillic", "x-mac-ukrainian", "собака"),
]
TEXTS = [
    ("cp1252", "en", "café"),
    ("cp1252", "es", "El niño come en el jardín"),
    ("cp1251", "ru", "Кошка спит на стене"),
    ("cp1250", "pl", "Kot śpi na ścianie i śni o łące"),
    ("cp1253", "el", "Η γάτα κοιμάται"),
    ("cp1255", "he", "החתול ישן על הקיר"),
    ("cp1256", "ar", "القطة تنام على الجدار"),
    ("cp874", "th", "แมวนอนบนกำแพง"),
    ("gb18030", "zh", "黑色的狗"),
    ("cp932", "ja", "赤い鳥が木の上にいる"),
    ("cp949", "ko", "고양이가 자고 있다"),
]


@pytest.mark.parametrize(("codec", "label", "text"), PAGES)
def test_labels_are_decoded_by_what_browsers_take_them_for(codec: str, label: str, text: str) -> None:
    body = f"<p>{text}</p>".encode(codec)
    assert decode_page(body, f'text/html; charset="{label.upper()}"') == f"<p>{text}</p>"
    for head in (
        f"<META content=\"text/html; charset={label}\" http-equiv='Content-Type'>",
        f"<!-- <meta charset=koi8-u> --><meta name=charset><meta charset = {label} />",
        f'<?xml version="1.0" encoding="{label}"?>',
        f"<p title='<meta charset=koi8-u>'><meta charset=nonsense><meta charset='{label}'>",
    ):
        assert decode_page(head.encode() + body, "text/html").endswith(f"<p>{text}</p>")


@pytest.mark.parametrize(
    ("content", "content_type", "text"),
    [
        (codecs.BOM_UTF8 + "é".encode(), "text/html; charset=koi8-r", "é"),
        (codecs.BOM_UTF16_BE + "é".encode("utf-16-be"), "text/html; charset=koi8-r", "é"),
        ("<meta charset=koi8-r>д".encode("cp1251"), "text/html; charset=windows-1251", "<meta charset=koi8-r>д"),
        ("<meta charset=utf-16>é".encode(), None, "<meta charset=utf-16>é"),
        ("联通".encode("gbk"), "text/html;charset=gbk", "联通"),  # which are valid UTF-8 too
        ("é".encode(), "text/html", "é"),
        (b"\x93caf\xe9\x94\x81", "text/html; charset=punycode", "“café”\x81"),
        (b"\xe9" + b" " * 1024 + b"<meta charset=koi8-r>", None, "é" + " " * 1024 + "<meta charset=koi8-r>"),
    ],
)
def test_what_says_the_encoding_of_a_page(content: bytes, content_type: str | None, text: str) -> None:
    assert decode_page(content, content_type) == text


@given(st.binary(max_size=80), st.sampled_from([label for _, label, _ in PAGES]))
def test_any_bytes_are_decoded_in_any_encoding(content: bytes, label: str) -> None:
    decode_page(content, f"text/html; charset={label}").encode()
    decode_text(content, f"text/plain; charset={label}")


@given(
    st.text(st.characters(exclude_categories=["C"]), min_size=1).filter(lambda text: text[0] != "\ufeff"),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
)
def test_unicode_is_no_guess(text: str, codec: str) -> None:
    assert decode_text((text + "\0\x1a").encode(codec)) == (text, None)


@pytest.mark.parametrize(("codec", "language", "text"), TEXTS)
def test_an_old_text_is_decoded_by_its_language_and_the_guess_is_told(codec: str, language: str, text: str) -> None:
    assert decode_text(text.encode(codec), language=language) == (text, codec)


def test_a_text_that_stands_out_needs_no_language() -> None:
    text = "Большая красная птица сидит на дереве у дома"
    assert decode_text(text.encode("cp1251")) == (text, "cp1251")
    assert decode_text(text.encode("koi8-r"), "text/plain; charset=koi8-r") == (text, None)


@pytest.mark.parametrize(
    "content", ["Кошка".encode("cp1251"), b"\x89", b"\xff\xfea", codecs.BOM_UTF16_LE + b"\1\0\2\0"]
)
def test_a_poor_guess_is_none(content: bytes) -> None:
    assert decode_text(content) is None


def test_only_labels_of_the_web_are_known() -> None:
    assert [find_codec(label) for label in ("rot13", "utf-7", "idna", "punycode", "hex", "")] == [None] * 6
    assert read_charset("text/html; charset = 'GBK' ; x") == "gb18030"
    assert read_charset("text/html") is None
