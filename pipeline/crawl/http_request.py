"""Describe a response, why there is none, and how it is encoded for the journal. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field

from pipeline.consent.http_headers import HEADERS as CONSENT_HEADERS
from pipeline.crawl.evidence import Evidence
from pipeline.tables.drops import Reason, Rejection

STORED_HEADERS = ("content-type", "etag", "last-modified", "location", "retry-after", *CONSENT_HEADERS)
REDIRECTS = (301, 302, 303, 307, 308)
NOT_MODIFIED = 304


@dataclass(frozen=True, slots=True)
class Transcript:
    """The heads of a request and its response as they were on the wire; other bytes than UTF-8 are surrogate escapes.

    Attributes:
        request: the request line and headers, and the empty line after them.
        response: the status line and headers, separated by CRLF.
        received: when the response came, in seconds since 1970, UTC. Unlike `HttpResponse.fetched` it stays that of the
            body when a server says later that it has not changed.
    """

    request: str
    response: str
    received: int = 0


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A response, or why there is none.

    Attributes:
        headers: those of `STORED_HEADERS`, names in lower case.
        fetched: when it came, in seconds since 1970, UTC; 0: not known.
        retry: the value of `crawl.retry` then.
        transcript: what was on the wire; None for what is rejected, and in older journals.
        evidence: what the owner said, where that rejected it.
    """

    status: int | None = None
    headers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    body: bytes = b""
    rejection: Rejection | None = None
    fetched: int = 0
    retry: int = 0
    transcript: Transcript | None = None
    evidence: Evidence | None = None

    def read_header(self, name: str) -> str | None:
        """Return the first value of a header, or None."""
        return next(iter(self.headers.get(name, ())), None)

    def find_redirect(self) -> str | None:
        """Return the target of a redirect as the server spelled it, or None if this is not a redirect."""
        return self.read_header("location") if self.status in REDIRECTS else None


@dataclass(frozen=True, slots=True)
class Limit:
    """The largest body, decompressed; longer ones are rejected, or cut there."""

    max_bytes: int
    cut: bool = False


def encode_head(response: HttpResponse) -> bytes:
    """Encode all but the body as JSON."""
    head = {
        "status": response.status,
        "headers": {name: list(values) for name, values in sorted(response.headers.items())},
        "rejection": asdict(response.rejection) if response.rejection else None,
        "fetched": response.fetched,
        "retry": response.retry,
        "transcript": astuple(response.transcript) if response.transcript and not response.rejection else None,
        "evidence": asdict(response.evidence) if response.evidence else None,
    }
    return json.dumps(head).encode()


def decode_head(encoded: bytes, body: bytes) -> HttpResponse:
    """Return the response whose head `encode_head` encoded."""
    head = json.loads(encoded)
    fields = head["rejection"]
    rejection = Rejection(**{**fields, "reason": Reason(fields["reason"])}) if fields else None
    fetched, retry = head.get("fetched", 0), head.get("retry", 0)  # older journals have neither
    transcript = Transcript(*head["transcript"]) if head.get("transcript") else None
    evidence = Evidence(**head["evidence"]) if head.get("evidence") else None
    return HttpResponse(head["status"], head["headers"], body, rejection, fetched, retry, transcript, evidence)


def reject_size(limit: Limit) -> Rejection:
    """Return the rejection of a body beyond the limit."""
    return Rejection(
        Reason.TOO_LARGE, "the response has too many bytes", limit=str(limit.max_bytes), setting="max_bytes"
    )


def reject_time(seconds: float) -> Rejection:
    """Return the rejection of a response that took longer."""
    return Rejection(Reason.TIMEOUT, "no complete response in time", limit=str(seconds), setting="timeout")
