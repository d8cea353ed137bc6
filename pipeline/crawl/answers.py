"""Decide which stored responses still hold: those of the same `refresh`, under the limits and retries of this run."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pipeline.crawl.failures import passes_with_time
from pipeline.crawl.http_request import HttpResponse, Limit, reject_size, reject_time
from pipeline.crawl.journal import Body, Journal
from pipeline.crawl.listed_hosts import LISTED
from pipeline.crawl.params import CrawlParams
from pipeline.formats.urls import find_host
from pipeline.tables.drops import Reason, Rejection

MAX_RULES_AGE = 24 * 3600.0
"""Seconds for which a site's robots.txt is used without a look whether it has changed (RFC 9309, section 2.4)."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """The key of a response of an earlier time, its head, and the size of its body."""

    key: str
    head: HttpResponse
    size: int


class Answers:
    """The responses of a journal to the URLs of one crawl. What is stored for a `cut` limit is apart: see `Limit`.

    A key has the URL, `crawl.refresh`, and whether and how the host is listed, but not its address. A file about a site
    that cannot be had anew does not take the place of the one that is known: its failure has a key of its own.
    """

    def __init__(self, journal: Journal, params: CrawlParams, salts: Mapping[str, str]) -> None:
        self.clock = journal.clock
        self._journal = journal
        self._params = params
        self._salts = salts
        self._earlier = journal.list_refreshes(params.refresh)

    def recall(self, url: str, limit: Limit, max_age: float | None = None) -> HttpResponse | None:
        """Return the stored response to a URL if it still holds, under the present limits; else None.

        It does not hold for a limit that has been raised since, for an opt-out that counts no more, for a failure that
        passes with time once `crawl.retry` is raised, and if it was fetched more than `max_age` seconds ago. That a
        site's file could not be had holds for a day, and less than the file.
        """
        known = self._recall(self._make_key(url, limit), limit, max_age)
        if known is None and limit.cut:
            return self._recall(self._make_key(url, limit, failed=True), limit, max_age)
        return known

    def is_served(self, url: str) -> bool:
        """Return whether a function of `crawl.hosts` serves the URL: its answers do not depend on the time."""
        return self._salts.get(find_host(url)[0], LISTED) != LISTED

    def is_older(self, fetched: int, seconds: float) -> bool:
        """Return whether what was fetched then is older than `seconds`, or from the future of a wrong clock."""
        return not 0 <= int(self.clock()) - fetched <= seconds

    def knows(self, url: str, limit: Limit) -> bool:
        """Return whether there is a response to a URL, holding or not."""
        return self._journal.has(self._make_key(url, limit))

    def _recall(self, key: str, limit: Limit, max_age: float | None) -> HttpResponse | None:
        known = self._journal.read(key)
        if known is None or not self._still_holds(known, limit):
            return None
        if limit.cut and passes_with_time(known):
            max_age = MAX_RULES_AGE
        if max_age is not None and self.is_older(known.fetched, max_age):
            return None
        return self._apply_limits(known, limit)

    def find_earlier(self, url: str, limit: Limit) -> Earlier | None:
        """Return the head of the last known response with a body: of another `crawl.refresh`, or an old site file."""
        for refresh in (self._params.refresh, *self._earlier) if limit.cut else self._earlier:
            key = self._make_key(url, limit, refresh)
            known, body = self._journal.read_head(key), self._journal.find_body(key)
            if known is not None and known.rejection is None and body is not None:
                return Earlier(key, known, body.location.size)
        return None

    def read_earlier(self, earlier: Earlier, limit: Limit) -> HttpResponse | None:
        """Return the response whose head `find_earlier` returned, under the present limits; None if it is damaged."""
        known = self._journal.read(earlier.key)
        return self._apply_limits(known, limit) if known is not None else None

    def store(self, url: str, limit: Limit, response: HttpResponse, unchanged: Earlier | None = None) -> None:
        """Store the response to a URL, without its body if that is the one of `unchanged`, read before."""
        key = self._make_key(url, limit, failed=limit.cut and passes_with_time(response))
        response = replace(response, retry=self._params.retry)
        self._journal.note_refresh(self._params.refresh)
        if unchanged is not None and unchanged.key != key and response.body:
            self._journal.write_unchanged(key, response, unchanged.key)
        else:
            self._journal.write(key, response)

    def find_body(self, url: str, limit: Limit) -> Body | None:
        """Return where the body of a URL is stored, or None if it was never fetched."""
        return self._journal.find_body(self._make_key(url, limit))

    def _make_key(self, url: str, limit: Limit, refresh: int | None = None, failed: bool = False) -> str:
        number = self._params.refresh if refresh is None else refresh
        key = f"{url}\n{number}\n{self._salts.get(find_host(url)[0], '')}"
        return key + "\nrobots" * limit.cut + "\nfailed" * failed

    def _still_holds(self, response: HttpResponse, limit: Limit) -> bool:
        if passes_with_time(response) and response.retry < self._params.retry:
            return False
        match response.rejection:
            case Rejection(reason=Reason.TOO_LARGE, limit=allowed):
                return int(allowed) >= limit.max_bytes
            case Rejection(reason=Reason.TIMEOUT, limit=allowed):
                return float(allowed) >= self._params.timeout
            case Rejection(reason=Reason.OPTED_OUT, limit=uses):
                consent, evidence = self._params.consent, response.evidence
                return uses == ", ".join(consent.uses) and bool(evidence and evidence.signal not in consent.ignore)
        return True

    def _apply_limits(self, response: HttpResponse, limit: Limit) -> HttpResponse:
        """Return a stored response under the present limits, so that rows do not depend on earlier ones."""
        match response.rejection:
            case Rejection(reason=Reason.TOO_LARGE):
                return replace(response, rejection=reject_size(limit))
            case Rejection(reason=Reason.TIMEOUT):
                return replace(response, rejection=reject_time(self._params.timeout))
        if len(response.body) > limit.max_bytes:
            return replace(response, body=b"", rejection=reject_size(limit))
        return response
