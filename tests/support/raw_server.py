"""Serve exact bytes on loopback, for tests of what a broken or hostile server may send."""

import socket
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress

RESET = "reset"
"""In a script: break the connection without a goodbye, at its end."""

Script = Iterable[bytes | float | str]
"""What is sent in answer to one request: bytes, seconds to wait, or `RESET`. May have no end."""

NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class RawServer:
    """Answers each request with the script of its path, and closes the connection.

    With `kept` it stays open after the answer, and is closed when another request comes.

    Attributes:
        times: By path, the moment of each request.
        held: By path, the seconds of each request until its connection was closed.
    """

    def __init__(self, scripts: Mapping[str, Callable[[], Script]], kept: bool = False) -> None:
        self._scripts = scripts
        self._kept = kept
        self.times: defaultdict[str, list[float]] = defaultdict(list)
        self.held: defaultdict[str, list[float]] = defaultdict(list)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._closing = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def address(self) -> str:
        """`127.0.0.1:port`."""
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        """Stop, and end all scripts that wait."""
        self._closing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed
                return
            thread = threading.Thread(target=self._answer, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            path = self._read_request(connection)
            if path is None:
                return
            start = time.monotonic()
            with suppress(OSError):  # the client has closed the connection
                self._play(connection, self._scripts.get(path, lambda: [NOT_FOUND])())
            self.held[path].append(time.monotonic() - start)
            if self._kept:
                self._read_request(connection)

    def _read_request(self, connection: socket.socket) -> str | None:
        path = _read_path(connection)
        if path is not None:
            self.times[path].append(time.monotonic())
        return path

    def _play(self, connection: socket.socket, script: Script) -> None:
        for step in script:
            if isinstance(step, bytes):
                connection.sendall(step)
            elif step == RESET:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif _wait_for_end(connection, float(step), self._closing):
                return


def _wait_for_end(connection: socket.socket, seconds: float, closing: threading.Event) -> bool:
    """Wait; return whether the client has closed the connection, or the server is closing."""
    ends = time.monotonic() + seconds
    while (left := ends - time.monotonic()) > 0 and not closing.is_set():
        connection.settimeout(min(left, 0.1))
        try:
            if not connection.recv(1):
                return True
        except TimeoutError:
            continue
        finally:
            connection.settimeout(None)
    return closing.is_set()


def _read_path(connection: socket.socket) -> str | None:
    received = b""
    while b"\r\n\r\n" not in received:
        try:
            data = connection.recv(4096)
        except OSError:
            return None
        if not data:
            return None
        received += data
    return received.split(b" ", 2)[1].decode()


@contextmanager
def serve_raw(scripts: Mapping[str, Callable[[], Script]], kept: bool = False) -> Iterator[RawServer]:
    """Serve scripts by path; 404 for others. `kept`: see `RawServer`."""
    server = RawServer(scripts, kept)
    try:
        yield server
    finally:
        server.close()
