"""Send one request over a connection and read its response within limits, without redirects or retries."""

import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from urllib.parse import urlsplit

import h11

from pipeline.crawl.http_request import STORED_HEADERS, HttpResponse, Limit, Transcript, reject_size
from pipeline.crawl.wire.connection import Connection, TooManyBytes
from pipeline.crawl.wire.decoders import find_decoder
from pipeline.tables.drops import Reason, Rejection

MAX_HEAD_BYTES = 64 << 10
"""Of one block of headers, or of one line between the chunks of a body. Browsers allow 256 KiB, most servers 8 KiB."""

OVERHEAD_BYTES = 128 << 10
"""Read from the socket for one response besides its body: TLS, headers, 1xx responses, chunk sizes and extensions. A
page of 2 MB in chunks of 100 bytes has as much."""

OVERHEAD_SHARE = 512
"""Each body may have this part of its size besides: records of TLS take 29 of 16,384 bytes."""

MAX_PARTS = 1024
"""Chunks that are taken together: some 8 ms of work."""

_READ_HEADERS = frozenset(STORED_HEADERS) | {"content-encoding"}

Cover = Callable[[int], Awaitable[None]]
"""Waits until there is memory for a body of that many bytes."""


class Exchange:
    """The HTTP state of one connection (h11), through all its requests."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._sent = b""
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)

    async def send(self, url: str, headers: Mapping[str, str]) -> None:
        """Send a GET request for a canonical URL."""
        parts = urlsplit(url)
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        request = h11.Request(method="GET", target=target, headers=[("Host", parts.netloc), *headers.items()])
        self._sent = (self._http.send(request) or b"") + (self._http.send(h11.EndOfMessage()) or b"")
        await self.connection.send(self._sent)

    async def read_response(self, limit: Limit, cover: Cover) -> HttpResponse:
        """Return the response; its body is read only if the status is 200 or 203.

        Raises:
            h11.RemoteProtocolError: it is not valid HTTP.
            OSError: the connection broke before the end of the headers.
        """
        try:
            head = await self._read_head()
            if head.find_redirect() is not None:
                return head
            if head.status not in (200, 203):
                return _reject(head, _reject_status(head.status))
            body = await self._read_body(head, limit, cover)
        except TooManyBytes:
            return HttpResponse(rejection=reject_size(limit))
        return _reject(head, body) if isinstance(body, Rejection) else replace(head, body=body)

    def start_next(self) -> bool:
        """Make ready for another request; return False if the connection cannot be used again."""
        try:
            while self._http.their_state is h11.SEND_BODY:  # a body that was not read, if it is here already
                if self._http.next_event() is h11.NEED_DATA:
                    return False
            self._http.start_next_cycle()
            self.connection.allowed = OVERHEAD_BYTES
        except h11.ProtocolError:
            return False
        return not self._http.trailing_data[0] and self.connection.is_quiet()

    async def _read_head(self) -> HttpResponse:
        event = await self._find_event()
        while isinstance(event, h11.InformationalResponse):
            event = await self._find_event()
        assert isinstance(event, h11.Response)
        headers: dict[str, list[str]] = {}
        for name, value in event.headers:
            if (text := name.decode()) in _READ_HEADERS:
                headers.setdefault(text, []).append(value.decode("utf-8", "surrogateescape"))
        return HttpResponse(event.status_code, headers, transcript=_transcribe(self._sent, event))

    async def _find_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        while (event := self._parse()) is h11.NEED_DATA:
            data = await self.connection.read()
            if not data and self._http.their_state is h11.SEND_RESPONSE:
                raise ConnectionResetError("closed before the end of the headers")
            self._http.receive_data(data)
        await self.connection.give_way()
        return event

    async def _read_data(self) -> bytes:
        """Return the next bytes of the body, nothing at its end; small chunks are joined."""
        parts: list[bytes] = []
        if self._http.their_state is h11.SEND_BODY:
            event = await self._find_event()
            while isinstance(event, h11.Data):
                parts.append(event.data)
                if len(parts) == MAX_PARTS:
                    break
                event = self._parse()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _parse(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        try:
            return self._http.next_event()
        except h11.RemoteProtocolError as error:
            if error.error_status_hint == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
                raise TooManyBytes from None  # more than MAX_HEAD_BYTES
            raise

    async def _read_body(self, head: HttpResponse, limit: Limit, cover: Cover) -> bytes | Rejection:
        decoder = find_decoder((head.read_header("content-encoding") or "").strip().lower())
        if decoder is None or len(head.headers.get("content-encoding", ())) > 1:
            return Rejection(Reason.HTTP_ERROR, "the body has an encoding that was not requested")
        body, received = bytearray(), 0
        try:
            while data := await self._read_data():
                received += len(data)
                self.connection.allowed += len(data) + len(data) // OVERHEAD_SHARE
                for piece in decoder.feed(data):
                    await cover(len(body) + len(piece))
                    body += piece
                    if len(body) > limit.max_bytes:
                        break
                # The received bytes count too: they may go on for ever and decompress to nothing.
                if max(received, len(body)) > limit.max_bytes:
                    return bytes(body[: limit.max_bytes]) if limit.cut else reject_size(limit)
        except zlib.error:
            return Rejection(Reason.TRUNCATED_BODY, "the body's compression is damaged")
        except (h11.RemoteProtocolError, OSError):
            return Rejection(Reason.TRUNCATED_BODY, "the connection closed before the end of the body")
        if received and not decoder.at_end:
            return Rejection(Reason.TRUNCATED_BODY, "the compressed body ends early")
        return bytes(body)


def _reject_status(status: int | None) -> Rejection:
    if status == 402:
        return Rejection(Reason.PAYMENT_REQUIRED, "the server asks for payment", str(status))
    return Rejection(Reason.HTTP_ERROR, f"the server answered {status}", str(status))


def _transcribe(sent: bytes, response: h11.Response) -> Transcript:
    status = b"HTTP/%s %d %s" % (response.http_version, response.status_code, response.reason)
    received = b"\r\n".join([status, *(b"%s: %s" % pair for pair in response.headers.raw_items())])
    return Transcript(sent.decode("utf-8", "surrogateescape"), received.decode("utf-8", "surrogateescape"))


def _reject(head: HttpResponse, rejection: Rejection) -> HttpResponse:
    return HttpResponse(head.status, head.headers, rejection=rejection)
