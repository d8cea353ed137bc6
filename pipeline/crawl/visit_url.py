"""What a URL gave: robots.txt asked, redirects followed by hand, opt-outs respected, links read."""

from dataclasses import dataclass, field, replace

from pipeline.crawl.client import Client
from pipeline.crawl.http_request import HttpResponse
from pipeline.crawl.links import Links, extract_links
from pipeline.crawl.opt_outs import read_header_signals, read_page_signals
from pipeline.crawl.robots import MAX_CRAWL_DELAY, Robots, read_robots
from pipeline.crawl.urls import BadUrl, canonicalize_url, find_origin, find_site
from pipeline.formats.format_errors import FormatFault
from pipeline.formats.html import parse_html
from pipeline.formats.media_type import find_media_type
from pipeline.tables.drops import Reason, Rejection

MAX_REDIRECTS = 5
"""As RFC 9309 asks for robots.txt, and for everything else."""

UNREACHABLE = (Reason.ADDRESS_REFUSED, Reason.CONNECTION_FAILED, Reason.TLS_FAILED)
"""What, said of robots.txt, is true of the whole site."""


@dataclass(frozen=True, slots=True)
class Visit:
    """The verdict on one URL. Kept where `rejection` is None; the body is then the client's for `final_url`.

    `no_pictures` is what says that the pictures of the page are not to be used, if anything does.
    """

    final_url: str | None
    status: int | None = None
    content_type: str | None = None
    rejection: Rejection | None = None
    links: Links = field(default_factory=Links)
    no_pictures: str | None = None


class Visitor:
    """Visits URLs as `agent`, the product token that robots.txt files and opt-outs know the crawler by."""

    def __init__(self, client: Client, agent: str) -> None:
        self._client = client
        self._agent = agent
        self._robots: dict[str, Robots | Rejection] = {}

    async def visit(self, url: str) -> Visit:
        """What the canonical URL gave, after redirects; each hop is judged like the first."""
        passed: list[str] = []
        while len(passed) <= MAX_REDIRECTS:
            forbidden = await self._find_objection(url)
            if forbidden:
                return Visit(url if passed else None, rejection=forbidden)
            passed.append(url)
            exchange = await self._client.fetch(url, self._withhold)
            location = exchange.find_redirect()
            if location is None:
                return self._describe(url, exchange)
            target = follow_redirect(location, url, passed)
            if isinstance(target, Rejection):
                return Visit(url, exchange.status, rejection=target)
            url = target
        too_many = Rejection(Reason.REDIRECT_REFUSED, "too many redirects", str(len(passed)), str(MAX_REDIRECTS))
        return Visit(passed[-1], exchange.status, rejection=too_many)

    async def _find_objection(self, url: str) -> Rejection | None:
        origin = find_origin(url)  # http and https of one host have a robots.txt each
        robots = self._robots.get(origin)
        if robots is None:
            robots = self._robots[origin] = await self._fetch_robots(url)
            if isinstance(robots, Robots):
                # Where it is longer, `judge` forbids everything; other origins may still ask this host for a file.
                self._client.slow_down(find_site(url), min(robots.read_delay(self._agent), MAX_CRAWL_DELAY))
        if isinstance(robots, Rejection):
            return robots
        forbidden = robots.judge(url, self._agent)
        return Rejection(Reason.ROBOTS_FORBID, forbidden) if forbidden else None

    async def _fetch_robots(self, url: str) -> Robots | Rejection:
        """The rules for the site of `url`, or what keeps its robots.txt and so the whole site out of reach."""
        url = canonicalize_url("/robots.txt", url)
        passed = [url]
        exchange = await self._client.fetch_robots(url)
        while (location := exchange.find_redirect()) is not None:
            target = follow_redirect(location, url, passed)
            if isinstance(target, Rejection) or len(passed) > MAX_REDIRECTS:
                return Robots()  # RFC 9309, section 2.3.1.2: as if there were none
            passed.append(url := target)
            exchange = await self._client.fetch_robots(url)
        if exchange.rejection and exchange.rejection.reason in UNREACHABLE:
            return replace(exchange.rejection, detail=f"robots.txt: {exchange.rejection.detail}")
        unread = exchange.rejection is not None and exchange.status in (200, 203)
        return read_robots(None if unread else exchange.status, exchange.body)

    def _withhold(self, exchange: HttpResponse) -> HttpResponse:
        """The exchange without its body where the content may not be used."""
        if exchange.rejection:
            return exchange
        try:
            signal = self._find_opt_out(exchange)
        except FormatFault as fault:  # what cannot be read may say anything
            return replace(exchange, body=b"", rejection=Rejection(Reason.UNREADABLE, str(fault)))
        if signal is None:
            return exchange
        return replace(exchange, body=b"", rejection=Rejection(Reason.OPTED_OUT, signal))

    def _find_opt_out(self, exchange: HttpResponse) -> str | None:
        signals = read_header_signals(exchange.headers, self._agent)
        media_type = find_media_type(exchange.body)
        if media_type == "text/html":
            signals = signals.merge(read_page_signals(parse_html(exchange.body), self._agent))
        return signals.no_training or (signals.no_pictures if media_type.startswith("image/") else None)

    def _describe(self, url: str, exchange: HttpResponse) -> Visit:
        visit = Visit(url, exchange.status, _tidy(exchange.read_header("content-type")), exchange.rejection)
        if exchange.rejection or find_media_type(exchange.body) != "text/html":
            return visit
        document = parse_html(exchange.body)
        signals = read_header_signals(exchange.headers, self._agent)
        signals = signals.merge(read_page_signals(document, self._agent))
        links = extract_links(document, url, follow=signals.no_follow is None)
        return replace(visit, links=links, no_pictures=signals.no_pictures)


def follow_redirect(location: str, url: str, passed: list[str]) -> str | Rejection:
    """The canonical URL that a redirect from `url` leads to, or why it is not followed."""
    try:
        target = canonicalize_url(location, url)
    except BadUrl as bad:
        return Rejection(Reason.REDIRECT_REFUSED, f"the redirect leads to no page: {bad}")
    if target in passed:
        return Rejection(Reason.REDIRECT_REFUSED, "the redirects lead in a circle")
    return target


def _tidy(value: str | None) -> str | None:
    """A header's value as it may stand in a table: printable ASCII, 200 characters at most."""
    if value is None:
        return None
    return "".join(character if " " <= character <= "~" else "?" for character in value)[:200]
