"""Fetch each URL once: responses and failures are stored in the journal and read from there in later runs.

A run that was killed requests only the URLs that are missing, and a repeated run makes no request for what is there.
With another `crawl.refresh` each URL is asked for whether it has changed.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import replace
from weakref import WeakValueDictionary

from pipeline.crawl.answers import MAX_RULES_AGE, Answers, Earlier
from pipeline.crawl.conditional import is_unchanged, make_conditions, merge_unchanged
from pipeline.crawl.failures import passes_with_time
from pipeline.crawl.http_request import HttpResponse, Limit
from pipeline.crawl.journal import Body, Journal
from pipeline.crawl.params import CrawlParams
from pipeline.crawl.robots import MAX_ROBOTS_BYTES
from pipeline.crawl.setup import CrawlSetup
from pipeline.crawl.wire.memory import Lease, MemoryBudget
from pipeline.crawl.wire.pace import PaceState
from pipeline.crawl.wire.requester import Allowance, Request, Requester
from pipeline.formats.urls import canonicalize_url, find_origin

Judge = Callable[[HttpResponse], Awaitable[HttpResponse]]
"""Returns a response as it may be stored: without its body where the owner refuses its use."""

ROBOTS_LIMIT = Limit(MAX_ROBOTS_BYTES, cut=True)


class NotKept(Exception):  # noqa: N818 - nothing went wrong: it has to be asked for
    """No stored response holds, and no request may be made."""


class Client:
    """Returns responses by URL, from the journal or else from the network.

    Attributes:
        asks: whether it makes requests.
        rules_changed: whether a file about a site was found to differ from the one that others were judged by.
    """

    def __init__(self, requester: Requester, answers: Answers, params: CrawlParams) -> None:
        self.rules_changed = False
        self._requester = requester
        self._answers = answers
        self._limit = Limit(params.max_bytes)
        self.asks = True
        self._old_rules: dict[str, bool] = {}
        self._memory = MemoryBudget()
        self._locks: WeakValueDictionary[tuple[str, bool], asyncio.Lock] = WeakValueDictionary()

    @property
    def requests(self) -> int:
        """The number of requests to servers."""
        return self._requester.requests

    def without_requests(self) -> "Client":
        """Return a client that has the same stored responses, of any age, and raises `NotKept` for others."""
        client = copy(self)
        client.asks = False
        return client

    def is_of_today(self, fetched: int) -> bool:
        """Return whether rules that were fetched then may be used to request a URL."""
        return not (self.asks and self._answers.is_older(fetched, MAX_RULES_AGE))

    def may_keep(self, url: str) -> bool:
        """Return whether a client without requests may be enough to judge a URL.

        It is where the URL was requested before. Else its site's robots.txt, which is older than a day, may forbid it.
        """
        if self._answers.knows(url, self._limit):
            return True
        origin = find_origin(url)
        if origin not in self._old_rules:
            robots = canonicalize_url("/robots.txt", url)
            fresh = self._answers.recall(robots, ROBOTS_LIMIT, MAX_RULES_AGE) is not None
            self._old_rules[origin] = not fresh and self._answers.knows(robots, ROBOTS_LIMIT)
        return self._old_rules[origin]

    async def fetch(self, url: str, judge: Judge) -> HttpResponse:
        """Return the response for a canonical URL after `judge`, which may remove the body; it is stored without it."""
        return await self._fetch(url, self._limit, judge)

    async def fetch_robots(self, url: str, postponable: bool = True) -> HttpResponse:
        """Return the response for a robots.txt or another file about a site, cut to 500 KiB, at most a day old.

        It is not `postponable` if a response that is not stored yet depends on it.
        """
        return await self._fetch(url, ROBOTS_LIMIT, _accept, MAX_RULES_AGE, postponable)

    def has_time(self) -> bool:
        """Return whether URLs may still be begun."""
        return self._requester.has_time()

    def save_paces(self) -> dict[str, PaceState]:
        """Return what the next client has to know of the sites, see `Allowance.paces`."""
        return self._requester.save_paces()

    def slow_down(self, url: str, delay: float) -> None:
        """Leave at least `delay` seconds between two requests to the site of a URL."""
        self._requester.slow_down(url, delay)

    def find_body(self, url: str) -> Body | None:
        """Return where the body of a URL is stored, or None if it was never fetched."""
        return self._answers.find_body(url, self._limit)

    def is_served(self, url: str) -> bool:
        """Return whether a function of `crawl.hosts` serves the URL: its answers do not depend on the time."""
        return self._answers.is_served(url)

    async def _fetch(
        self, url: str, limit: Limit, judge: Judge, max_age: float | None = None, postponable: bool = True
    ) -> HttpResponse:
        if not self.asks:
            kept = self._answers.recall(url, limit)
            if kept is None:
                raise NotKept
            return await judge(kept)  # opt-outs may name the agent, which may have changed
        async with self._locks.setdefault((url, limit.cut), asyncio.Lock()):
            known = self._answers.recall(url, limit, max_age)
            if known is not None:
                return await judge(known)
            stale = self._answers.recall(url, limit) if limit.cut else None
            # Files about a site are small, and asked for while a response waits for what they say: they must not wait
            # for the memory that it holds.
            with Lease(MemoryBudget() if limit.cut else self._memory) as lease:
                response, unchanged = await self._ask_whether_changed(Request(url, limit, lease, {}, postponable))
                response = await judge(response)
                self._answers.store(url, limit, response, unchanged)
            self.rules_changed |= stale is not None and not passes_with_time(response) and _differ(stale, response)
            return response

    async def _ask_whether_changed(self, request: Request) -> tuple[HttpResponse, Earlier | None]:
        """Make a request; return the response and, if the server said that it is an earlier one, that."""
        earlier = self._answers.find_earlier(request.url, request.limit)
        conditions = make_conditions(earlier.head) if earlier else {}
        response = await self._ask(replace(request, headers=conditions))
        if earlier is None or not is_unchanged(response, earlier.head):
            return response, None
        await request.lease.cover(earlier.size)
        known = self._answers.read_earlier(earlier, request.limit)
        if known is None:
            return await self._ask(request), None
        return merge_unchanged(known, response), earlier

    async def _ask(self, request: Request) -> HttpResponse:
        response = await self._requester.request(request)
        now = int(self._answers.clock())
        transcript = replace(response.transcript, received=now) if response.transcript else None
        return replace(response, fetched=now, transcript=transcript)


def _differ(one: HttpResponse, other: HttpResponse) -> bool:
    return (one.status, one.body, one.find_redirect()) != (other.status, other.body, other.find_redirect())


async def _accept(response: HttpResponse) -> HttpResponse:
    return response


@asynccontextmanager
async def open_client(setup: CrawlSetup, journal: Journal, allowance: Allowance) -> AsyncIterator[Client]:
    """Open a client without cookies and proxies that requests plain bytes and trusts the system's certificates."""
    requester = Requester(setup.params, setup.hosts, allowance)
    try:
        answers = Answers(journal, setup.params, {name: host.salt for name, host in setup.hosts.items()})
        yield Client(requester, answers, setup.params)
    finally:
        await requester.close()
