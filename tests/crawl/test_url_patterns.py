"""Test the patterns of URLs against a plain matcher, and in time on URLs made to be slow."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.crawl.url_patterns import UrlPatterns, check_pattern, matches_url
from pipeline.errors import ParamsError
from pipeline.formats.urls import canonicalize_url
from tests.support.crawling import make_params


@pytest.mark.parametrize(
    ("pattern", "url", "matches"),
    [
        ("example.org", "http://example.org/", True),
        ("example.org", "https://example.org/a/b?c", True),
        ("example.org", "http://www.example.org/", False),
        ("EXAMPLE.org/a", "http://example.org/a", True),
        ("*.example.org", "http://a.b.example.org/x", True),
        ("*.example.org", "http://example.org/x", False),
        ("example.org:8080", "http://example.org:8080/", True),
        ("example.org", "http://example.org:8080/", False),
        ("/photos/**", "http://a.test/photos/2020/1.jpg", True),
        ("/photos/**", "http://a.test/photos", False),
        ("/photos/*", "http://a.test/photos/2020/1.jpg", False),
        ("/photos/*", "http://a.test/photos/1.jpg", True),
        ("/*/photos/*.jpg", "http://a.test/en/photos/1.jpg", True),
        ("**/tag/**", "http://a.test/x/tag/y", True),
        ("**/tag/**", "http://a.test/x/stage/y", False),
        ("**/tag/**", "http://a.test/tag/y", True),
        ("/**/tag/**", "http://a.test/tag/y", False),
        ("**.org/x", "http://a.b.org/x", True),
        ("a.test/x", "http://a.test/x?page=2", True),
        ("a.test/x?*", "http://a.test/x?page=2", True),
        ("a.test/x?*", "http://a.test/x", False),
        ("/**?**sort=**", "http://a.test/x?a=/b&sort=up", True),
        ("/Photos/**", "http://a.test/photos/1", False),
        ("/фото/**", "http://a.test/фото/1", True),
        ("/a%20b", "http://a.test/a b", True),
        ("/a+(b)[c]", "http://a.test/a+(b)[c]", True),
        ("/v1.0", "http://a.test/v1x0", False),
        ("**", "http://a.test/any?thing", True),
    ],
)
def test_what_a_pattern_matches(pattern: str, url: str, matches: bool) -> None:
    assert matches_url(pattern, canonicalize_url(url)) is matches


@given(st.text("ab/*", max_size=9), st.text("ab/", max_size=12))
def test_patterns_match_as_one_that_tries_everything(glob: str, path: str) -> None:
    plain = re.escape(f"/{glob}").replace(r"\*\*", ".*").replace(r"\*", "[^/]*")
    assert matches_url(f"/{glob}", f"http://a.test/{path}") is (re.fullmatch(plain, f"/{path}") is not None)


@pytest.mark.parametrize("pattern", ["/**a**a**a**a**a**b", "/*a*a*a*a*a*a*b", "/**a*a**a*a**a*b"])
def test_no_url_takes_long(pattern: str) -> None:
    start = time.thread_time()
    for path in ("a" * 1980, "a/" * 990):
        assert not matches_url(pattern, f"http://a.test/{path}")
    assert time.thread_time() - start < 1


def test_exclude_wins_over_include() -> None:
    patterns = UrlPatterns(include=("/a/**",), exclude=("/a/b/**",))
    verdicts = [patterns.reject_page(f"http://a.test/{path}") for path in ("a/x", "a/b/x", "c")]
    assert [verdict and verdict.setting for verdict in verdicts] == [None, "exclude", "include"]
    assert patterns.reject("http://a.test/c") is None  # of something embedded


@pytest.mark.parametrize("pattern", ["", "http://a.test/", "a.test/#x", "a b", "a.test?x", "me@a.test/"])
def test_bad_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="a host, a path, or both"):
        check_pattern(pattern)
    with pytest.raises(ParamsError, match=r"crawl\.exclude"):
        make_params(exclude=[pattern])
