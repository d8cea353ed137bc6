"""Serves generated images on loopback with as little work as can be: what is measured is who asks for them.

    python -m benchmarks.support.image_server FOLDER

Prints its port, serves the files of FOLDER by name over HTTP/1.1 with connections that stay open, and ends when its
standard input does. A file's ETag is its size and time; a request that has it is answered by a 304. `/bytes-sent` is
the number of bytes that were sent before, with those of headers.
"""

import asyncio
import sys
from pathlib import Path


class Sent:
    """Counts the bytes of all connections."""

    count = 0


class Image(asyncio.Protocol):
    """A connection: a request a header block, an answer a request."""

    def __init__(self, folder: Path, sent: Sent) -> None:
        self._folder = folder
        self._sent = sent
        self._waiting = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *requests, self._waiting = (self._waiting + data).split(b"\r\n\r\n")
        for request in requests:
            answer = self._answer(request.split(b" ", 2)[1].decode().rsplit("/", 1)[-1], request)
            self._sent.count += len(answer)
            self._transport.write(answer)

    def _answer(self, name: str, request: bytes) -> bytes:
        path = self._folder / name
        if name == "bytes-sent":
            return _format("200 OK", "text/plain", str(self._sent.count).encode())
        if not path.is_file():
            return _format("404 Not Found", "text/plain", b"")
        status = path.stat()
        tag = f'"{status.st_size:x}-{status.st_mtime_ns:x}"'
        if tag.encode() in request:
            return f"HTTP/1.1 304 Not Modified\r\nETag: {tag}\r\n\r\n".encode()
        return _format("200 OK", f"image/jpeg\r\nETag: {tag}", path.read_bytes())


def _format(status: str, media_type: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def serve(folder: Path) -> None:
    """Serve until standard input is closed."""
    loop = asyncio.get_running_loop()
    sent = Sent()
    server = await loop.create_server(lambda: Image(folder, sent), "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
