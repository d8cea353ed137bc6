"""Visit URLs by what was fetched before, and under rules of today where something has to be requested."""

from collections.abc import Callable

from pipeline.crawl.client import Client, NotKept
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

    async def visit(self, url: str) -> Visit:
        """Return the result for a canonical URL after redirects."""
        if self._client.may_keep(url):
            try:
                return await self._kept.visit(url)
            except NotKept:
                pass
        return await self._asking.visit(url)
