"""Open connections to checked hosts, and keep those that are between two requests."""

import asyncio
import ssl
from collections import defaultdict

from pipeline.crawl.resolver import Resolver
from pipeline.crawl.wire.connection import connect
from pipeline.crawl.wire.exchange import OVERHEAD_BYTES, Exchange
from pipeline.formats.urls import find_host, find_origin

MAX_IDLE_SECONDS = 15.0
"""After that a kept connection is not used any more. Servers close them after 5 (Apache) to 75 seconds (nginx)."""

MAX_IDLE = 256
"""Kept connections to all hosts; with those in use well below the usual limit of 1,024 open files."""


class ConnectionPool:
    """Connections by origin: scheme, host and port."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._context = ssl.create_default_context()
        self._context.set_alpn_protocols(["http/1.1"])
        self._idle: dict[Exchange, tuple[str, float]] = {}  # with origin and time, the oldest first
        self._by_origin: defaultdict[str, list[Exchange]] = defaultdict(list)

    async def open(self, url: str, fresh: bool) -> Exchange:
        """Return a connection to the host of a canonical URL: a kept one that is still open, or a new one if `fresh`.

        Nothing is sent again here: a server that closes a kept connection at the moment of a request makes that
        request fail.

        Raises:
            AddressRefused: the host may not be connected to.
            OSError: its name does not resolve, or it cannot be connected to; `ssl.SSLError` if TLS fails.
        """
        endpoints = await self._resolver.find(url)
        while not fresh and (kept := self._by_origin.get(find_origin(url))):
            _, since = self._idle[exchange := kept[-1]]
            self._forget(exchange)
            if _now() - since < MAX_IDLE_SECONDS and exchange.connection.is_quiet():
                return exchange
            exchange.connection.close()
        connection = await connect(endpoints, OVERHEAD_BYTES)
        try:
            if url.startswith("https:"):
                await connection.start_tls(self._context, find_host(url)[0])
        except BaseException:
            connection.close()
            raise
        return Exchange(connection)

    def keep(self, url: str, exchange: Exchange) -> None:
        """Keep a connection for the next request to the same origin, or close it if it cannot have one."""
        if not exchange.start_next():
            return exchange.connection.close()
        if len(self._idle) == MAX_IDLE:
            oldest = next(iter(self._idle))
            self._forget(oldest)
            oldest.connection.close()
        self._idle[exchange] = find_origin(url), _now()
        self._by_origin[find_origin(url)].append(exchange)

    def close(self) -> None:
        """Close all kept connections."""
        for exchange in list(self._idle):
            self._forget(exchange)
            exchange.connection.close()

    def _forget(self, exchange: Exchange) -> None:
        origin, _ = self._idle.pop(exchange)
        self._by_origin[origin].remove(exchange)
        if not self._by_origin[origin]:
            del self._by_origin[origin]


def _now() -> float:
    return asyncio.get_running_loop().time()
