"""Say which failures pass with time: the one table of what is tried again, in a run and by a later one."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.crawl.http_request import HttpResponse
from pipeline.tables.drops import Reason


@dataclass(frozen=True, slots=True)
class Failure:
    """How a reason why a URL has no body is treated.

    Attributes:
        retried: another request follows within the run, `crawl.retries` times.
        passes: a raised `crawl.retry` asks again in a later run.
        why: the reason for both, in the words of the documentation.
    """

    retried: bool
    passes: bool
    why: str


BUSY = Failure(True, True, "the server has trouble, or too many visitors")
LATE = Failure(False, True, "the server gave up waiting")
REFUSED = Failure(False, False, "the server's answer about this URL")

STATUSES: Mapping[int, Failure] = {408: LATE, 425: LATE, 429: BUSY}
"""Of `http_error`; other statuses from 500 on are `BUSY`, and all others are `REFUSED`."""

FAILURES: Mapping[Reason, Failure] = {
    Reason.CONNECTION_FAILED: Failure(True, True, "the host, or the way to it, was down"),
    Reason.TRUNCATED_BODY: Failure(True, True, "the connection broke"),
    Reason.TIMEOUT: Failure(False, True, "the host was slow; at once it would be as slow"),
    Reason.TLS_FAILED: Failure(False, True, "certificates are renewed"),
    Reason.ADDRESS_REFUSED: Failure(False, False, "the address may not be connected to"),
    Reason.REDIRECT_REFUSED: Failure(False, False, "the server's answer about this URL"),
    Reason.OPTED_OUT: Failure(False, False, "the owner's word"),
    Reason.PAYMENT_REQUIRED: Failure(False, False, "the owner's word"),
    Reason.ROBOTS_FORBID: Failure(False, False, "the owner's word; where robots.txt could not be read, see below"),
    Reason.TOO_LARGE: Failure(False, False, "a setting decides; it is asked for again if that is raised"),
    Reason.UNREADABLE: Failure(False, False, "the page's own"),
    Reason.BAD_URL: Failure(False, False, "never requested"),
    Reason.OUT_OF_BOUNDS: Failure(False, False, "never requested"),
}
"""By reason, but for `http_error`, where the status decides. What is not here does not pass."""


def find_failure(response: HttpResponse) -> Failure | None:
    """Return how the failure of a response is treated; None for one that has not failed."""
    if response.rejection is None:
        return None
    if response.rejection.reason != Reason.HTTP_ERROR:
        return FAILURES.get(response.rejection.reason, REFUSED)
    status = response.status or 0
    return STATUSES.get(status, BUSY if status >= 500 else REFUSED)


def is_retried(response: HttpResponse) -> bool:
    """Return whether another request in the same run might succeed."""
    failure = find_failure(response)
    return failure is not None and failure.retried


def passes_with_time(response: HttpResponse) -> bool:
    """Return whether a request in a later run might succeed."""
    failure = find_failure(response)
    return failure is not None and failure.passes
