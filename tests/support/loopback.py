"""A web server on loopback that answers as badly as a test wants it to."""

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
    """An answer. `length` is what Content-Length says: the truth if None, nothing if negative."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None
    delay: float = 0.0  # seconds before anything
    drip: float = 0.0  # seconds between single bytes of the body
    endless: bool = False


Route = Reply | Callable[[int], Reply]
"""An answer, or a function of how often the path was asked for before."""


def page(body: str, head: str = "", **headers: str) -> Reply:
    text = f"<!doctype html><html><head>{head}</head><body>{body}</body></html>"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(text.encode(), headers={"Content-Type": "text/html", **named})


class Site(ThreadingHTTPServer):
    """Serves `routes` by path and query; anything else is a 404. `requests` counts, `headers` keeps what was sent."""

    request_queue_size = 128

    def __init__(self, routes: Mapping[str, Route]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.routes = dict(routes)
        self.requests: Counter[str] = Counter()
        self.headers: dict[str, dict[str, str]] = {}
        self.times: list[float] = []
        self.busy = self.most_busy = 0
        self.lock = threading.Lock()
        self.connections: set[socket] = set()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients hang up on slow answers; that is what is tested."""

    def close(self) -> None:
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
            self.answer(route(before) if callable(route) else route)
        finally:
            with site.lock:
                site.busy -= 1

    def answer(self, reply: Reply) -> None:
        time.sleep(reply.delay)
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        length = len(reply.body) if reply.length is None else reply.length
        if length >= 0 and not reply.endless:
            self.send_header("Content-Length", str(length))
        if length != len(reply.body) or reply.endless:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        for start in range(0, len(reply.body), 1 if reply.drip else len(reply.body) or 1):
            self.wfile.write(reply.body[start : start + 1] if reply.drip else reply.body)
            self.wfile.flush()
            time.sleep(reply.drip)
        while reply.endless:
            self.wfile.write(CHUNK)

    def log_message(self, *args: Any) -> None:
        """Nothing."""


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
