"""Make one request to one URL, without redirects, retries or checks of the content."""

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Protocol

from yarl import URL

from pipeline.crawl.opt_outs import HEADERS as OPT_OUT_HEADERS
from pipeline.tables.drops import Reason, Rejection

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

STORED_HEADERS = ("content-type", "etag", "last-modified", "location", "retry-after", *OPT_OUT_HEADERS)
REDIRECTS = (301, 302, 303, 307, 308)
NOT_MODIFIED = 304
CHUNK_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A response, or why there is none.

    Attributes:
        headers: those of `STORED_HEADERS`, names in lower case.
        fetched: when it came, in seconds since 1970, UTC; 0: not known.
        retry: the value of `crawl.retry` then.
    """

    status: int | None = None
    headers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    body: bytes = b""
    rejection: Rejection | None = None
    fetched: int = 0
    retry: int = 0

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
    }
    return json.dumps(head).encode()


def decode_head(encoded: bytes, body: bytes) -> HttpResponse:
    """Return the response whose head `encode_head` encoded."""
    head = json.loads(encoded)
    fields = head["rejection"]
    rejection = Rejection(**{**fields, "reason": Reason(fields["reason"])}) if fields else None
    fetched, retry = head.get("fetched", 0), head.get("retry", 0)  # older journals have neither
    return HttpResponse(head["status"], head["headers"], body, rejection, fetched, retry)


async def request(
    session: "ClientSession", url: str, limit: Limit, conditions: Mapping[str, str] | None = None
) -> HttpResponse:
    """GET a canonical URL. The body is read only if the status is 200 or 203.

    `conditions` are headers that allow the server to answer 304.

    Raises:
        aiohttp.ClientError: the connection failed or broke, or the response is not HTTP.
    """
    async with session.get(URL(url, encoded=True), headers=conditions, allow_redirects=False) as response:
        headers = {name: response.headers.getall(name) for name in STORED_HEADERS if name in response.headers}
        head = HttpResponse(response.status, headers)
        if head.find_redirect() is not None:
            return head
        body = await _read_body(response, limit) if response.status in (200, 203) else _reject_status(response.status)
    if isinstance(body, Rejection):
        return HttpResponse(head.status, headers, rejection=body)
    return HttpResponse(head.status, headers, body)


def _reject_status(status: int) -> Rejection:
    return Rejection(Reason.HTTP_ERROR, f"the server answered {status}", str(status))


class _Decoder(Protocol):
    """The type of a `zlib.decompressobj`."""

    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...


class _Plain:
    """Returns bytes unchanged."""

    eof = True

    def decompress(self, data: bytes, max_length: int = 0, /) -> bytes:
        return data[:max_length]


def _find_decoder(encoding: str) -> _Decoder | None:
    if encoding in ("", "identity"):
        return _Plain()
    # 32: detect gzip and zlib headers. The request asks for plain bytes; some servers compress all the same.
    return zlib.decompressobj(32 + zlib.MAX_WBITS) if encoding in ("gzip", "x-gzip", "deflate") else None


async def _read_body(response: "ClientResponse", limit: Limit) -> bytes | Rejection:
    decoder = _find_decoder(response.headers.get("Content-Encoding", "").strip().lower())
    if decoder is None:
        return Rejection(Reason.HTTP_ERROR, "the body has an encoding that was not requested")
    body, received = bytearray(), 0
    try:
        async for chunk in response.content.iter_chunked(CHUNK_BYTES):
            received += len(chunk)
            body += decoder.decompress(chunk, limit.max_bytes + 1 - len(body))
            # The received bytes count too: they may go on for ever and decompress to nothing.
            if max(received, len(body)) > limit.max_bytes:
                return bytes(body[: limit.max_bytes]) if limit.cut else reject_size(limit)
    except zlib.error:
        return Rejection(Reason.TRUNCATED_BODY, "the body's compression is damaged")
    if received and not decoder.eof:
        return Rejection(Reason.TRUNCATED_BODY, "the compressed body ends early")
    return bytes(body)


def reject_size(limit: Limit) -> Rejection:
    """Return the rejection of a body beyond the limit."""
    return Rejection(Reason.TOO_LARGE, "the body has too many bytes", limit=str(limit.max_bytes), setting="max_bytes")


def reject_time(seconds: float) -> Rejection:
    """Return the rejection of a response that took longer."""
    return Rejection(Reason.TIMEOUT, "no complete response in time", limit=str(seconds), setting="timeout")
