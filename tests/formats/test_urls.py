"""Test the canonical form of URLs, and which URLs are refused."""

import string
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.formats.urls import (
    MAX_URL_CHARACTERS,
    BadUrl,
    canonicalize_url,
    find_host,
    find_site,
    has_other_scheme,
    redact_url,
)

BASE = "http://host.test/a/b?c"


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("http://host.test", "http://host.test/"),
        ("HTTP://Host.TEST:80/", "http://host.test/"),
        ("https://host.test:443/a", "https://host.test/a"),
        ("http://host.test:8080/", "http://host.test:8080/"),
        ("http://host.test./a", "http://host.test/a"),
        ("http://host.test/a#part", "http://host.test/a"),
        ("http://host.test/a?", "http://host.test/a"),
        ("http://host.test/a?b=c d", "http://host.test/a?b=c%20d"),
        ("http://host.test/%7euser/%e4", "http://host.test/~user/%E4"),
        ("http://host.test/a b/ü", "http://host.test/a%20b/%C3%BC"),
        ("http://host.test/100%", "http://host.test/100%25"),
        ("http://host.test/a/./b/../c/", "http://host.test/a/c/"),
        ("http://host.test/../../a/%2e%2E/b", "http://host.test/b"),
        ("http://host.test/a/..", "http://host.test/"),
        ("http:\\\\host.test\\a\\b?c\\d", "http://host.test/a/b?c%5Cd"),
        (" http://host.test/a\n", "http://host.test/a"),
        ("http://bücher.test/", "http://xn--bcher-kva.test/"),
        ("http://127.1/", "http://127.0.0.1/"),
        ("http://0x7f.1/", "http://127.0.0.1/"),
        ("http://0177.0.0.1/", "http://127.0.0.1/"),
        ("http://2130706433/", "http://127.0.0.1/"),
        ("http://0x/", "http://0.0.0.0/"),
        ("http://[::FFFF:7F00:1]:80/", "http://[::ffff:7f00:1]/"),
        ("http://[2001:DB8:0::1]/", "http://[2001:db8::1]/"),
    ],
)
def test_canonical_forms(text: str, canonical: str) -> None:
    assert canonicalize_url(text) == canonical
    assert canonicalize_url(canonical) == canonical


@pytest.mark.parametrize(
    ("reference", "canonical"),
    [
        ("d", "http://host.test/a/d"),
        ("../d/", "http://host.test/d/"),
        ("/d", "http://host.test/d"),
        ("?d", "http://host.test/a/b?d"),
        ("#d", "http://host.test/a/b?c"),
        ("", "http://host.test/a/b?c"),
        ("//other.test/d", "http://other.test/d"),
        ("\\\\other.test\\d", "http://other.test/d"),
    ],
)
def test_relative_references(reference: str, canonical: str) -> None:
    assert canonicalize_url(reference, BASE) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no url",
        "//host.test/",
        "ftp://host.test/",
        "file:///etc/passwd",
        "data:text/plain,hello",
        "http://",
        "http:///path",
        "http://user:secret@host.test/",
        "http://host.test@other.test/",
        "http://host.test:0/",
        "http://host.test:65536/",
        "http://host.test:port/",
        "http://host.test/\x00",
        "http://host.test/a\nb",
        "http://host.test/\x7f",
        "http://host.test/\udcff",
        "http://ho st.test/",
        "http://host..test/",
        "http://-host.test/",
        "http://" + "a" * 64 + ".test/",
        "http://" + "a." * 130 + "test/",
        "http://host%2etest/",
        "http://[::1/",
        "http://[fe80::1%25eth0]/",
        "http://1.2.3.4.5/",
        "http://256.0.0.1/",
        "http://1_0.1/",
        "http://+1.1/",
        "http://999999999999/",
        "http://08.1/",
        "http://host.test/" + "a" * MAX_URL_CHARACTERS,
        "http://host.test/" + "ü" * 700,  # 2,100 characters once escaped
    ],
)
def test_urls_that_are_refused(text: str) -> None:
    with pytest.raises(BadUrl) as refused:
        canonicalize_url(text)
    assert "secret" not in str(refused.value)


URL_LIKE = st.one_of(
    st.text(max_size=60),
    st.builds(
        "{}://{}{}{}".format,
        st.sampled_from(["http", "https", "HTTP"]),
        st.text(alphabet=string.ascii_letters + string.digits + ".-_xX", min_size=1, max_size=20),
        st.sampled_from(["", ":80", ":443", ":8000", ":"]),
        st.text(alphabet=string.printable + "%%%%//..?#é\\", max_size=40),
    ),
)


@given(text=URL_LIKE, base=st.sampled_from([None, BASE]))
@example(text="http://a/%%41%4", base=None)
@example(text="http://a/.//../..//", base=None)
@example(text="http://a//..", base=None)
def test_canonical_form_is_a_fixed_point_and_nothing_else_is_raised(text: str, base: str | None) -> None:
    try:
        url = canonicalize_url(text, base)
    except BadUrl:
        return
    assert canonicalize_url(url) == url
    assert url.isascii()
    assert "#" not in url
    assert "@" not in find_site(url)
    host, port = find_host(url)
    assert host == host.lower()
    assert 0 < port < 65536


@given(text=st.text(max_size=400))
def test_redacted_text_is_short_and_printable(text: str) -> None:
    redacted = redact_url(text)
    assert len(redacted) <= 200
    assert redacted.encode().decode() == redacted
    assert not any(character < " " or character == "\x7f" for character in redacted)


def test_credentials_are_redacted() -> None:
    assert redact_url("http://user:secret@host.test/a") == "http://[…]@host.test/a"
    assert redact_url("http://user@x:secret@host.test/") == "http://[…]@host.test/"
    assert redact_url("//secret@host.test") == "//[…]@host.test"


@pytest.mark.parametrize("start", ["http://", "http:\\\\", "http:/", "http:", "http:/\t/", "https:\n//", "//", ""])
def test_credentials_are_redacted_with_any_slashes(start: str) -> None:
    text = f"{start}me:secret@host.test/"
    redacted = redact_url(text)
    assert "secret" not in redacted
    with suppress(BadUrl):
        assert canonicalize_url(redacted) != redacted  # so no URL that is fetched has this name


@pytest.mark.parametrize("link", ["mailto:a@b.test", "data:,x", " javascript:void(0)", "FTP://host/", "tel:1"])
def test_other_schemes(link: str) -> None:
    assert has_other_scheme(link)


@pytest.mark.parametrize("link", ["http://a/", "HTTPS:b", "a/b:c", "?a:b", "", "//host"])
def test_links_with_a_scheme_of_the_web(link: str) -> None:
    assert not has_other_scheme(link)
