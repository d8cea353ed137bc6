"""Plan a crawl breadth first: which URLs are tried, in which order, and which page each belongs to.

A level is planned when all responses of the level before are there, in the order of its pages and of their links, so
nothing depends on the order of the responses.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from pipeline.config.params import RunParams
from pipeline.crawl.links import Link, Links
from pipeline.crawl.params import CrawlParams
from pipeline.crawl.visit_url import Visit
from pipeline.formats.urls import BadUrl, canonicalize_url, find_site, redact_url
from pipeline.runtime.progress import show_progress
from pipeline.tables.drops import Drop, Reason, Rejection


@dataclass(slots=True)
class VisitedUrl:
    """One URL of the crawl. `page` is the first page that refers to it, `embedder` the first that embeds it."""

    url: str
    depth: int = 0
    page: str | None = None
    embedder: str | None = None
    listed: bool = False
    follow: bool = False
    rejection: Rejection | None = None
    visit: Visit | None = None


class BreadthFirst:
    """The state of a crawl.

    Attributes:
        tried: Every URL that was found, also those that are rejected without a request.
        passed_over: Counted rows for links that are no URLs to try, a row a page and reason.
    """

    def __init__(self, params: CrawlParams) -> None:
        self.tried: dict[str, VisitedUrl] = {}
        self.passed_over: list[Drop] = []
        self._params = params
        self._sites: set[str] = set()
        self._requested = 0

    def plan_first_level(self, start: Iterable[str], listed: Iterable[str]) -> list[VisitedUrl]:
        """Return the start pages, then the listed URLs, each once."""
        level = []
        for text in start:
            try:
                url, rejection = canonicalize_url(text), None
                self._sites.add(find_site(url))
            except BadUrl as bad:
                url, rejection = redact_url(text), Rejection(Reason.BAD_URL, str(bad))
            if url not in self.tried:
                level.append(self._add(VisitedUrl(url, follow=True, rejection=rejection)))
        for url in listed:
            if url not in self.tried:
                level.append(self._add(VisitedUrl(url, listed=True)))
            self.tried[url].listed = True
        return [one for one in level if one.rejection is None]

    def plan_next_level(self, level: Sequence[VisitedUrl]) -> list[VisitedUrl]:
        """Return the new URLs that the pages of a visited level refer to."""
        for one in level:
            # Many start pages redirect (to https, to www): their links are within the host of the target.
            if one.depth == 0 and one.follow and one.visit and not one.visit.rejection:
                self._sites.add(find_site(one.visit.final_url or one.url))
        planned = []
        for one in level:
            if one.visit and one.follow:
                planned += [self._consider(link, one, one.visit) for link in one.visit.links.followed]
                self._count_passed_over(one.url, one.visit.links)
                one.visit = replace(one.visit, links=Links())  # frees the memory of many links
        return [one for one in planned if one is not None and one.rejection is None]

    def _consider(self, link: Link, parent: VisitedUrl, visit: Visit) -> VisitedUrl | None:
        """Return a new entry for a link, or None if its URL is known already."""
        opted_out = visit.no_images if link.image else None
        known = self.tried.get(link.url)
        if known is None:
            return self._add(
                VisitedUrl(
                    link.url,
                    parent.depth if link.embedded else parent.depth + 1,
                    page=parent.url,
                    embedder=parent.url if link.embedded else None,
                    follow=not link.embedded,
                    rejection=_reject_link(link, opted_out),
                )
            )
        if link.embedded and known.embedder is None:
            known.embedder = parent.url
        if opted_out:  # one page's opt-out is enough, also where another page was read first
            known.rejection = Rejection(Reason.OPTED_OUT, opted_out)
        return None

    def _add(self, one: VisitedUrl) -> VisitedUrl:
        if one.rejection is None:
            one.rejection = self._find_bound(one)
        self._requested += one.rejection is None
        self.tried[one.url] = one
        return one

    def _find_bound(self, one: VisitedUrl) -> Rejection | None:
        if one.page is not None and find_site(one.url) not in self._sites:
            return Rejection(Reason.OUT_OF_BOUNDS, "on another host than the start pages", setting="start")
        if one.depth > self._params.max_depth:
            detail, depth, limit = "too many links from a start page", str(one.depth), str(self._params.max_depth)
            return Rejection(Reason.OUT_OF_BOUNDS, detail, depth, limit, "max_depth")
        if self._requested >= self._params.max_urls:
            limit = str(self._params.max_urls)
            return Rejection(Reason.OUT_OF_BOUNDS, "too many URLs", limit=limit, setting="max_urls")
        return None

    def _count_passed_over(self, page: str, links: Links) -> None:
        if links.nofollow:
            detail = "links that the page asks not to follow"
            self.passed_over.append(Drop(page, Reason.ROBOTS_FORBID, detail, count=links.nofollow))
        if links.other_schemes:
            detail = "links with another scheme than http and https"
            self.passed_over.append(Drop(page, Reason.BAD_URL, detail, count=links.other_schemes))
        if links.refreshes:
            detail = "a page that sends its readers to another after some time"
            self.passed_over.append(Drop(page, Reason.REDIRECT_REFUSED, detail, count=links.refreshes))


def _reject_link(link: Link, opted_out: str | None) -> Rejection | None:
    if link.fault:
        return Rejection(Reason.BAD_URL, link.fault)
    return Rejection(Reason.OPTED_OUT, opted_out) if opted_out else None


async def visit_level(
    level: Sequence[VisitedUrl], visit: Callable[[str], Awaitable[Visit]], per_host: int, run: RunParams
) -> None:
    """Visit every URL of a level, `per_host` at a time of each site, and store the results in the level."""
    waiting: dict[str, deque[VisitedUrl]] = {}
    for one in level:
        waiting.setdefault(find_site(one.url), deque()).append(one)
    done: asyncio.Queue[None] = asyncio.Queue()

    async def work(queue: deque[VisitedUrl]) -> None:
        while queue:
            one = queue.popleft()
            one.visit = await visit(one.url)
            done.put_nowait(None)

    async with asyncio.TaskGroup() as group:
        for queue in waiting.values():
            for _ in range(min(per_host, len(queue))):
                group.create_task(work(queue))
        for _ in show_progress(range(len(level)), len(level), "urls", run):
            await done.get()
