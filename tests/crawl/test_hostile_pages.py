"""Test web pages that would take minutes or gigabytes, or that name an unusable encoding."""

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.formats.encodings import decode_page
from pipeline.formats.format_errors import FormatFault
from pipeline.formats.html import MAX_PAGE_BYTES, is_tangled, parse_html
from pipeline.ingest.read_page import read_page
from tests.support import ingesting
from tests.support.crawling import START, make_params, run_crawl
from tests.support.loopback import Reply, page, serve

pytestmark = pytest.mark.slow

PARAMS = ingesting.make_params()
TANGLED = {
    "deep": "<div>" * 300_000,
    "never closed by its own name": "<x>" * 50_000 + "</y>" * 50_000,
    "formatting": "<p>" + "".join(f"<b a{n}>" for n in range(2000)) + "</p>" + "<p>x" * 2000,
    "attributes": "<p " + " ".join(f"a{n}" for n in range(100_000)) + ">",
    "attributes in quotes": "<p " + "".join(f"a{n}='>'" for n in range(100_000)) + ">",
    "long": "<p>text</p>" * (MAX_PAGE_BYTES // 10),
}
HONEST = {
    "a long table": "<table>" + "<tr><td class='a b'><b>x</b> <a href='y.html'>z</a></td></tr>" * 50_000 + "</table>",
    "unclosed items": "<ul>" + "<li><a href=x>y</a>" * 10_000,
    "icons": '<i class="icon"></i><svg>' + '<path d="M 0 0"/>' * 5000 + "</svg>",
    "formatting closed at once": "".join(f"<i id={n}>x</i><p>y" for n in range(5000)),
    "nothing": "",
}


@pytest.mark.parametrize("name", TANGLED)
def test_deeply_nested_pages_are_refused_in_time(name: str) -> None:
    start = time.thread_time()
    with pytest.raises(FormatFault):
        parse_html(TANGLED[name].encode())
    assert time.thread_time() - start < 5


@pytest.mark.parametrize("name", HONEST)
def test_large_pages_are_parsed(name: str) -> None:
    assert not is_tangled(HONEST[name])
    assert parse_html(HONEST[name].encode()).css_first("body") is not None


@pytest.mark.parametrize("text", ['<p a="' * 200_000, "<p " + " " * 500_000, "<a" + " /" * 500_000, "<p =" * 200_000])
def test_finding_the_media_type_takes_linear_time(text: str) -> None:
    start = time.thread_time()
    is_tangled(text)
    assert time.thread_time() - start < 2


@given(text=st.text(alphabet="<>/ab='\" \n!-", max_size=60))
def test_any_text_has_a_media_type(text: str) -> None:
    assert not is_tangled(text)


@pytest.mark.parametrize("name", ["idna", "punycode", "undefined", "unicode_escape", "utf-7", "rot13", "x" * 99])
def test_unknown_encodings_are_read_as_windows_1252(name: str) -> None:
    assert decode_page(f"<meta charset={name}>café".encode("cp1252"), None).endswith("café")


@pytest.mark.parametrize("name", ["koi8-r", "iso-8859-5", "windows-1251", "gbk", "shift_jis", "euc-jp", "gb18030"])
def test_encodings_of_the_web_are_read(name: str) -> None:
    assert decode_page(f"<meta charset='{name}'>Мир".encode(name), None).endswith("Мир")


def test_nested_matches_do_not_multiply_the_text() -> None:
    text = "word " * 200_000
    facts = read_page(("<figcaption>" * 2000 + text).encode(), PARAMS, "http://a.test/")
    assert facts.text is not None
    assert len(facts.text) < 5 * len(text)


def test_facts_of_a_page_are_one_line_without_control_characters() -> None:
    facts = read_page(
        b"<meta name=kind content='snowy\n owl\x1b[2J'><meta name=author content=' J.\tDoe '>", PARAMS, "http://a.test/"
    )
    assert (facts.label, facts.attribution) == ("snowy owl[2J", "J. Doe")


def test_a_deeply_nested_page_is_dropped_by_the_crawl_and_not_stored(tmp_path: Path) -> None:
    routes = {"/robots.txt": Reply(status=404), "/": page('<a href="/tangled">x</a><a href="/idna">y</a>')}
    routes["/tangled"] = page(TANGLED["attributes"])
    routes["/idna"] = Reply(b"<html><meta charset=idna><p>caf\xe9")
    with serve(routes) as site:
        result = run_crawl(tmp_path, make_params(address=site.address, max_bytes=10 << 20))
    assert result.reasons == {f"{START}tangled": "unreadable"}
    assert result.outcome.kept == 2


def test_a_deeply_nested_page_is_dropped_by_ingest_and_gives_no_facts(tmp_path: Path) -> None:
    tangled = "<html><meta name=kind content=owl>" + TANGLED["attributes"]
    ingesting.write_files(tmp_path / "inbox", {"tangled.html": tangled})
    responses = [
        ingesting.Response("http://a.test/", tangled),
        ingesting.Response("http://a.test/owl.png", ingesting.make_image(), page="http://a.test/"),
    ]
    result = ingesting.run_ingest(tmp_path, PARAMS, responses)
    assert result.reasons == {"a.test:/": "unreadable", "folder:tangled.html": "unreadable"}
    assert [(row["file"], row["page_label"]) for row in result.rows] == [("owl.png", None)]
