"""Test the pure rules of consent: patterns, robots.txt, lists of preferences, licences, metadata of files."""

import time
from urllib.robotparser import RobotFileParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.consent.ai_txt import parse_ai_file
from pipeline.consent.embedded.cbor import CborError, decode_cbor
from pipeline.consent.embedded.read_file import read_file_statements
from pipeline.consent.http_headers import HEADERS, forbids_links, list_header_licences, read_header_statements
from pipeline.consent.pages import forbids_page_links, list_page_licences, read_page_statements
from pipeline.consent.path_patterns import match_location, matches_path, normalize_path, normalize_pattern
from pipeline.consent.robots_file import parse_robots_file
from pipeline.consent.rsl import LicenceLink, read_licence
from pipeline.consent.signals import SIGNALS
from pipeline.consent.statements import ALL_USES, ConsentParams, Statement, find_refusal
from pipeline.consent.tdm_file import parse_tdm_file
from pipeline.consent.usage_lists import read_refused_uses
from pipeline.formats.html import parse_html
from tests.support.opted_out import encode_cbor, make_jpeg_xmp, make_mining

AGENT = "shardwright"
URL = "http://host.test/private/a"
LINK = LicenceLink(None, "License: x", "robots.txt")


def match(pattern: str, url: str) -> bool:
    return matches_path(normalize_pattern(pattern), normalize_path(f"http://host.test{url}"))


@pytest.mark.parametrize(
    ("pattern", "url", "matched"),
    [
        ("/", "/anything", True),
        ("/fish", "/fish.html", True),
        ("/fish", "/Fish", False),
        ("/fish/", "/fish", False),
        ("/fish*", "/fishheads/yummy", True),
        ("/*.php", "/folder/a.php?x=1", True),
        ("/*.php$", "/a.php?x=1", False),
        ("/*.php$", "/a/b.php", True),
        ("/fish*.php", "/fishheads/catfish.php?a", True),
        ("/a*b*c$", "/axbxbxc", True),
        ("/a*b*c$", "/axbxcx", False),
        ("/a$", "/a", True),
        ("/a$", "/ab", False),
        ("/a*a$", "/a", False),
        ("/?q=", "/?q=1", True),
        ("/ü", "/%C3%BC/x", True),
        ("/%c3%bc", "/%C3%BC", True),
        ("/%7Ejoe", "/~joe", True),
        ("/a%2Fb", "/a/b", False),
        ("/a%2Ab", "/a*b", True),
        ("/a$b", "/a$b", True),
        ("private", "/private/a", True),
        ("*.jpg", "/a.jpg", True),
    ],
)
def test_patterns(pattern: str, url: str, matched: bool) -> None:
    assert match(pattern, url) == matched


@given(st.text("ab/*", min_size=1, max_size=12), st.text("ab/", max_size=12))
def test_patterns_match_as_their_regular_expressions(pattern: str, path: str) -> None:
    import re

    parts = normalize_pattern("/" + pattern).split("*")
    regex = ".*".join(map(re.escape, parts))
    assert match("/" + pattern, "/" + path) == bool(re.match(regex, "/" + path))
    assert match("/" + pattern + "$", "/" + path) == bool(re.fullmatch(regex, "/" + path))


@pytest.mark.parametrize(
    ("location", "matched"),
    [
        ("http://host.test/private/*", True),
        ("https://host.test/", True),
        ("http://other.test/", False),
        ("http://host.test", True),
        ("http://[", False),
        ("/private", True),
    ],
)
def test_locations(location: str, matched: bool) -> None:
    assert (match_location(location, URL) >= 0) == matched


def test_no_pattern_takes_long() -> None:
    start = time.thread_time()
    assert not match("/" + "*a" * 10_000 + "$", "/" + "a" * 5_000)
    assert time.thread_time() - start < 1


@pytest.mark.parametrize(
    ("text", "forbidden"),
    [
        ("User-agent: *\nDisallow: /private", True),
        ("user-agent : *\r\ndisallow : /private # all of it", True),
        ("User-agent: *\rDisallow: /private\r", True),
        ("\ufeffUser-agent: *\nDisallow: /", True),
        ("User-agent: shardwright-images\nDisallow: /", False),
        ("User-agent: shard\nDisallow: /", False),
        ("User-agent: shardwright/2.0 (beta)\nDisallow: /", True),
        ("User-agent: a\nUser-agent: shardwright\nDisallow: /", True),
        ("User-agent: shardwright\nSitemap: /s.xml\n\nUser-agent: b\nDisallow: /", True),
        ("User-agent: shardwright\nAllow: /\nUser-agent: b\nDisallow: /", False),
        ("User-agent: *\nDisallow:\n", False),
        ("User-agent: *\nDisallow: /\nAllow: /private/a", False),
        ("User-agent: *\nAllow: /private\nDisallow: /private", False),
        ("User-agent: *\nAllow: /p\nDisallow: /*/a", True),
        ("User-agent: shardwright\nDisallow: /x\n\nUser-agent: *\nDisallow: /", False),
        ("User-agent: shardwright\nDisallow: /x\nUser-agent: b\nAllow: /\nUser-agent: shardwright\nDisallow: /p", True),
        ("Disallow: /\nUser-agent: b\nAllow: /", False),
        ("Useragent: *\nDissallow: /", True),
        ("User-agent: *\nDisallow: private", True),
        ("<html>User-agent: *</html>", False),
    ],
)
def test_rules_of_robots_txt(text: str, forbidden: bool) -> None:
    rules = parse_robots_file(text.encode()).select_rules(AGENT)
    assert (rules.find_disallow(URL) is not None) == forbidden


def test_robots_txt_itself_may_always_be_fetched() -> None:
    rules = parse_robots_file(b"User-agent: *\nDisallow: /").select_rules(AGENT)
    assert rules.find_disallow("http://host.test/robots.txt") is None


@given(st.lists(st.tuples(st.booleans(), st.text("ab", min_size=1, max_size=4)), max_size=6), st.text("ab", max_size=5))
def test_one_rule_decides_as_in_the_standard_library(rules: list[tuple[bool, str]], path: str) -> None:
    """Where no two rules match, Python's first match and the longest one are the same."""
    url = f"http://host.test/{path}"
    matching = [(allow, rule) for allow, rule in rules if f"/{path}".startswith(f"/{rule}")]
    if len(matching) > 1:
        return
    lines = ["User-agent: *", *(f"{'Allow' if allow else 'Disallow'}: /{rule}" for allow, rule in rules)]
    oracle = RobotFileParser()
    oracle.parse(lines)
    found = parse_robots_file("\n".join(lines).encode()).select_rules(AGENT).find_disallow(url)
    assert (found is None) == oracle.can_fetch(AGENT, url)


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: f"user-agent: *\n{text}".encode()))
def test_no_bytes_make_a_reader_fail(content: bytes) -> None:
    rules = parse_robots_file(content).select_rules(AGENT)
    list(rules.read_statements(URL, "r"))
    list(parse_tdm_file(content, "t").read_statements(URL))
    list(parse_ai_file(content, "a", AGENT).read_statements(URL))
    list(read_licence(content, URL, LINK))
    list(read_file_statements(content, "image/png"))
    for media_type in ("image/jpeg", "image/png", "image/gif"):
        list(read_file_statements(make_jpeg_xmp(content)[:400] + content, media_type))
    document = parse_html(content)
    list(read_page_statements(document, AGENT))
    list(list_page_licences(document))
    headers = {name: [content.decode("latin-1")] for name in HEADERS}
    list(read_header_statements(headers, AGENT))
    list(list_header_licences(headers))


@pytest.mark.parametrize(
    ("value", "refused"),
    [
        ("train-ai=n", {"ai-train"}),
        ("Train-AI = N", {"ai-train"}),
        ("train-ai=n;exceptions", {"ai-train"}),
        ("search=yes,ai-train=no,ai-input=no", {"ai-train", "ai-input"}),
        ("bots=n", ALL_USES),
        ("bots=n, search=y", {"ai-train", "ai-input"}),
        ("train-ai=y, train-ai=n", {"ai-train"}),
        ("train-ai", set()),
        ("train-ai=maybe, other=n, =n, ,", set()),
        ("", set()),
    ],
)
def test_lists_of_preferences(value: str, refused: set[str]) -> None:
    assert read_refused_uses(value) == refused


@pytest.mark.parametrize(
    ("headers", "details"),
    [
        ({"x-robots-tag": ["noai"]}, ["X-Robots-Tag: noai"]),
        ({"x-robots-tag": ["NoAI, NoImageAI"]}, ["X-Robots-Tag: noai", "X-Robots-Tag: noimageai"]),
        ({"x-robots-tag": ["unavailable_after: 25 Jun 2030 15:00:00 PST, noai"]}, ["X-Robots-Tag: noai"]),
        ({"x-robots-tag": ["unavailable_after: Tuesday, 25-Jun-2030 15:00:00 GMT, noai"]}, ["X-Robots-Tag: noai"]),
        ({"x-robots-tag": ["otherbot: nofollow, shardwright: noindex"]}, ["X-Robots-Tag: noindex"]),
        ({"x-robots-tag": ["noindex, otherbot: noai, noml"]}, ["X-Robots-Tag: noindex"]),
        ({"x-robots-tag": ["otherbot: noai", "*: noml"]}, ["X-Robots-Tag: noml"]),
        ({"x-robots-tag": ["noaircraft"]}, []),
        ({"tdm-reservation": ["0"]}, []),
        ({"tdm-reservation": [" 1 "]}, ["tdm-reservation: 1"]),
    ],
)
def test_headers(headers: dict[str, list[str]], details: list[str]) -> None:
    assert [one.detail for one in read_header_statements(headers, AGENT)] == details


def test_links_are_not_followed_where_a_header_or_page_says_so() -> None:
    assert forbids_links({"x-robots-tag": ["none"]}, AGENT)
    assert not forbids_links({"x-robots-tag": ["otherbot: nofollow"]}, AGENT)
    assert forbids_page_links(parse_html(b'<META NAME="Robots" CONTENT="NOFOLLOW">'), AGENT)
    assert not forbids_page_links(parse_html(b'<meta name="otherbot" content="nofollow">'), AGENT)


@pytest.mark.parametrize(
    ("value", "targets"),
    [
        ('</l>; rel="license"; type="application/rsl+xml"', ["/l"]),
        ("<a>; rel=next, <b,c>; type=application/rsl+xml; rel=license", ["b,c"]),
        ('<a>; rel="license"', []),
        ('<a>; rel="up license"; type="application/rsl+xml"', ["a"]),
        ("<" * 5000, []),
    ],
)
def test_licences_in_headers(value: str, targets: list[str]) -> None:
    assert [link.target for link in list_header_licences({"link": [value]})] == targets


def licence(*parts: str, attributes: str = 'url="/"') -> bytes:
    licences = "".join(f"<license>{part}</license>" for part in parts)
    return f'<rsl xmlns="https://rslstandard.org/rsl"><content {attributes}>{licences}</content></rsl>'.encode()


@pytest.mark.parametrize(
    ("content", "refused"),
    [
        (licence(""), set()),
        (licence('<permits type="usage">all</permits>'), set()),
        (licence('<permits type="usage">search ai-input</permits>'), {"ai-train"}),
        (licence('<permits type="usage">all</permits><prohibits type="usage">ai-train</prohibits>'), {"ai-train"}),
        (licence('<payment type="crawl"/>'), ALL_USES),
        (licence('<payment type="free"/>'), set()),
        (licence('<payment type="attribution"/>'), ALL_USES),
        (licence('<payment type="crawl"/>', '<permits type="usage">search</permits>'), {"ai-train", "ai-input"}),
        (licence('<permits type="user">non-commercial</permits>'), ALL_USES),
        (licence("", attributes='url="/" server="https://s.test"'), ALL_USES),
        (licence(attributes='url="/"'), ALL_USES),
        (licence('<payment type="crawl"/>', attributes='url="/other/"'), set()),
        (b"<html>no licence</html>", ALL_USES),
        (b'<!DOCTYPE a [<!ENTITY b "c">]>' + licence(""), ALL_USES),
        (None, ALL_USES),
    ],
)  # fmt: skip
def test_licences(content: bytes | None, refused: set[str]) -> None:
    assert {use for one in read_licence(content, URL, LINK) for use in one.uses} == refused


@pytest.mark.parametrize("value", ["DMI-PROHIBITED", "DMI-PROHIBITED-GENAIMLTRAINING", "Prohibited for AI/ML training"])
def test_data_mining_values_that_refuse_training(value: str) -> None:
    (found,) = read_file_statements(make_jpeg_xmp(make_mining(value)), "image/jpeg")
    assert "ai-train" in found.uses
    assert value in found.line


NESTED = st.recursive(
    st.booleans() | st.integers(0, 300) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(NESTED)
def test_cbor_is_decoded(item: object) -> None:
    assert decode_cbor(encode_cbor(item)) == item


@pytest.mark.parametrize(
    "data", [b"", b"\x9b" + b"\xff" * 8, b"\x81" * 100, b"\x9f" + b"\0" * 20_000, b"\x7b" + b"\xff" * 8]
)
def test_cbor_is_bounded(data: bytes) -> None:
    with pytest.raises(CborError):
        decode_cbor(data)


def test_the_params_say_what_counts() -> None:
    training = Statement("noai", frozenset({"ai-train"}), "d", "l", "p")
    images = Statement("noimageai", frozenset({"ai-train"}), "d", "l", "p", images_only=True)
    assert find_refusal([images, training], ConsentParams()) == training
    assert find_refusal([images, training], ConsentParams(), image=True) == images
    assert find_refusal([images, training], ConsentParams(ignore=("noai",))) is None
    assert find_refusal([training], ConsentParams(uses=("search",))) is None


def test_the_table_of_signals_is_documented() -> None:
    from pathlib import Path

    documented = Path("docs/crawling.md").read_text(encoding="utf-8")
    for name, signal in SIGNALS.items():
        assert f"| `{name}` | {signal.example} | {signal.places} | {signal.uses} | {signal.source} |" in documented
