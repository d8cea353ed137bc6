"""Serve flawed HTTP responses on loopback, for tests."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SHUT_RDWR, socket
from typing import Any, cast

CHUNK = bytes(1 << 16)


@dataclass(frozen=True)
class Reply:
    """A response. A header's value may have several lines, a header each. `length` is the value of Content-Length: None
    for the true one, negative for no header."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None
    delay: float = 0.0  # seconds before anything
    drip: float = 0.0  # seconds between single bytes of the body
    endless: bool = False


Route = Reply | Callable[[int], Reply]
"""A response, or a function of the number of earlier requests for the path."""


def page(body: str, head: str = "", **headers: str) -> Reply:
    text = f"<!doctype html><html><head>{head}</head><body>{body}</body></html>"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(text.encode(), headers={"Content-Type": "text/html", **named})


class Site(ThreadingHTTPServer):
    """Serves `routes` by path and query, and 404 for others; stores the number of requests and their headers.

    A request whose condition holds for the route's ETag or Last-Modified is answered by a 304. `sent` counts the bytes
    of bodies.
    """

    request_queue_size = 128

    def __init__(self, routes: Mapping[str, Route]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.routes = dict(routes)
        self.requests: Counter[str] = Counter()
        self.headers: dict[str, dict[str, str]] = {}
        self.statuses: dict[str, list[int]] = {}
        self.sent = 0
        self.times: list[float] = []
        self.busy = self.most_busy = 0
        self.lock = threading.Lock()
        self.connections: set[socket] = set()
        self.closed = threading.Event()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that close the connection: that is what is tested."""

    def close(self) -> None:
        """Stop; replies that are being delayed end."""
        self.closed.set()
        self.shutdown()
        for connection in self.connections:
            try:
                connection.shutdown(SHUT_RDWR)
            except OSError:
                continue
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        site = cast(Site, self.server)
        with site.lock:
            before = site.requests[self.path]
            site.requests[self.path] += 1
            site.headers[self.path] = dict(self.headers.items())
            site.times.append(time.monotonic())
            site.busy += 1
            site.most_busy = max(site.most_busy, site.busy)
        try:
            route = site.routes.get(self.path, Reply(b"not here", 404))
            self.respond(route(before) if callable(route) else route)
        finally:
            with site.lock:
                site.busy -= 1

    def respond(self, reply: Reply) -> None:
        self.wait(reply.delay)
        reply = self.answer_condition(reply)
        site = cast(Site, self.server)
        with site.lock:
            site.statuses.setdefault(self.path, []).append(reply.status)
            site.sent += len(reply.body)
        self.send_response(reply.status)
        for name, values in reply.headers.items():
            for value in values.split("\n"):
                self.send_header(name, value)
        length = len(reply.body) if reply.length is None else reply.length
        if length >= 0 and not reply.endless:
            self.send_header("Content-Length", str(length))
        if (length != len(reply.body) and reply.status != 304) or reply.endless:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        for start in range(0, len(reply.body), 1 if reply.drip else len(reply.body) or 1):
            self.wfile.write(reply.body[start : start + 1] if reply.drip else reply.body)
            self.wfile.flush()
            self.wait(reply.drip)
        while reply.endless:
            self.wfile.write(CHUNK)

    def answer_condition(self, reply: Reply) -> Reply:
        conditions = {"ETag": "If-None-Match", "Last-Modified": "If-Modified-Since"}
        for name, condition in conditions.items():
            if name in reply.headers and reply.status == 200 and self.headers.get(condition) == reply.headers[name]:
                return Reply(status=304, headers={name: reply.headers[name]}, length=-1)
        return reply

    def wait(self, seconds: float) -> None:
        if seconds:
            cast(Site, self.server).closed.wait(seconds)

    def log_message(self, *args: Any) -> None:
        """Write nothing."""


@contextmanager
def serve(routes: Mapping[str, Route]) -> Iterator[Site]:
    site = Site(routes)
    thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        site.close()
        thread.join()
