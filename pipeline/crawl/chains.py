"""Describe what one process hands to another: the rest of a chain of redirects that leads to that one's hosts."""

from dataclasses import dataclass, replace
from typing import Self


@dataclass(frozen=True, slots=True)
class Chain:
    """A URL to request, and those whose redirects led to it.

    Attributes:
        site_file: whether it is a file that holds for a whole site, such as robots.txt.
        asks: whether requests are needed, see `pipeline.crawl.visit_kept`; then they were made for all that it passed.
    """

    url: str
    passed: tuple[str, ...] = ()
    site_file: bool = False
    asks: bool = False

    @property
    def start(self) -> str:
        """Return the URL that was asked for."""
        return self.passed[0] if self.passed else self.url

    def begin_asking(self) -> Self:
        """Return the chain from its start, with requests."""
        return replace(self, url=self.start, passed=(), asks=True)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A chain that can go on when the response to `file` is known: a site's file, behind a redirect to another host."""

    chain: Chain
    file: Chain


@dataclass(frozen=True, slots=True)
class FileNotKept:
    """A site's file cannot be had without requests: what waits for it begins anew, with requests."""

    chain: Chain
