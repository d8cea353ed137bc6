"""Look each host up once, check all its addresses, and connect only to the addresses that were checked.

A second lookup could return other addresses (DNS rebinding), so there is none.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from ipaddress import ip_address

from pipeline.crawl.addresses import WEB_PORTS, Endpoint, IpAddress, is_public
from pipeline.formats.urls import find_host

Lookup = Callable[[str], Awaitable[Sequence[str]]]
"""Returns the addresses of a host name; raises `OSError` where it has none."""


class AddressRefused(Exception):  # noqa: N818 - a verdict, turned into a dropped row
    """The host may not be connected to; the message says why."""


async def look_up(name: str) -> Sequence[str]:
    """Return all addresses that the system's resolver knows for a name."""
    found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class Resolver:
    """Resolves the hosts of URLs.

    `listed` are the hosts of `crawl.hosts`, each with a function that returns its endpoint when it is first needed.
    """

    def __init__(self, listed: Mapping[str, Callable[[], Endpoint]], lookup: Lookup = look_up) -> None:
        self._listed = listed
        self._lookup = lookup
        self._pinned: dict[str, asyncio.Task[Sequence[IpAddress]]] = {}

    async def find(self, url: str) -> Sequence[Endpoint]:
        """Return the endpoints of the host of a canonical URL, the same for the whole run.

        Raises:
            AddressRefused: one of its addresses is not public, or its port is not the web's, and it is not listed.
            OSError: the name does not resolve.
        """
        host, port = find_host(url)
        literal = _parse_literal(host)
        if host in self._listed:
            endpoint = self._listed[host]()
            if literal and endpoint != Endpoint(literal, port):
                raise AddressRefused(f"{host} is listed with port {endpoint.port}, the URL has port {port}")
            return [endpoint]
        if port not in WEB_PORTS:
            raise AddressRefused(f"port {port} is neither 80 nor 443, and the host is not listed")
        addresses = [literal] if literal else await self._find_pinned(host)
        if not addresses or not all(map(is_public, addresses)):
            raise AddressRefused("its address is not public, and the host is not listed")
        return [Endpoint(address, port) for address in addresses]

    async def _find_pinned(self, host: str) -> Sequence[IpAddress]:
        task = self._pinned.get(host)
        if task is None or (task.done() and (task.cancelled() or task.exception())):
            task = self._pinned[host] = asyncio.create_task(self._look_up(host))
        return await asyncio.shield(task)  # one caller's timeout must not cancel the lookup of the others

    async def _look_up(self, host: str) -> Sequence[IpAddress]:
        return [ip_address(text) for text in await self._lookup(host)]

    async def close(self) -> None:
        """Cancel lookups that are still running."""
        for task in self._pinned.values():
            task.cancel()
        await asyncio.gather(*self._pinned.values(), return_exceptions=True)


def _parse_literal(host: str) -> IpAddress | None:
    try:
        return ip_address(host)
    except ValueError:
        return None
