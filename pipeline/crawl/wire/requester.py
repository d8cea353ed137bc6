"""Request URLs politely: at the pace of each site, within the limits, a bounded number of times."""

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from socket import gaierror

import h11

from pipeline.crawl.contact import explain_contact, has_contact
from pipeline.crawl.failures import is_retried
from pipeline.crawl.http_request import HttpResponse, Limit, reject_size, reject_time
from pipeline.crawl.listed_hosts import ListedHost
from pipeline.crawl.params import CrawlParams
from pipeline.crawl.resolver import AddressRefused, Resolver
from pipeline.crawl.wire.connection import TooManyBytes
from pipeline.crawl.wire.exchange import Exchange
from pipeline.crawl.wire.memory import Lease
from pipeline.crawl.wire.pace import MAX_PAUSE, Pace, PaceState, SitePaused
from pipeline.crawl.wire.pool import ConnectionPool
from pipeline.formats.urls import find_host, find_site
from pipeline.tables.drops import Reason, Rejection

MAX_CONNECTIONS = 256
"""To all hosts together, of all processes; well below the usual limit of 1,024 open files."""

PAUSING = (429, 503)
"""Statuses whose Retry-After is for the whole site (RFC 6585, section 4; RFC 9110, section 15.6.4)."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request for a canonical URL.

    Attributes:
        lease: asked for the memory of the body.
        headers: sent besides those of all requests.
        postponable: whether it may be asked for again, in another process: nothing that is not stored depends on it.
    """

    url: str
    limit: Limit
    lease: Lease
    headers: Mapping[str, str]
    postponable: bool = True


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one process may use of what the whole crawl may.

    Attributes:
        connections: to all hosts together.
        seconds: after which nothing is waited for any longer that was not requested yet; None: no limit.
        paces: by site, of those that may not be requested at once.
    """

    connections: int = MAX_CONNECTIONS
    seconds: float | None = None
    paces: Mapping[str, PaceState] = field(default_factory=dict)


class Postponed(Exception):  # noqa: N818 - nothing went wrong: it is asked for again
    """The turn of a URL would come after the seconds that there are. Nothing was requested for it."""


class Requester:
    """Makes requests; `requests` counts them."""

    def __init__(self, params: CrawlParams, hosts: Mapping[str, ListedHost], allowance: Allowance) -> None:
        self.requests = 0
        self._params = params
        self._hosts = hosts
        self._headers = {"User-Agent": params.agent, "Accept": "*/*", "Accept-Encoding": "identity"}
        self._resolver = Resolver({name: host.open for name, host in hosts.items()})
        self._pool = ConnectionPool(self._resolver)
        self._paces: dict[str, Pace] = {}
        self._connections = asyncio.Semaphore(allowance.connections)
        self._saved = allowance.paces
        now, seconds = asyncio.get_running_loop().time(), allowance.seconds
        self._end = None if seconds is None else now + seconds

    async def request(self, request: Request) -> HttpResponse:
        """Return the response, or why there is none, after `retries` + 1 requests at most.

        Raises:
            Postponed: its turn comes too late.
        """
        pace = self._find_pace(request.url)
        for attempt in range(self._params.retries + 1):
            request.lease.give_back()
            try:
                response = await self._try(request, pace, fresh=attempt > 0)
            except SitePaused as paused:
                return _reject_paused(paused)
            requested = read_retry_after(response.read_header("retry-after"), time.time())
            if response.status in PAUSING and requested:
                pace.pause(response.status, requested)
            if not is_retried(response) or attempt == self._params.retries or requested > MAX_PAUSE:
                break
            await asyncio.sleep(max(self._params.backoff * 2**attempt, requested))
        return response

    def has_time(self) -> bool:
        """Return whether URLs may still be begun."""
        return self._end is None or asyncio.get_running_loop().time() < self._end

    def save_paces(self) -> dict[str, PaceState]:
        """Return what the next process that has these hosts has to know of them, see `Allowance.paces`."""
        saved = {site: state for site, pace in self._paces.items() if (state := pace.save()) is not None}
        return {**{site: state for site, state in self._saved.items() if site not in self._paces}, **saved}

    def slow_down(self, url: str, delay: float) -> None:
        """Leave at least `delay` seconds between two requests to the site of a URL."""
        pace = self._find_pace(url)
        pace.delay = max(pace.delay, delay)

    async def close(self) -> None:
        """Close kept connections and cancel lookups that are still running."""
        self._pool.close()
        await self._resolver.close()

    def _find_pace(self, url: str) -> Pace:
        site = find_site(url)
        if site not in self._paces:
            host = self._hosts.get(find_host(url)[0])
            local = host is not None and host.local
            self._paces[site] = Pace(self._params.find_per_host(local), self._params.find_delay(local))
            if site in self._saved:
                self._paces[site].restore(self._saved[site])
        return self._paces[site]

    async def _try(self, request: Request, pace: Pace, fresh: bool) -> HttpResponse:
        if not self._may_request(request.url):
            return _reject(Reason.ADDRESS_REFUSED, explain_contact(self._params.agent), setting="agent")
        async with AsyncExitStack() as stack:
            end_turn = await self._enter_turn(stack, pace, self._end if request.postponable and not fresh else None)
            await stack.enter_async_context(self._connections)
            try:
                async with asyncio.timeout(self._params.timeout) as deadline:
                    exchange = await self._pool.open(request.url, fresh)
                    return await self._exchange(exchange, request, deadline, end_turn)
            except AddressRefused as refused:
                return _reject(Reason.ADDRESS_REFUSED, str(refused), setting="hosts")
            except TimeoutError:
                return HttpResponse(rejection=reject_time(self._params.timeout))
            except TooManyBytes:
                return HttpResponse(rejection=reject_size(request.limit))
            except gaierror:
                return _reject(Reason.CONNECTION_FAILED, "the name does not resolve")
            except ssl.SSLError:
                return _reject(Reason.TLS_FAILED, "its certificate or TLS version is not accepted")
            except h11.RemoteProtocolError:
                return _reject(Reason.CONNECTION_FAILED, "the response is not valid HTTP")
            except OSError:
                return _reject(Reason.CONNECTION_FAILED, "the connection was refused or broke")

    async def _enter_turn(self, stack: AsyncExitStack, pace: Pace, end: float | None) -> Callable[[], None]:
        """Take a turn until the stack is closed: a retry has no `end`, since what came before it is not stored."""
        try:
            async with asyncio.timeout_at(end):
                return await stack.enter_async_context(pace.take_turn())
        except TimeoutError:
            raise Postponed from None

    async def _exchange(
        self, exchange: Exchange, request: Request, deadline: asyncio.Timeout, end_turn: Callable[[], None]
    ) -> HttpResponse:
        self.requests += 1
        try:
            await exchange.send(request.url, {**self._headers, **request.headers})
            end_turn()
            response = await exchange.read_response(request.limit, _Cover(request.lease, deadline))
        except BaseException:
            exchange.connection.close()
            raise
        self._pool.keep(request.url, exchange)
        return response

    def _may_request(self, url: str) -> bool:
        return find_host(url)[0] in self._hosts or has_contact(self._params.agent)


@dataclass(frozen=True, slots=True)
class _Cover:
    """Waits for memory; the time that this takes is ours, and does not count for the server's deadline."""

    lease: Lease
    deadline: asyncio.Timeout

    async def __call__(self, size: int) -> None:
        if self.lease.covers(size):
            return
        loop, ends = asyncio.get_running_loop(), self.deadline.when()
        assert ends is not None
        since = loop.time()
        self.deadline.reschedule(None)
        await self.lease.cover(size)
        self.deadline.reschedule(ends + loop.time() - since)


def _reject(reason: Reason, detail: str, setting: str = "") -> HttpResponse:
    return HttpResponse(rejection=Rejection(reason, detail, setting=setting))


def _reject_paused(pause: SitePaused) -> HttpResponse:
    detail = f"the site answered {pause.status} and asked for a long pause, so this was not requested"
    seconds, limit = f"{pause.seconds:.0f}", f"{MAX_PAUSE:.0f}"
    return HttpResponse(pause.status, rejection=Rejection(Reason.HTTP_ERROR, detail, seconds, limit))


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
