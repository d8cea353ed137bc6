"""Serves generated images on loopback with as little work as can be: what is measured is who asks for them.

    python -m benchmarks.support.image_server FOLDER

Prints its port, serves the files of FOLDER by name over HTTP/1.1 with connections that stay open, and ends when its
standard input does.
"""

import asyncio
import sys
from pathlib import Path


class Image(asyncio.Protocol):
    """A connection: a request a header block, an answer a request."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *requests, self._waiting = (self._waiting + data).split(b"\r\n\r\n")
        for request in requests:
            self._answer(request.split(b" ", 2)[1].decode().rsplit("/", 1)[-1])

    def _answer(self, name: str) -> None:
        path = self._folder / name
        body = path.read_bytes() if path.is_file() else None
        head = "HTTP/1.1 404 Not Found\r\n" if body is None else "HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n"
        body = body or b""
        self._transport.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)


async def serve(folder: Path) -> None:
    """Serve until standard input is closed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Image(folder), "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
