"""Visit a URL: ask robots.txt, follow redirects one by one, respect opt-outs, extract links.

Only hosts of the visitor's own partition are requested. Where a redirect leads to another's, the rest is returned as a
`Chain`, which the process that has that host goes on with.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pipeline.crawl.chains import Chain, Waiting
from pipeline.crawl.client import Client
from pipeline.crawl.discovery.listings import read_listing
from pipeline.crawl.http_request import HttpResponse
from pipeline.crawl.journal import Body
from pipeline.crawl.links import Links, extract_links
from pipeline.crawl.opt_outs import read_header_signals, read_page_signals
from pipeline.crawl.params import ROBOTS, CrawlParams
from pipeline.crawl.partition import ALL_HOSTS, Partition
from pipeline.crawl.robots import MAX_CRAWL_DELAY, Robots, read_robots
from pipeline.crawl.url_patterns import UrlPatterns
from pipeline.formats.format_errors import FormatFault
from pipeline.formats.html import parse_html
from pipeline.formats.media_type import claims_page, find_media_type
from pipeline.formats.urls import BadUrl, canonicalize_url, find_origin
from pipeline.tables.drops import Reason, Rejection

MAX_REDIRECTS = 5
"""What RFC 9309 asks for robots.txt; used for all URLs."""

LARGE_BYTES = 1 << 18
"""Of a response that is read in a thread of its own, if it may be a sitemap or a feed."""

UNREACHABLE = (Reason.ADDRESS_REFUSED, Reason.CONNECTION_FAILED, Reason.TLS_FAILED)
"""Reasons for which, if they stop the request for robots.txt, no URL of the site can be fetched."""


class _FileElsewhere(Exception):  # noqa: N818 - a turn of the visit, caught where it begins
    """A site's file is on a host of another process."""

    def __init__(self, file: Chain) -> None:
        self.file = file


@dataclass(frozen=True, slots=True)
class Visit:
    """The result for one URL. It is kept if `rejection` is None; `body` is then where its body is.

    `no_images` is the signal of a page that its images may not be used, or None.
    """

    final_url: str | None
    status: int | None = None
    content_type: str | None = None
    rejection: Rejection | None = None
    links: Links = field(default_factory=Links)
    no_images: str | None = None
    body: Body | None = None


class Visitor:
    """Visits URLs.

    Args:
        client: requests them.
        params: the first word of their agent is the product token that robots.txt files and opt-outs know the crawler
            by.
        hosts: those that may be requested.
        files: responses for sites' files that other processes have, by the URL at the site itself, and by whether
            requests may be made for them.
    """

    def __init__(
        self,
        client: Client,
        params: CrawlParams,
        hosts: Partition = ALL_HOSTS,
        files: Mapping[tuple[str, bool], HttpResponse] | None = None,
    ) -> None:
        self._client = client
        self._agent = params.agent.split("/")[0].split()[0]
        self._params = params
        self._patterns = UrlPatterns(params.include, params.exclude)
        self._hosts = hosts
        self._files = files or {}
        self._robots: dict[str, tuple[Robots | Rejection, int]] = {}  # with the time of its fetch

    async def visit(self, chain: Chain) -> Visit | Chain | Waiting:
        """Return the result for a canonical URL after redirects; each target is checked like the first URL."""
        url, passed = chain.url, [*chain.passed]
        while True:
            try:
                forbidden = await self._find_objection(url)
            except _FileElsewhere as elsewhere:
                return Waiting(replace(chain, url=url, passed=tuple(passed)), elsewhere.file)
            if forbidden:
                return Visit(url if passed else None, rejection=forbidden)
            passed.append(url)
            response = await self._client.fetch(url, self._remove_opted_out)
            location = response.find_redirect()
            if location is None:
                return await self._describe(url, response)
            target = follow_redirect(location, url, passed)
            if not isinstance(target, Rejection):
                target = self._patterns.reject(target) or target
            if isinstance(target, Rejection):
                return Visit(url, response.status, rejection=target)
            if len(passed) > MAX_REDIRECTS:
                too_many = str(len(passed)), str(MAX_REDIRECTS)
                rejection = Rejection(Reason.REDIRECT_REFUSED, "too many redirects", *too_many)
                return Visit(url, response.status, rejection=rejection)
            if not self._hosts.has(target):
                return replace(chain, url=target, passed=tuple(passed))
            url = target

    async def read_site_file(self, chain: Chain) -> HttpResponse | Chain:
        """Return the response for a file that holds for a whole site, after redirects."""
        url, passed = chain.url, [*chain.passed]
        while True:
            passed.append(url)
            response = await self._client.fetch_robots(url)
            location = response.find_redirect()
            if location is None:
                return response
            target = follow_redirect(location, url, passed)
            if isinstance(target, Rejection) or len(passed) > MAX_REDIRECTS:
                return HttpResponse(404, fetched=response.fetched)  # as if there were none: RFC 9309, 2.3.1.2
            if not self._hosts.has(target):
                return replace(chain, url=target, passed=tuple(passed))
            url = target

    async def _find_objection(self, url: str) -> Rejection | None:
        origin = find_origin(url)  # http and https of one host have a robots.txt each
        robots, fetched = self._robots.get(origin, (None, 0))
        if robots is None or not self._client.is_of_today(fetched):
            robots, fetched = self._robots[origin] = await self._fetch_robots(url)
            if isinstance(robots, Robots):
                # Where it asks for more, `judge` forbids everything; other origins of this host may still be fetched.
                self._client.slow_down(url, min(robots.read_delay(self._agent), MAX_CRAWL_DELAY))
        if isinstance(robots, Rejection):
            return robots
        forbidden = robots.judge(url, self._agent)
        return Rejection(Reason.ROBOTS_FORBID, forbidden) if forbidden else None

    async def _fetch_robots(self, url: str) -> tuple[Robots | Rejection, int]:
        """Return the rules for the site of `url`, or why neither its robots.txt nor anything else can be fetched.

        And the time of the fetch.
        """
        response = await self._fetch_site_file("/robots.txt", url)
        if response.rejection and response.rejection.reason in UNREACHABLE:
            return replace(response.rejection, detail=f"robots.txt: {response.rejection.detail}"), response.fetched
        unread = response.rejection is not None and response.status in (200, 203)
        return read_robots(None if unread else response.status, response.body), response.fetched

    async def _fetch_site_file(self, path: str, url: str) -> HttpResponse:
        """Return the response for a file of the site of `url`.

        Raises:
            _FileElsewhere: another process has to go on with it.
        """
        file = Chain(canonicalize_url(path, url), site_file=True, asks=self._client.asks)
        response = self._files.get((file.url, file.asks)) or await self.read_site_file(file)
        if isinstance(response, Chain):
            raise _FileElsewhere(response)
        return response

    def _remove_opted_out(self, response: HttpResponse) -> HttpResponse:
        """Return the response, without its body if the content may not be used."""
        if response.rejection:
            return response
        try:
            signal = self._find_opt_out(response)
        except FormatFault as fault:  # a page that cannot be read may opt out
            return replace(response, body=b"", rejection=Rejection(Reason.UNREADABLE, str(fault)))
        if signal is None:
            return response
        return replace(response, body=b"", rejection=Rejection(Reason.OPTED_OUT, signal))

    def _find_opt_out(self, response: HttpResponse) -> str | None:
        signals = read_header_signals(response.headers, self._agent)
        media_type = _find_type(response)
        if media_type == "text/html":
            document = parse_html(response.body, response.read_header("content-type"))
            signals = signals.merge(read_page_signals(document, self._agent))
        return signals.no_training or (signals.no_images if media_type.startswith("image/") else None)

    async def _describe(self, url: str, response: HttpResponse) -> Visit:
        body = None if response.rejection else self._client.find_body(url)
        visit = Visit(url, response.status, _tidy(response.read_header("content-type")), response.rejection, body=body)
        sitemaps = self._list_sitemaps(url)
        if response.rejection:
            return replace(visit, links=Links(sitemaps=sitemaps))
        if _find_type(response) != "text/html":
            listing = await self._read_listing(url, response)
            if read_header_signals(response.headers, self._agent).no_follow:
                listing = replace(listing, followed=(), nofollow=len(listing.followed))
            return replace(visit, links=replace(listing, sitemaps=sitemaps))
        document = parse_html(response.body, response.read_header("content-type"))
        signals = read_header_signals(response.headers, self._agent)
        signals = signals.merge(read_page_signals(document, self._agent))
        links = extract_links(document, url, follow=signals.no_follow is None, feeds=self._params.feeds)
        return replace(visit, links=replace(links, sitemaps=sitemaps), no_images=signals.no_images)

    async def _read_listing(self, url: str, response: HttpResponse) -> Links:
        """Return what a sitemap or feed lists. A large one takes seconds, in which other responses would time out."""
        found = response.body, response.read_header("content-type"), url
        if len(response.body) < LARGE_BYTES:
            return read_listing(*found) or Links()
        return await asyncio.to_thread(read_listing, *found) or Links()

    def _list_sitemaps(self, url: str) -> tuple[str, ...]:
        """Return the sitemaps that the site's robots.txt names, if params ask for these."""
        robots, _ = self._robots.get(find_origin(url), (None, 0)) if ROBOTS in self._params.sitemaps else (None, 0)
        return robots.list_sitemaps() if isinstance(robots, Robots) else ()


def _find_type(response: HttpResponse) -> str:
    """Return the media type of a response; one without a Content-Type may be a page, as for browsers."""
    served = response.read_header("content-type")
    return find_media_type(response.body, page=not served or claims_page("", served))


def follow_redirect(location: str, url: str, passed: list[str]) -> str | Rejection:
    """Return the canonical URL that a redirect from `url` leads to, or why it is not followed."""
    try:
        target = canonicalize_url(location, url)
    except BadUrl as bad:
        return Rejection(Reason.REDIRECT_REFUSED, f"the target of the redirect is refused: {bad}")
    if target in passed:
        return Rejection(Reason.REDIRECT_REFUSED, "the redirects form a loop")
    return target


def _tidy(value: str | None) -> str | None:
    """Return a header's value with other characters than printable ASCII replaced, cut to 200 characters."""
    if value is None:
        return None
    return "".join(character if " " <= character <= "~" else "?" for character in value)[:200]
