"""Fetch files that hold for a whole site, such as robots.txt, with redirects.

Only hosts of the own partition are requested; what leads to another's is returned as a `Chain`, which the process that
has that host goes on with.
"""

from collections.abc import Mapping
from dataclasses import replace

from pipeline.crawl.chains import Chain
from pipeline.crawl.client import Client
from pipeline.crawl.http_request import HttpResponse
from pipeline.crawl.partition import ALL_HOSTS, Partition
from pipeline.crawl.redirects import MAX_REDIRECTS, follow_redirect
from pipeline.formats.urls import canonicalize_url
from pipeline.tables.drops import Rejection


class FileElsewhere(Exception):  # noqa: N818 - a turn of the visit, caught where it begins
    """A site's file is on a host of another process."""

    def __init__(self, file: Chain) -> None:
        self.file = file


class SiteFiles:
    """Fetches files of sites.

    Args:
        client: requests them.
        hosts: those that may be requested.
        files: responses that other processes have, by the URL at the site itself, and by whether requests may be made.
    """

    def __init__(
        self,
        client: Client,
        hosts: Partition = ALL_HOSTS,
        files: Mapping[tuple[str, bool], HttpResponse] | None = None,
    ) -> None:
        self._client = client
        self._hosts = hosts
        self._files = files or {}

    async def read(self, chain: Chain) -> HttpResponse | Chain:
        """Return the response for a file, after redirects."""
        return await self._follow(chain, self._hosts)

    async def fetch(self, path: str, url: str) -> HttpResponse:
        """Return the response for a file of the site of `url`.

        Raises:
            FileElsewhere: another process has to go on with it.
        """
        file = Chain(canonicalize_url(path, url), site_file=True, asks=self._client.asks)
        response = self._files.get((file.url, file.asks)) or await self.read(file)
        if isinstance(response, Chain):
            raise FileElsewhere(response)
        return response

    async def fetch_anywhere(self, url: str) -> HttpResponse:
        """Return the response for a file that many sites may name: no process has to wait for another one for it."""
        # A response may wait for it that is not stored yet.
        response = await self._follow(Chain(url, site_file=True, asks=self._client.asks), ALL_HOSTS)
        assert isinstance(response, HttpResponse), url
        return response

    async def _follow(self, chain: Chain, hosts: Partition) -> HttpResponse | Chain:
        url, passed = chain.url, [*chain.passed]
        while True:
            passed.append(url)
            response = await self._client.fetch_robots(url, postponable=hosts is self._hosts)
            location = response.find_redirect()
            if location is None:
                return response
            target = follow_redirect(location, url, passed)
            if isinstance(target, Rejection) or len(passed) > MAX_REDIRECTS:
                return HttpResponse(404, fetched=response.fetched)  # as if there were none: RFC 9309, 2.3.1.2
            if not hosts.has(target):
                return replace(chain, url=target, passed=tuple(passed))
            url = target
