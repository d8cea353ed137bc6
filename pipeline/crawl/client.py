"""Fetches each URL once, ever: answers are kept in the journal, final ones and failures alike.

A run that was killed goes on with what is missing, and a run that is repeated makes no request at all.
"""

import asyncio
import ssl
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from socket import gaierror
from weakref import WeakValueDictionary

import aiohttp

from pipeline.crawl.http_request import HttpResponse, Limit, reject_size, request
from pipeline.crawl.journal import Body, Journal
from pipeline.crawl.listed_hosts import ListedHost
from pipeline.crawl.params import CrawlParams
from pipeline.crawl.resolver import AddressRefused, Resolver
from pipeline.crawl.robots import MAX_ROBOTS_BYTES
from pipeline.crawl.urls import find_host, find_site
from pipeline.tables.drops import Reason, Rejection


class Pace:
    """`delay` may be raised while requests are waiting, when robots.txt asks for more."""

    def __init__(self, at_a_time: int, delay: float) -> None:
        self.delay = delay
        self._slots = asyncio.Semaphore(at_a_time)
        self._next_start = 0.0

    @asynccontextmanager
    async def take_turn(self) -> AsyncIterator[None]:
        """Wait for a slot and for the time to start, and hold the slot."""
        async with self._slots:
            now = asyncio.get_running_loop().time()
            start = max(now, self._next_start)
            self._next_start = start + self.delay
            if start > now:
                await asyncio.sleep(start - now)
            yield


MAX_CONNECTIONS = 256
"""To all hosts together; leaves room under the usual limit of 1,024 open files."""

MAX_RETRY_AFTER = 60.0
"""Seconds. A server that asks to come back later than this is not asked again in this run."""


class Client:
    """Answers by URL, from the journal or else from the network. `requests` counts the latter."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        resolver: Resolver,
        journal: Journal,
        params: CrawlParams,
        salts: Mapping[str, str],
    ) -> None:
        self.requests = 0
        self._session = session
        self._resolver = resolver
        self._journal = journal
        self._params = params
        self._salts = salts
        self._paces: defaultdict[str, Pace] = defaultdict(lambda: Pace(params.per_host, params.delay))
        self._connections = asyncio.Semaphore(MAX_CONNECTIONS)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def fetch(self, url: str, judge: Callable[[HttpResponse], HttpResponse]) -> HttpResponse:
        """The answer for a canonical URL, as `judge` leaves it: it may withhold the body, and a new one is kept so."""
        return await self._fetch(self.make_key(url), url, Limit(self._params.max_bytes), judge)

    async def fetch_robots(self, url: str) -> HttpResponse:
        """The answer for a URL as robots.txt: at most its first 500 KiB."""
        return await self._fetch(self.make_key(url) + "\nrobots", url, Limit(MAX_ROBOTS_BYTES, cut=True), lambda it: it)

    def slow_down(self, site: str, delay: float) -> None:
        """Leave at least `delay` seconds between the starts of two requests to the site."""
        self._paces[site].delay = max(self._paces[site].delay, delay)

    def find_body(self, url: str) -> Body | None:
        """Where the kept body of a URL is, or None if it was never fetched."""
        return self._journal.find_body(self.make_key(url))

    def make_key(self, url: str) -> str:
        """The journal's key of an answer: not where the host is, but whether the user says where."""
        return f"{url}\n{self._params.refresh}\n{self._salts.get(find_host(url)[0], '')}"

    async def _fetch(
        self, key: str, url: str, limit: Limit, judge: Callable[[HttpResponse], HttpResponse]
    ) -> HttpResponse:
        async with self._locks.setdefault(key, asyncio.Lock()):
            known = self._journal.read(key)
            if known is not None and self._still_holds(known, limit):
                return judge(self._apply_limits(known, limit))  # another agent may be meant now
            exchange = judge(await self._try_repeatedly(url, limit))
            self._journal.write(key, exchange)
            return exchange

    def _still_holds(self, exchange: HttpResponse, limit: Limit) -> bool:
        """A verdict that a setting decided does not bind one that allows more."""
        match exchange.rejection:
            case Rejection(reason=Reason.TOO_LARGE, limit=allowed):
                return int(allowed) >= limit.max_bytes
            case Rejection(reason=Reason.TIMEOUT, limit=allowed):
                return float(allowed) >= self._params.timeout
        return True

    def _apply_limits(self, exchange: HttpResponse, limit: Limit) -> HttpResponse:
        """A kept answer as it would be under the limits of now: the same ledger, whatever they were then."""
        match exchange.rejection:
            case Rejection(reason=Reason.TOO_LARGE):
                return replace(exchange, rejection=replace(exchange.rejection, limit=str(limit.max_bytes)))
            case Rejection(reason=Reason.TIMEOUT):
                return replace(exchange, rejection=replace(exchange.rejection, limit=str(self._params.timeout)))
        if len(exchange.body) > limit.max_bytes:
            return replace(exchange, body=b"", rejection=reject_size(limit))
        return exchange

    async def _try_repeatedly(self, url: str, limit: Limit) -> HttpResponse:
        for attempt in range(self._params.retries + 1):
            async with self._paces[find_site(url)].take_turn(), self._connections:
                exchange = await self._try(url, limit)
            asked = read_retry_after(exchange.read_header("retry-after"), time.time())
            if not _is_passing(exchange) or attempt == self._params.retries or asked > MAX_RETRY_AFTER:
                break
            await asyncio.sleep(max(self._params.backoff * 2**attempt, asked))
        return exchange

    async def _try(self, url: str, limit: Limit) -> HttpResponse:
        seconds = self._params.timeout
        try:
            async with asyncio.timeout(seconds):
                await self._resolver.find(url)
                self.requests += 1
                return await request(self._session, url, limit)
        except AddressRefused as refused:
            return _reject(Reason.ADDRESS_REFUSED, str(refused))
        except TimeoutError:
            rejection = Rejection(Reason.TIMEOUT, "no whole answer within crawl.timeout", limit=str(seconds))
            return HttpResponse(rejection=rejection)
        except gaierror:
            return _reject(Reason.CONNECTION_FAILED, "the name does not resolve")
        except (aiohttp.ClientSSLError, ssl.SSLError):
            return _reject(Reason.TLS_FAILED, "no secure connection: its certificate or protocol is not accepted")
        except aiohttp.ClientPayloadError:
            return _reject(Reason.TRUNCATED_BODY, "the connection closed before the end of the body")
        except aiohttp.ClientResponseError:
            return _reject(Reason.CONNECTION_FAILED, "the answer is not valid HTTP")
        except (aiohttp.ClientError, OSError):
            return _reject(Reason.CONNECTION_FAILED, "the connection was refused or broke")


def _reject(reason: Reason, detail: str) -> HttpResponse:
    return HttpResponse(rejection=Rejection(reason, detail))


def _is_passing(exchange: HttpResponse) -> bool:
    """Whether another try might give another answer."""
    if exchange.rejection and exchange.rejection.reason in (Reason.CONNECTION_FAILED, Reason.TRUNCATED_BODY):
        return True
    return exchange.status is not None and (exchange.status == 429 or exchange.status >= 500)


def read_retry_after(value: str | None, now: float) -> float:
    """Seconds to wait, from a Retry-After header in either of its forms; 0 where it says nothing."""
    if not value:
        return 0.0
    if value.strip().isascii() and value.strip().isdigit():
        return float(value.strip()[:9])
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):  # OverflowError: a year or an offset of twenty digits
        return 0.0
    return max(0.0, (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now)


@asynccontextmanager
async def open_client(params: CrawlParams, hosts: Mapping[str, ListedHost], journal: Journal) -> AsyncIterator[Client]:
    """A client without cookies and proxies, that asks for plain bytes and trusts the system's certificates."""
    resolver = Resolver({name: host.open for name, host in hosts.items()})
    connector = aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, limit=0, ssl=ssl.create_default_context())
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": params.agent, "Accept-Encoding": "identity"},
        timeout=aiohttp.ClientTimeout(),
        auto_decompress=False,
        trust_env=False,
    ) as session:
        try:
            yield Client(session, resolver, journal, params, {name: host.salt for name, host in hosts.items()})
        finally:
            await resolver.close()
