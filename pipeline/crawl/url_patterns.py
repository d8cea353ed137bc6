"""Match URLs by patterns, the globs of `crawl.include` and `crawl.exclude`. Pure.

A pattern is a host, a path, or both: `example.org`, `/photos/**`, `*.example.org/photos/**`. A host alone stands for
all of its paths; a path alone, which begins with `/` or `**/`, for that path on every host. `*` stands for any
characters but `/`, also none; `**` for any characters. All else stands for itself, `?` too: it begins the query. A
pattern without `?` matches whatever the query is.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, urlsplit

from pipeline.tables.drops import Reason, Rejection


@dataclass(frozen=True, slots=True)
class UrlPatterns:
    """The patterns of a crawl.

    Attributes:
        include: of pages; empty: all.
        exclude: of any URL.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def reject_page(self, url: str) -> Rejection | None:
        """Return why a page at a canonical URL is not requested, or None."""
        if rejection := self.reject(url):
            return rejection
        if not self.include or any(matches_url(pattern, url) for pattern in self.include):
            return None
        return Rejection(Reason.OUT_OF_BOUNDS, "no pattern includes it", setting="include")

    def reject(self, url: str) -> Rejection | None:
        """Return why a canonical URL is not requested, whatever it is, or None."""
        found = next((pattern for pattern in self.exclude if matches_url(pattern, url)), None)
        if found is None:
            return None
        return Rejection(Reason.OUT_OF_BOUNDS, "a pattern excludes it", limit=found, setting="exclude")


def matches_url(pattern: str, url: str) -> bool:
    """Return whether a pattern matches a canonical URL."""
    host, target = _compile(pattern)
    parts = urlsplit(url)
    path = f"{parts.path}?{parts.query}" if "?" in pattern and parts.query else parts.path
    return host.fullmatch(parts.netloc) is not None and target.fullmatch(path) is not None


@lru_cache(256)
def _compile(pattern: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    host, slash, rest = ("", "", pattern) if pattern.startswith(("/", "**/")) else pattern.partition("/")
    path = f"{slash}{rest}" or "**"
    # As in canonical URLs; what is encoded already stays so.
    return _translate(host.lower() or "**"), _translate(quote(path, safe="/%!$&'()*+,;=:@?~"))


def _translate(glob: str) -> re.Pattern[str]:
    """Return the expression of a glob.

    Each wildcard but the last takes the first match of what follows it and never another, so that a URL of 2,000
    characters cannot take more than the square of that. Nothing is missed: what may follow the first match of a part
    contains what may follow a later one.
    """
    *blocks, last = glob.split("**")
    expression = ""
    for number, block in enumerate(blocks):
        expression += _translate_block(block) if number == 0 else f"(?>.*?{_translate_block(block)})"
    head, star, tail = last.rpartition("*")
    ending = f"{_translate_block(head)}[^/]*{re.escape(tail)}" if star else re.escape(last)
    return re.compile(f"{expression}{'.*' if blocks else ''}{ending}", re.DOTALL)


def _translate_block(block: str) -> str:
    first, *rest = block.split("*")
    return re.escape(first) + "".join(f"(?>[^/]*?{re.escape(part)})" for part in rest)


def check_pattern(pattern: str) -> str:
    """Return a pattern as it is.

    Raises:
        ValueError: it cannot match any URL; the message says what is allowed.
    """
    host = pattern.partition("/")[0]
    if not pattern or "://" in pattern or "#" in pattern or re.search(r"\s", pattern) or "?" in host or "@" in host:
        raise ValueError("a host, a path, or both, such as example.org, /photos/** or *.example.org/photos/**")
    return pattern
