"""Visit URLs by what was fetched before, and under rules of today where something has to be requested."""

from collections.abc import Callable
from dataclasses import replace

from pipeline.crawl.chains import Chain, FileNotKept, Waiting
from pipeline.crawl.client import Client, NotKept
from pipeline.crawl.http_request import HttpResponse
from pipeline.crawl.visit_url import Visit, Visitor


class KeptFirst:
    """Visits a URL without requests if stored responses are enough for that, whatever their age; else anew.

    So a repeated crawl requests nothing that is there, not even a robots.txt, and no URL is requested under rules that
    are more than a day old. A robots.txt that forbids a URL is enough to reject it, however old.

    Args:
        client: requests what is missing.
        make: makes a visitor with a client.
    """

    def __init__(self, client: Client, make: Callable[[Client], Visitor]) -> None:
        self._client = client
        self._kept = make(client.without_requests())
        self._asking = make(client)

    async def visit(self, chain: Chain) -> Visit | Chain | Waiting:
        """Return the result for a canonical URL after redirects, see `Visitor.visit`."""
        if not chain.asks and (chain.passed or self._client.may_keep(chain.url)):
            try:
                return await self._kept.visit(chain)
            except NotKept:
                if chain.passed:  # by rules of any age, maybe in other processes
                    return chain.begin_asking()
        return await self._asking.visit(replace(chain, asks=True))

    async def read_site_file(self, chain: Chain) -> HttpResponse | Chain | FileNotKept:
        """Return the response for a file that holds for a whole site, see `Visitor.read_site_file`."""
        try:
            return await (self._asking if chain.asks else self._kept).read_site_file(chain)
        except NotKept:
            return FileNotKept(chain)
