"""Fetch each URL once: responses and failures are stored in the journal and read from there in later runs.

A run that was killed requests only the URLs that are missing, and a repeated run makes no request for what is there.
With another `crawl.refresh` each URL is asked for whether it has changed.
"""

import asyncio
import ssl
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from socket import gaierror
from weakref import WeakValueDictionary

import aiohttp

from pipeline.crawl.answers import MAX_RULES_AGE, Answers
from pipeline.crawl.conditional import make_conditions, merge_unchanged
from pipeline.crawl.failures import is_retried, passes_with_time
from pipeline.crawl.http_request import NOT_MODIFIED, HttpResponse, Limit, reject_time, request
from pipeline.crawl.journal import Body, Journal
from pipeline.crawl.listed_hosts import ListedHost
from pipeline.crawl.params import CrawlParams
from pipeline.crawl.resolver import AddressRefused, Resolver
from pipeline.crawl.robots import MAX_ROBOTS_BYTES
from pipeline.formats.urls import canonicalize_url, find_site
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

ROBOTS_LIMIT = Limit(MAX_ROBOTS_BYTES, cut=True)

MAX_RETRY_AFTER = 60.0
"""Seconds. A server that asks for a longer wait is not requested again in this run."""


class NotKept(Exception):  # noqa: N818 - nothing went wrong: it has to be asked for
    """No stored response holds, and no request may be made."""


class Client:
    """Returns responses by URL, from the journal or else from the network.

    Attributes:
        requests: how many were made.
        rules_changed: whether a file about a site was found to differ from the one that others were judged by.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        resolver: Resolver,
        answers: Answers,
        params: CrawlParams,
    ) -> None:
        self.requests = 0
        self.rules_changed = False
        self._session = session
        self._resolver = resolver
        self._answers = answers
        self._params = params
        self._limit = Limit(params.max_bytes)
        self._asks = True
        self._old_rules: dict[str, bool] = {}
        self._paces: defaultdict[str, Pace] = defaultdict(lambda: Pace(params.per_host, params.delay))
        self._connections = asyncio.Semaphore(MAX_CONNECTIONS)
        self._locks: WeakValueDictionary[tuple[str, bool], asyncio.Lock] = WeakValueDictionary()

    def without_requests(self) -> "Client":
        """Return a client that has the same stored responses, of any age, and raises `NotKept` for others."""
        client = copy(self)
        client._asks = False
        return client

    def is_of_today(self, fetched: int) -> bool:
        """Return whether rules that were fetched then may be used to request a URL."""
        return not (self._asks and self._answers.is_older(fetched, MAX_RULES_AGE))

    def may_keep(self, url: str) -> bool:
        """Return whether a client without requests may be enough to judge a URL.

        It is where the URL was requested before. Else its site's robots.txt, which is older than a day, may forbid it.
        """
        robots = canonicalize_url("/robots.txt", url)
        if robots not in self._old_rules:
            fresh = self._answers.recall(robots, ROBOTS_LIMIT, MAX_RULES_AGE) is not None
            self._old_rules[robots] = not fresh and self._answers.knows(robots, ROBOTS_LIMIT)
        return self._old_rules[robots] or self._answers.knows(url, self._limit)

    async def fetch(self, url: str, judge: Callable[[HttpResponse], HttpResponse]) -> HttpResponse:
        """Return the response for a canonical URL after `judge`, which may remove the body; it is stored without it."""
        return await self._fetch(url, self._limit, judge)

    async def fetch_robots(self, url: str) -> HttpResponse:
        """Return the response for the URL of a robots.txt, cut to its first 500 KiB, at most a day old."""
        return await self._fetch(url, ROBOTS_LIMIT, lambda it: it, MAX_RULES_AGE)

    def slow_down(self, site: str, delay: float) -> None:
        """Leave at least `delay` seconds between the starts of two requests to the site."""
        self._paces[site].delay = max(self._paces[site].delay, delay)

    def find_body(self, url: str) -> Body | None:
        """Return where the body of a URL is stored, or None if it was never fetched."""
        return self._answers.find_body(url, self._limit)

    async def _fetch(
        self, url: str, limit: Limit, judge: Callable[[HttpResponse], HttpResponse], max_age: float | None = None
    ) -> HttpResponse:
        if not self._asks:
            kept = self._answers.recall(url, limit)
            if kept is None:
                raise NotKept
            return judge(kept)  # opt-outs may name the agent, which may have changed
        async with self._locks.setdefault((url, limit.cut), asyncio.Lock()):
            known = self._answers.recall(url, limit, max_age)
            if known is not None:
                return judge(known)
            stale = self._answers.recall(url, limit)
            earlier = self._answers.recall_earlier(url, limit)
            response = judge(await self._ask(url, limit, earlier.response if earlier else None))
            self._answers.store(url, limit, response, earlier)
            self.rules_changed |= stale is not None and not passes_with_time(response) and _differ(stale, response)
            return response

    async def _ask(self, url: str, limit: Limit, earlier: HttpResponse | None) -> HttpResponse:
        """Request a URL, or where `earlier` allows it, whether it has changed since."""
        conditions = make_conditions(earlier) if earlier else {}
        response = await self._try_repeatedly(url, limit, conditions)
        response = replace(response, fetched=int(self._answers.clock()))
        if earlier and conditions and response.status == NOT_MODIFIED:
            return merge_unchanged(earlier, response)
        return response

    async def _try_repeatedly(self, url: str, limit: Limit, conditions: Mapping[str, str]) -> HttpResponse:
        for attempt in range(self._params.retries + 1):
            async with self._paces[find_site(url)].take_turn(), self._connections:
                response = await self._try(url, limit, conditions)
            requested = read_retry_after(response.read_header("retry-after"), time.time())
            if not is_retried(response) or attempt == self._params.retries or requested > MAX_RETRY_AFTER:
                break
            await asyncio.sleep(max(self._params.backoff * 2**attempt, requested))
        return response

    async def _try(self, url: str, limit: Limit, conditions: Mapping[str, str]) -> HttpResponse:
        seconds = self._params.timeout
        try:
            async with asyncio.timeout(seconds):
                await self._resolver.find(url)
                self.requests += 1
                return await request(self._session, url, limit, conditions)
        except AddressRefused as refused:
            return HttpResponse(rejection=Rejection(Reason.ADDRESS_REFUSED, str(refused), setting="hosts"))
        except TimeoutError:
            return HttpResponse(rejection=reject_time(seconds))
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


def _differ(one: HttpResponse, other: HttpResponse) -> bool:
    return (one.status, one.body, one.find_redirect()) != (other.status, other.body, other.find_redirect())


def _reject(reason: Reason, detail: str) -> HttpResponse:
    return HttpResponse(rejection=Rejection(reason, detail))


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
            answers = Answers(journal, params, {name: host.salt for name, host in hosts.items()})
            yield Client(session, resolver, answers, params)
        finally:
            await resolver.close()
