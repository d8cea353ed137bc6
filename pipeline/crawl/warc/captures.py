"""List the responses of a crawl that belong into its WARC files: what was kept, and what led there."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pipeline.crawl.answers import Answers
from pipeline.crawl.breadth_first import VisitedUrl
from pipeline.crawl.http_request import HttpResponse, Limit
from pipeline.crawl.redirects import MAX_REDIRECTS, follow_redirect
from pipeline.crawl.robots import MAX_ROBOTS_BYTES
from pipeline.formats.urls import find_origin
from pipeline.tables.drops import Reason, Rejection

USED = (Reason.DUPLICATE, Reason.USED_AS_LIST)
"""Reasons of URLs whose responses are no data, but were fetched and may be kept."""


@dataclass(frozen=True, slots=True, order=True)
class Capture:
    """A URL whose response was stored, where it was found, and whether it was requested as a site's robots.txt."""

    url: str
    robots: bool = False
    via: str | None = None


class Captures:
    """The responses of a crawl.

    Args:
        answers: has the responses.
        max_bytes: the largest body of the crawl.
    """

    def __init__(self, answers: Answers, max_bytes: int) -> None:
        self._answers = answers
        self._limits = {False: Limit(max_bytes), True: Limit(MAX_ROBOTS_BYTES, cut=True)}

    def read(self, capture: Capture) -> HttpResponse | None:
        """Return a response; None if there is none, or nothing was received."""
        found = self._answers.recall(capture.url, self._limits[capture.robots])
        return found if found is not None and found.rejection is None else None

    def list_all(self, tried: Iterable[VisitedUrl]) -> list[Capture]:
        """Return the responses of what was kept or used, of redirects to it, and of sites' robots.txt, by URL.

        Nothing of a response whose owner opts out is among them.
        """
        found: dict[str, Capture] = {}
        for one in tried:
            for capture in self._follow(one):
                found.setdefault(capture.url, capture)
        robots: dict[str, Capture] = {}
        for origin in sorted({find_origin(url) for url in found}):
            robots |= {capture.url: capture for capture in self._follow_redirects(Capture(f"{origin}robots.txt", True))}
        return sorted([*found.values(), *robots.values()], key=lambda one: (one.url, one.robots))

    def _follow(self, one: VisitedUrl) -> Iterator[Capture]:
        if one.visit is None:
            return
        used = one.rejection is not None and one.rejection.reason in USED and one.visit.rejection is None
        final, via = one.visit.final_url or one.url, one.embedder or one.page
        if final != one.url:
            yield from (step for step in self._follow_redirects(Capture(one.url, via=via), final) if step.url != final)
        if one.kept or used:
            yield Capture(final, via=via if final == one.url else one.url)

    def _follow_redirects(self, capture: Capture, final: str | None = None) -> Iterator[Capture]:
        """Yield a response and those that its redirects lead to, up to that of `final`, which is not read."""
        for _ in range(MAX_REDIRECTS + 1):
            response = self.read(capture) if capture.url != final else None
            if response is None:
                return
            yield capture
            location = response.find_redirect()
            target = follow_redirect(location, capture.url, []) if location is not None else None
            if target is None or isinstance(target, Rejection):
                return
            capture = Capture(target, capture.robots, capture.url)
