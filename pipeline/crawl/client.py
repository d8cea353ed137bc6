"""Fetch each URL once: responses and failures are stored in the journal and read from there in later runs.

A run that was killed requests only the URLs that are missing, and a repeated run makes no request at all.
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
from pipeline.formats.urls import find_host, find_site
from pipeline.tables.drops import Reason, Rejection


class Pace:
    """Limits the requests to one site: their number at a time, and the seconds between the starts of two.

    `delay` may be raised while requests are waiting, when robots.txt asks for more.
    """

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
"""To all hosts together; well below the usual limit of 1,024 open files."""

MAX_RETRY_AFTER = 60.0
"""Seconds. A server that asks for a longer wait is not requested again in this run."""


class Client:
    """Returns responses by URL, from the journal or else from the network. `requests` counts the latter."""

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
        """Return the response for a canonical URL after `judge`, which may remove the body; it is stored without it."""
        return await self._fetch(self.make_key(url), url, Limit(self._params.max_bytes), judge)

    async def fetch_robots(self, url: str) -> HttpResponse:
        """Return the response for the URL of a robots.txt, cut to its first 500 KiB."""
        return await self._fetch(self.make_key(url) + "\nrobots", url, Limit(MAX_ROBOTS_BYTES, cut=True), lambda it: it)

    def slow_down(self, site: str, delay: float) -> None:
        """Leave at least `delay` seconds between the starts of two requests to the site."""
        self._paces[site].delay = max(self._paces[site].delay, delay)

    def find_body(self, url: str) -> Body | None:
        """Return where the body of a URL is stored, or None if it was never fetched."""
        return self._journal.find_body(self.make_key(url))

    def make_key(self, url: str) -> str:
        """Return the journal's key of a response: not the host's address, but whether and how it is listed."""
        return f"{url}\n{self._params.refresh}\n{self._salts.get(find_host(url)[0], '')}"

    async def _fetch(
        self, key: str, url: str, limit: Limit, judge: Callable[[HttpResponse], HttpResponse]
    ) -> HttpResponse:
        async with self._locks.setdefault(key, asyncio.Lock()):
            known = self._journal.read(key)
            if known is not None and self._still_holds(known, limit):
                return judge(self._apply_limits(known, limit))  # opt-outs may name the agent, which may have changed
            response = judge(await self._try_repeatedly(url, limit))
            self._journal.write(key, response)
            return response

    def _still_holds(self, response: HttpResponse, limit: Limit) -> bool:
        """Return False for a rejection by a limit that has been raised since."""
        match response.rejection:
            case Rejection(reason=Reason.TOO_LARGE, limit=allowed):
                return int(allowed) >= limit.max_bytes
            case Rejection(reason=Reason.TIMEOUT, limit=allowed):
                return float(allowed) >= self._params.timeout
        return True

    def _apply_limits(self, response: HttpResponse, limit: Limit) -> HttpResponse:
        """Return a stored response under the present limits, so that rows do not depend on earlier ones."""
        match response.rejection:
            case Rejection(reason=Reason.TOO_LARGE):
                return replace(response, rejection=reject_size(limit))
            case Rejection(reason=Reason.TIMEOUT):
                return replace(response, rejection=_reject_time(self._params.timeout))
        if len(response.body) > limit.max_bytes:
            return replace(response, body=b"", rejection=reject_size(limit))
        return response

    async def _try_repeatedly(self, url: str, limit: Limit) -> HttpResponse:
        for attempt in range(self._params.retries + 1):
            async with self._paces[find_site(url)].take_turn(), self._connections:
                response = await self._try(url, limit)
            requested = read_retry_after(response.read_header("retry-after"), time.time())
            if not _is_temporary(response) or attempt == self._params.retries or requested > MAX_RETRY_AFTER:
                break
            await asyncio.sleep(max(self._params.backoff * 2**attempt, requested))
        return response

    async def _try(self, url: str, limit: Limit) -> HttpResponse:
        seconds = self._params.timeout
        try:
            async with asyncio.timeout(seconds):
                await self._resolver.find(url)
                self.requests += 1
                return await request(self._session, url, limit)
        except AddressRefused as refused:
            return HttpResponse(rejection=Rejection(Reason.ADDRESS_REFUSED, str(refused), setting="hosts"))
        except TimeoutError:
            return HttpResponse(rejection=_reject_time(seconds))
        except gaierror:
            return _reject(Reason.CONNECTION_FAILED, "the name does not resolve")
        except (aiohttp.ClientSSLError, ssl.SSLError):
            return _reject(Reason.TLS_FAILED, "its certificate or TLS version is not accepted")
        except aiohttp.ClientPayloadError:
            return _reject(Reason.TRUNCATED_BODY, "the connection closed before the end of the body")
        except aiohttp.ClientResponseError:
            return _reject(Reason.CONNECTION_FAILED, "the response is not valid HTTP")
        except (aiohttp.ClientError, OSError):
            return _reject(Reason.CONNECTION_FAILED, "the connection was refused or broke")


def _reject(reason: Reason, detail: str) -> HttpResponse:
    return HttpResponse(rejection=Rejection(reason, detail))


def _reject_time(seconds: float) -> Rejection:
    return Rejection(Reason.TIMEOUT, "no complete response in time", limit=str(seconds), setting="timeout")


def _is_temporary(response: HttpResponse) -> bool:
    """Return whether another try might succeed."""
    if response.rejection and response.rejection.reason in (Reason.CONNECTION_FAILED, Reason.TRUNCATED_BODY):
        return True
    return response.status is not None and (response.status == 429 or response.status >= 500)


def read_retry_after(value: str | None, now: float) -> float:
    """Return the seconds to wait by a Retry-After header in either of its forms; 0 without one that can be read."""
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
    """Open a client without cookies and proxies that requests plain bytes and trusts the system's certificates."""
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
