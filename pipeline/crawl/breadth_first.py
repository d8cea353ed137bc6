"""Plan a crawl breadth first: which URLs are tried, in which order, and which page each belongs to.

A level is planned when all responses of the level before are there, in the order of its pages and of their links, so
nothing depends on the order of the responses.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pipeline.crawl.discovery.listings import URL_LINES
from pipeline.crawl.evidence import Evidence
from pipeline.crawl.links import NO_LINKS, Link, Links
from pipeline.crawl.params import ROBOTS, CrawlParams
from pipeline.crawl.site_rules import Refusal
from pipeline.crawl.url_patterns import UrlPatterns
from pipeline.crawl.visit_url import Visit
from pipeline.formats.urls import BadUrl, canonicalize_url, find_site, redact_url
from pipeline.tables.drops import Drop, Reason, Rejection

MAX_NESTING = 3
"""Sitemaps that name one another. The protocol has one index above the others; some sites have an index of these."""

SITEMAPS_A_LEVEL = 8
"""What they list is in memory together: 100 MB or so. Large sites have thousands of them."""

PATTERNS = ("include", "exclude")
"""The settings whose verdict on a page holds for what it shows, too."""

_PASSED_OVER = {
    "nofollow": (Reason.ROBOTS_FORBID, "links that the page asks not to follow"),
    "other_schemes": (Reason.BAD_URL, "links with another scheme than http and https"),
    "refreshes": (Reason.REDIRECT_REFUSED, "a page that sends its readers to another after some time"),
    "beyond": (Reason.OUT_OF_BOUNDS, "entries of a sitemap or feed beyond the number that is taken"),
}
"""The counts in `Links` of what is passed over, and the rows that tell of them."""


@dataclass(slots=True)
class VisitedUrl:
    """One URL of the crawl.

    Attributes:
        page: the first page that refers to it; a sitemap or feed counts as one.
        embedder: the first page that embeds it.
        canonical: the URL that the page names as its own, if it is another one.
        kept_as: the URL that was kept in its place.
        nesting: of what is said to be a sitemap: 1, and 1 more for each that led to it; else 0.
    """

    url: str
    depth: int = 0
    page: str | None = None
    embedder: str | None = None
    listed: bool = False
    follow: bool = False
    rejection: Rejection | None = None
    evidence: Evidence | None = None
    visit: Visit | None = None
    canonical: str | None = None
    kept_as: str | None = None
    nesting: int = 0

    @property
    def kept(self) -> bool:
        """Return whether its response was kept."""
        return self.rejection is None and self.visit is not None and self.visit.rejection is None


@dataclass(frozen=True, slots=True)
class _Embed:
    """Something that a sitemap or feed says a page shows; it waits until that page was visited."""

    link: Link
    parent: VisitedUrl


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
        self._patterns = UrlPatterns(params.include, params.exclude)
        self._sites: set[str] = set()
        self._sitemaps: deque[VisitedUrl] = deque()  # that are still to be read
        self._waiting: list[_Embed] = []
        self._requested = 0

    def plan_first_level(self, start: Iterable[str], listed: Iterable[str]) -> list[VisitedUrl]:
        """Return the start pages, then the sitemaps that params name, then the listed URLs, each once."""
        level = [self._add_start(text) for text in dict.fromkeys(start)]
        sitemaps = dict.fromkeys(text for text in self._params.sitemaps if text != ROBOTS)
        level += [self._add_start(text, nesting=1) for text in sitemaps]
        for url in listed:
            if url not in self.tried:
                level.append(self._add(VisitedUrl(url, listed=True)))
            self.tried[url].listed = True
        return _list_requests(level) + self._take_sitemaps()

    def plan_next_level(self, level: Sequence[VisitedUrl]) -> list[VisitedUrl]:
        """Return the new URLs that the pages of a visited level refer to."""
        for one in level:
            # Many start pages redirect (to https, to www): their links are within the host of the target.
            if one.page is None and one.follow and one.visit and not one.visit.rejection:
                self._sites.add(find_site(one.visit.final_url or one.url))
        planned = self._plan_waiting()
        for one in level:
            if one.visit and one.follow:
                planned += self._plan_links(one, one.visit)
                one.visit = replace(one.visit, links=NO_LINKS)  # frees the memory of many links
        return _list_requests(planned) + self._take_sitemaps() or _list_requests(self._plan_waiting())

    def note_visit(self, url: str, visit: Visit) -> None:
        """Note the visit of a URL. One from another process has strings of its own: the URL is kept once."""
        one = self.tried[url]
        one.visit = replace(visit, final_url=one.url) if visit.final_url == url else visit

    def _add_start(self, text: str, nesting: int = 0) -> VisitedUrl | None:
        try:
            url, rejection = canonicalize_url(text), None
            self._sites.add(find_site(url))
        except BadUrl as bad:
            url, rejection = redact_url(text), Rejection(Reason.BAD_URL, str(bad))
        if url in self.tried:
            return None
        return self._add(VisitedUrl(url, follow=True, rejection=rejection, nesting=nesting))

    def _plan_links(self, one: VisitedUrl, visit: Visit) -> list[VisitedUrl | None]:
        links = visit.links
        self._count_passed_over(one.url, links)
        planned = [self._name_sitemap(text, one) for text in links.sitemaps] if one.page is None else []
        if links.listing == URL_LINES and not one.nesting:  # a text about something else
            return planned
        if links.listing:
            one.rejection = Rejection(Reason.USED_AS_LIST, f"a {links.listing}, read for what it lists")
        if links.canonical and links.canonical != one.url and self._params.canonical:
            one.canonical = links.canonical
            planned.append(self._consider(Link(links.canonical, False, same_depth=True), one))
        left = 0
        for link in links.followed:
            if links.listing and self._is_full and link.url not in self.tried:
                left += 1
            elif link.page is None:
                planned.append(self._consider(link, one, visit.no_images))
            else:
                self._waiting.append(_Embed(link, one))
        if left:
            detail, limit = "entries of a sitemap or feed beyond the number of URLs", str(self._params.max_urls)
            drop = Drop(one.url, Reason.OUT_OF_BOUNDS, detail, limit=limit, count=left, setting="crawl.max_urls")
            self.passed_over.append(drop)
        return planned

    def _name_sitemap(self, text: str, start: VisitedUrl) -> VisitedUrl | None:
        """Return a new entry for a sitemap that robots.txt of a start page's site names. It may be on any host."""
        try:
            url = canonicalize_url(text, start.url)
            one = VisitedUrl(url, page=start.url, follow=True, rejection=self._patterns.reject(url), nesting=1)
        except BadUrl as bad:
            one = VisitedUrl(redact_url(text), page=start.url, rejection=Rejection(Reason.BAD_URL, str(bad)))
        return None if one.url in self.tried else self._add(one)

    def _plan_waiting(self) -> list[VisitedUrl | None]:
        waiting, self._waiting = self._waiting, []
        return [self._consider_embed(embed.link, embed.parent) for embed in waiting]

    def _consider_embed(self, link: Link, parent: VisitedUrl) -> VisitedUrl | None:
        """Return a new entry for what a list says a page shows; it shares the verdict on that page, if there is one.

        A page that was not visited for its host, its depth or the number of URLs says nothing.
        """
        page = self.tried.get(link.page or "")
        if page is None:
            return self._consider(link, parent)
        if page.visit is not None:
            visit = page.visit
            refusal = Refusal(visit.rejection, visit.evidence) if visit.rejection else None
            return self._consider(link, parent, visit.no_images, refusal)
        excluded = page.rejection is not None and page.rejection.setting in PATTERNS
        return self._consider(link, parent, refusal=Refusal(page.rejection) if page.rejection and excluded else None)

    def _consider(
        self, link: Link, parent: VisitedUrl, no_images: Refusal | None = None, refusal: Refusal | None = None
    ) -> VisitedUrl | None:
        """Return a new entry for a link, or None if its URL is known already.

        `no_images` is why the images of a page may not be used, `refusal` why the page that shows it was not kept.
        """
        refused = no_images if link.image else None
        embedder = (link.page or parent.url) if link.embedded else None
        known = self.tried.get(link.url)
        if known is None:
            depth = parent.depth if link.embedded or link.same_depth else parent.depth + 1
            one = VisitedUrl(link.url, depth, parent.url, embedder, follow=not link.embedded)
            one.nesting = max(1, parent.nesting) + 1 if link.sitemap else 0
            bad = Rejection(Reason.BAD_URL, link.fault) if link.fault else None
            one.rejection = bad or (refused.rejection if refused else self._find_bound(one))
            if one.rejection is None and refusal:
                one.rejection = refusal.rejection
            cited = next((each for each in (refused, refusal) if each and each.rejection is one.rejection), None)
            one.evidence = cited.evidence if cited else None
            return self._add(one)
        if link.embedded and known.embedder is None:
            known.embedder = embedder
        if refused:  # one page's opt-out is enough, also where another page was read first
            known.rejection, known.evidence = refused.rejection, refused.evidence
        return None

    def _add(self, one: VisitedUrl) -> VisitedUrl:
        self.tried[one.url] = one
        if one.nesting and one.rejection is None:
            self._sitemaps.append(one)
        else:
            self._count(one)
        return one

    def _take_sitemaps(self) -> list[VisitedUrl]:
        """Return the next sitemaps to read."""
        taken: list[VisitedUrl] = []
        while self._sitemaps and len(taken) < SITEMAPS_A_LEVEL:
            one = self._sitemaps.popleft()
            self._count(one)
            if one.rejection is None:
                taken.append(one)
        return taken

    @property
    def _is_full(self) -> bool:
        return self._requested >= self._params.max_urls

    def _count(self, one: VisitedUrl) -> None:
        """Count a URL as a request, or reject it if there are too many."""
        if one.rejection is None and self._is_full:
            limit = str(self._params.max_urls)
            one.rejection = Rejection(Reason.OUT_OF_BOUNDS, "too many URLs", limit=limit, setting="max_urls")
        self._requested += one.rejection is None

    def _find_bound(self, one: VisitedUrl) -> Rejection | None:
        """Return why a URL that was found is beyond what the crawl is to cover, or None."""
        if find_site(one.url) not in self._sites:
            return Rejection(Reason.OUT_OF_BOUNDS, "on another host than the start pages", setting="start")
        if one.nesting > MAX_NESTING:
            nesting, limit = str(one.nesting), str(MAX_NESTING)
            return Rejection(Reason.OUT_OF_BOUNDS, "too many sitemaps that name one another", nesting, limit)
        if one.depth > self._params.max_depth:
            detail, depth, limit = "too many links from a start page", str(one.depth), str(self._params.max_depth)
            return Rejection(Reason.OUT_OF_BOUNDS, detail, depth, limit, "max_depth")
        return self._patterns.reject_page(one.url) if one.follow and not one.nesting else self._patterns.reject(one.url)

    def _count_passed_over(self, page: str, links: Links) -> None:
        for name, (reason, detail) in _PASSED_OVER.items():
            if count := getattr(links, name):
                self.passed_over.append(Drop(page, reason, detail, count=count))
        if links.unread:
            self.passed_over.append(Drop(page, Reason.UNREADABLE, links.unread))


def _list_requests(planned: Iterable[VisitedUrl | None]) -> list[VisitedUrl]:
    return [one for one in planned if one is not None and one.rejection is None and not one.nesting]
