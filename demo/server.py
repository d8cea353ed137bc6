"""Serve the site on a loopback port: HTTP/1.1, persistent connections, a thread a connection."""

import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SHUT_RDWR, socket
from typing import TYPE_CHECKING, Any, cast

from demo.options import DemoOptions
from demo.renderers import Renderers
from pipeline.config.check_params import check_block

if TYPE_CHECKING:
    from demo.plan import Site
    from demo.site import Response


class DemoServer(ThreadingHTTPServer):
    """Serves one site; `requests` counts the requests by path."""

    request_queue_size = 256
    # Closing waits for the threads, and `stop` shuts open connections down first: no thread remains.
    daemon_threads = False

    def __init__(self, site: "Site", port: int = 0, processes: int | None = None) -> None:
        super().__init__(("127.0.0.1", port), DemoHandler)
        self.renderers = Renderers(site, processes)
        self.requests: Counter[str] = Counter()
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._connections: set[socket] = set()

    @property
    def port(self) -> int:
        """The port."""
        return self.server_port

    @property
    def address(self) -> str:
        """`127.0.0.1:port`."""
        return f"127.0.0.1:{self.port}"

    def count_request(self, path: str) -> int:
        """Count one more request for the path; return the number before."""
        with self._lock:
            self.requests[path] += 1
            return self.requests[path] - 1

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection, so that `stop` can shut it down."""
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget the connection and close it."""
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that closed the connection, as a crawl does after its timeout; show any other error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def stop(self) -> None:
        """Stop the loop, every connection, every thread and every process."""
        self.stopping.set()
        self.shutdown()
        with self._lock:
            for connection in self._connections:
                try:
                    connection.shutdown(SHUT_RDWR)
                except OSError:  # the client was faster
                    continue
        self.server_close()
        self.renderers.close()


class DemoHandler(BaseHTTPRequestHandler):
    """Responds to GET and HEAD; writes no log."""

    protocol_version = "HTTP/1.1"
    server_version = "cabinet"
    # Header and body are sent in one write: in two, Nagle's algorithm and a delayed ACK cost 40 ms a request.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Send the site's response to the path."""
        server = cast(DemoServer, self.server)
        path = self.path.partition("?")[0]
        response = server.renderers.render(path, server.count_request(path))
        if response.delay and server.stopping.wait(response.delay):
            self.close_connection = True
            return
        self.send(response)

    def do_HEAD(self) -> None:
        """Send the same response without its body."""
        self.do_GET()

    def send(self, response: "Response") -> None:
        """Write a response, to a HEAD without its body."""
        self.send_response(response.status)
        for name, value in response.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Return a fixed date: no clock in anything that may be stored."""
        return "Thu, 01 Jan 1970 00:00:00 GMT"

    def log_message(self, *args: Any) -> None:
        """Write nothing."""


@contextmanager
def serve_site(site: "Site", port: int = 0, processes: int | None = None) -> Iterator[DemoServer]:
    """Serve the site on 127.0.0.1 while the block runs, on a free port unless one is given, with `Renderers`."""
    server = DemoServer(site, port, processes)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()


def serve(options: Mapping[str, Any], key: str) -> AbstractContextManager[str]:
    """Serve the site of some options: the function that `crawl.hosts` of `params.yaml` names.

    Args:
        options: The fields of `DemoOptions`; a missing one has its default.
        key: The options' full key in `params.yaml`.

    Returns:
        A context manager that yields the address, `127.0.0.1:port`. Nothing is planned before it is entered.

    Raises:
        ParamsError: An option is unknown or out of range; the message has its full key.
    """
    return _serve_options(check_block({key: options}, key, DemoOptions))


@contextmanager
def _serve_options(options: DemoOptions) -> Iterator[str]:
    from demo.plan import plan_site

    with serve_site(plan_site(options)) as server:
        yield server.address
