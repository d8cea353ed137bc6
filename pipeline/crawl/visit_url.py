"""Visit a URL: ask the site's rules, follow redirects one by one, respect opt-outs, extract links.

Only hosts of the visitor's own partition are requested. Where a redirect leads to another's, the rest is returned as a
`Chain`, which the process that has that host goes on with.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import chain as join
from typing import TYPE_CHECKING

from pipeline.consent.embedded.read_file import read_file_statements
from pipeline.consent.http_headers import forbids_links, list_header_licences, read_header_statements
from pipeline.consent.pages import forbids_page_links, list_page_licences, read_page_statements
from pipeline.consent.statements import Statement, find_refusal
from pipeline.crawl.chains import Chain, Waiting
from pipeline.crawl.client import Client
from pipeline.crawl.discovery.listings import URL_LINES, is_xml_list, read_listing
from pipeline.crawl.evidence import PAYMENT, Evidence, build_evidence
from pipeline.crawl.http_request import HttpResponse
from pipeline.crawl.journal import Body
from pipeline.crawl.links import NO_LINKS, Links, extract_links
from pipeline.crawl.params import ROBOTS, CrawlParams
from pipeline.crawl.partition import ALL_HOSTS, Partition
from pipeline.crawl.redirects import MAX_REDIRECTS, follow_redirect
from pipeline.crawl.site_files import FileElsewhere, SiteFiles
from pipeline.crawl.site_rules import Refusal, SiteRules, reject_use
from pipeline.crawl.url_patterns import UrlPatterns
from pipeline.formats.format_errors import FormatFault
from pipeline.formats.html import parse_html
from pipeline.formats.media_type import claims_page, find_media_type
from pipeline.tables.drops import Reason, Rejection

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser

LARGE_BYTES = 1 << 18
"""Of a response that is read in a thread of its own, if it may be a sitemap or a feed."""


@dataclass(frozen=True, slots=True)
class Visit:
    """The result for one URL. It is kept if `rejection` is None; `body` is then where its body is.

    `evidence` is what the owner said where that rejected it; `no_images` is why the images of a page may not be used.
    """

    final_url: str | None
    status: int | None = None
    content_type: str | None = None
    rejection: Rejection | None = None
    evidence: Evidence | None = None
    links: Links = NO_LINKS
    no_images: Refusal | None = None
    body: Body | None = None


class Visitor:
    """Visits URLs.

    Args:
        client: requests them.
        params: the first word of their agent is the product token that robots.txt files and opt-outs know the crawler
            by.
        hosts: those that may be requested.
        files: responses for sites' files that other processes have, see `SiteFiles`.
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
        self._consent = params.consent
        self._patterns = UrlPatterns(params.include, params.exclude)
        self._hosts = hosts
        self._files = SiteFiles(client, hosts, files)
        self._rules = SiteRules(client, self._files, self._agent, params.consent)

    async def visit(self, chain: Chain) -> Visit | Chain | Waiting:
        """Return the result for a canonical URL after redirects; each target is checked like the first URL."""
        url, passed = chain.url, [*chain.passed]
        while True:
            try:
                refusal = await self._rules.find_objection(url)
            except FileElsewhere as elsewhere:
                return Waiting(replace(chain, url=url, passed=tuple(passed)), elsewhere.file)
            if refusal:
                links = Links(sitemaps=self._list_sitemaps(url))
                return Visit(url if passed else None, None, None, refusal.rejection, refusal.evidence, links)
            passed.append(url)
            response = await self._fetch(url)
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
        return await self._files.read(chain)

    async def _fetch(self, url: str) -> HttpResponse:
        async def judge(response: HttpResponse) -> HttpResponse:
            return await self._remove_opted_out(response, url)

        return await self._client.fetch(url, judge)

    async def _remove_opted_out(self, response: HttpResponse, url: str) -> HttpResponse:
        """Return the response, without its body if the content may not be used."""
        if response.rejection:
            return response
        try:
            statement = await self._find_opt_out(response, url)
        except FormatFault as fault:  # a page that cannot be read may opt out
            return replace(response, body=b"", rejection=Rejection(Reason.UNREADABLE, str(fault)))
        if statement is None:
            return response
        evidence, rejection = build_evidence(statement.locate(url)), reject_use(statement, self._consent)
        return replace(response, body=b"", rejection=rejection, evidence=evidence)

    async def _find_opt_out(self, response: HttpResponse, url: str) -> Statement | None:
        media_type = _find_type(response)
        statements = list(read_header_statements(response.headers, self._agent))
        links = list(list_header_licences(response.headers))
        if media_type == "text/html":
            document = parse_html(response.body, response.read_header("content-type"))
            statements += read_page_statements(document, self._agent)
            links += list_page_licences(document)
        else:
            statements += read_file_statements(response.body, media_type)
            if any(one.signal == "noindex" for one in statements) and await self._is_list(url, response):
                statements = [one for one in statements if one.signal != "noindex"]
        found = find_refusal(statements, self._consent, media_type.startswith("image/"))
        return found or find_refusal(await self._rules.read_licences(links, url, url), self._consent)

    async def _is_list(self, url: str, response: HttpResponse) -> bool:
        """Return whether a response is a sitemap or feed: many are sent with `noindex`, and they are no data."""
        return (await self._read_listing(url, response)).listing not in (None, "", URL_LINES)

    async def _describe(self, url: str, response: HttpResponse) -> Visit:
        body = None if response.rejection else self._client.find_body(url)
        content_type, evidence = _tidy(response.read_header("content-type")), self._date_evidence(url, response)
        visit = Visit(url, response.status, content_type, response.rejection, evidence, body=body)
        sitemaps = self._list_sitemaps(url)
        if response.rejection:
            return replace(visit, links=Links(sitemaps=sitemaps))
        if _find_type(response) != "text/html" or is_xml_list(response.body):
            listing = await self._read_listing(url, response)
            if forbids_links(response.headers, self._agent):
                listing = replace(listing, followed=(), nofollow=len(listing.followed))
            return replace(visit, links=replace(listing, sitemaps=sitemaps))
        document = parse_html(response.body, response.read_header("content-type"))
        follow = not (forbids_links(response.headers, self._agent) or forbids_page_links(document, self._agent))
        links = extract_links(document, url, follow=follow, feeds=self._params.feeds)
        no_images = self._find_image_refusal(url, response, document)
        return replace(visit, links=replace(links, sitemaps=sitemaps), no_images=no_images)

    def _list_sitemaps(self, url: str) -> tuple[str, ...]:
        """Return the sitemaps that the site's robots.txt names, if params ask for these."""
        return self._rules.list_sitemaps(url) if ROBOTS in self._params.sitemaps else ()

    def _date_evidence(self, url: str, response: HttpResponse) -> Evidence | None:
        """Return the evidence of a response with the time of its request."""
        evidence = response.evidence
        if response.rejection and response.rejection.reason == Reason.PAYMENT_REQUIRED:
            evidence = Evidence(PAYMENT, f"HTTP {response.status}", f"status of {url}")
        return replace(evidence, read=self._find_time(url, response)) if evidence else None

    def _find_time(self, url: str, response: HttpResponse) -> int:
        return 0 if self._client.is_served(url) else response.fetched

    def _find_image_refusal(self, url: str, response: HttpResponse, document: "LexborHTMLParser") -> Refusal | None:
        """Return why the images of a kept page may not be used."""
        headers = read_header_statements(response.headers, self._agent)
        statements = join(headers, read_page_statements(document, self._agent))
        statement = find_refusal(statements, self._consent, image=True)
        if statement is None:
            return None
        evidence = build_evidence(statement.locate(url), self._find_time(url, response))
        return Refusal(reject_use(statement, self._consent), evidence)

    async def _read_listing(self, url: str, response: HttpResponse) -> Links:
        """Return what a sitemap or feed lists. A large one takes seconds, in which other responses would time out."""
        found = response.body, response.read_header("content-type"), url
        if len(response.body) < LARGE_BYTES:
            return read_listing(*found) or Links()
        return await asyncio.to_thread(read_listing, *found) or Links()


def _find_type(response: HttpResponse) -> str:
    """Return the media type of a response; one without a Content-Type may be a page, as for browsers."""
    served = response.read_header("content-type")
    return find_media_type(response.body, page=claims_page("", served), fragment=not served, content_type=served)


def _tidy(value: str | None) -> str | None:
    """Return a header's value with other characters than printable ASCII replaced, cut to 200 characters."""
    if value is None:
        return None
    return "".join(character if " " <= character <= "~" else "?" for character in value)[:200]
