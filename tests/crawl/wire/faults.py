"""The faults that a server may have, each with the reason for dropping its URL and the number of requests."""

import gzip
import zlib
from collections.abc import Callable
from itertools import chain, repeat

from tests.support.raw_server import RESET, Script

MAX_BYTES = 1 << 16
"""The limit of the responses."""

OK = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n"
PLAIN = OK + b"\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
BODY = b"\x89PNG\r\n\x1a\n" + bytes(92)
WHOLE_CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n64\r\n" + BODY + b"\r\n0\r\n\r\n"
ZIPPED = gzip.compress(BODY)
EMPTY_MEMBER = gzip.compress(b"")
BLOCK = bytes(1 << 16)
FAILED, BROKEN, LARGE, LATE, ERROR = "connection_failed", "truncated_body", "too_large", "timeout", "http_error"
MOVED = "redirect_refused"

Fault = tuple[Callable[[], Script], str | None, int]
"""What the server sends, why the URL is dropped (None: it is kept), and the number of requests."""


def once(*steps: bytes | float | str) -> Callable[[], Script]:
    """A script with an end."""
    return lambda: steps


def forever(first: bytes, *steps: bytes | float) -> Callable[[], Script]:
    """A script that repeats all but its first step."""
    return lambda: chain([first], chain.from_iterable(repeat(steps)))


def sized(body: bytes, *headers: bytes, length: int | None = None) -> bytes:
    """A response with Content-Length."""
    lines = b"".join(header + b"\r\n" for header in headers)
    return OK + lines + b"Content-Length: %d\r\n\r\n" % (len(body) if length is None else length) + body


def packed(body: bytes, encoding: bytes = b"gzip") -> Callable[[], Script]:
    """A response with Content-Encoding."""
    return once(sized(body, b"Content-Encoding: " + encoding))


def status(line: bytes, *headers: bytes) -> Callable[[], Script]:
    """A response without a body."""
    return once(
        b"HTTP/1.1 " + line + b"\r\n" + b"".join(header + b"\r\n" for header in headers) + b"Content-Length: 0\r\n\r\n"
    )


FAULTS: dict[str, Fault] = {
    # no response
    "closes": (once(), FAILED, 3),
    "resets": (once(RESET), FAILED, 3),
    "half a status line": (once(b"HTTP/1.1 2"), FAILED, 3),
    "half a header": (once(OK + b"Content-Le"), FAILED, 3),
    "resets within headers": (once(OK, RESET), FAILED, 3),
    "noise": (once(bytes(range(256))), FAILED, 3),
    "another protocol": (once(b"SSH-2.0-OpenSSH_9.2\r\n"), FAILED, 3),
    "a TLS alert": (once(b"\x15\x03\x01\x00\x02\x02\x28"), FAILED, 3),
    "a page without a head": (once(b"<html>hello</html>\r\n\r\n"), FAILED, 3),
    "a status of letters": (once(b"HTTP/1.1 abc OK\r\n\r\n"), FAILED, 3),
    "a status of two digits": (once(b"HTTP/1.1 20 OK\r\n\r\n"), FAILED, 3),
    "a status of four digits": (once(b"HTTP/1.1 2000 OK\r\n\r\n"), FAILED, 3),
    "lower case": (once(b"http/1.1 200 OK\r\n\r\n"), FAILED, 3),
    "a header without a colon": (once(OK + b"nonsense\r\n\r\n"), FAILED, 3),
    "a header without a name": (once(OK + b": value\r\n\r\n"), FAILED, 3),
    "a space before the colon": (once(OK + b"Content-Length : 3\r\n\r\nabc"), FAILED, 3),
    "a zero byte in a header": (once(OK + b"X: a\0b\r\n\r\n"), FAILED, 3),
    "a folded first header": (once(b"HTTP/1.1 200 OK\r\n folded\r\n\r\n"), FAILED, 3),
    "two lengths": (once(OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"), FAILED, 3),
    "a negative length": (once(OK + b"Content-Length: -1\r\n\r\n"), FAILED, 3),
    "a length of letters": (once(OK + b"Content-Length: many\r\n\r\n"), FAILED, 3),
    "a length of 30 digits": (once(OK + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n"), FAILED, 3),
    "an unknown transfer encoding": (once(OK + b"Transfer-Encoding: gzip\r\n\r\n"), FAILED, 3),
    "chunked twice": (once(OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n"), FAILED, 3),
    "another protocol from here on": (once(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"), FAILED, 3),
    "an early hint and no more": (once(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"), FAILED, 3),
    # too much of it
    "a flood of 1xx": (forever(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 99), LARGE, 1),
    "a flood of large 1xx": (forever(b"", b"HTTP/1.1 103 Hi\r\nLink: " + b"a" * 9999 + b"\r\n\r\n"), LARGE, 1),
    "an endless status line": (forever(b"HTTP/1.1 200 O", b"K" * 9999), LARGE, 1),
    "an endless header": (forever(OK + b"X: ", b"a" * 9999), LARGE, 1),
    "endless headers": (forever(OK, b"X: a\r\n" * 999), LARGE, 1),
    "a body beyond the limit": (once(sized(bytes(MAX_BYTES + 1))), LARGE, 1),
    "a length beyond the limit": (forever(sized(b"", length=1 << 40), BLOCK), LARGE, 1),
    "an endless body": (forever(PLAIN, BLOCK), LARGE, 1),
    "endless chunks": (forever(CHUNKED, b"10000\r\n" + BLOCK + b"\r\n"), LARGE, 1),
    "an endless chunk": (forever(CHUNKED + b"fffffffffffffff\r\n", BLOCK), LARGE, 1),
    "an endless chunk size": (forever(CHUNKED, b"0" * 9999), LARGE, 1),
    "an endless chunk extension": (forever(CHUNKED + b"1;", b"a" * 9999), LARGE, 1),
    "chunks of extensions": (forever(CHUNKED, (b"1;" + b"e" * 999 + b"\r\na\r\n") * 9), LARGE, 1),
    "chunks of one byte": (forever(CHUNKED, b"1\r\na\r\n" * 999), LARGE, 1),
    "endless trailers": (forever(CHUNKED + b"0\r\n", b"X: a\r\n" * 999), LARGE, 1),
    "an endless trailer": (forever(CHUNKED + b"0\r\nX: ", b"a" * 9999), LARGE, 1),
    "a bomb": (packed(gzip.compress(bytes(50 << 20))), LARGE, 1),
    "a bomb of members": (packed(gzip.compress(bytes(1 << 16)) * 9), LARGE, 1),
    "endless empty members": (forever(OK + b"Content-Encoding: gzip\r\n\r\n", EMPTY_MEMBER * 999), LARGE, 1),
    "endless padding": (forever(OK + b"Content-Encoding: gzip\r\n\r\n" + ZIPPED, BLOCK), LARGE, 1),
    # too slow
    "silence": (once(99.0), LATE, 1),
    "silence within a header": (once(OK + b"X: ", 99.0), LATE, 1),
    "silence within a body": (once(sized(b"abc", length=9), 99.0), LATE, 1),
    "silence within a chunk size": (once(CHUNKED + b"1", 99.0), LATE, 1),
    "silence before the last chunk": (once(CHUNKED + b"1\r\na\r\n", 99.0), LATE, 1),
    "dripping 1xx": (forever(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.1), LATE, 1),
    "dripping headers": (forever(OK, b"X: a\r\n", 0.1), LATE, 1),
    "a dripping header": (forever(OK + b"X: ", b"a", 0.1), LATE, 1),
    "a dripping body": (forever(PLAIN, b"a", 0.1), LATE, 1),
    "dripping chunks": (forever(CHUNKED, b"1\r\na\r\n", 0.1), LATE, 1),
    "a dripping extension": (forever(CHUNKED + b"1;", b"a", 0.1), LATE, 1),
    "dripping trailers": (forever(CHUNKED + b"0\r\n", b"X: a\r\n", 0.1), LATE, 1),
    # a body that breaks
    "a short body": (once(sized(BODY, length=999)), BROKEN, 3),
    "resets within the body": (once(sized(BODY, length=999), RESET), BROKEN, 3),
    "no last chunk": (once(CHUNKED + b"1\r\na\r\n"), BROKEN, 3),
    "half a chunk": (once(CHUNKED + b"ff\r\na"), BROKEN, 3),
    "half a chunk size": (once(CHUNKED + b"f"), BROKEN, 3),
    "a chunk size of letters": (once(CHUNKED + b"xyz\r\na\r\n"), BROKEN, 3),
    "a negative chunk size": (once(CHUNKED + b"-1\r\na\r\n"), BROKEN, 3),
    "a chunk that is too long": (once(CHUNKED + b"1\r\nabc\r\n0\r\n\r\n"), BROKEN, 3),
    "half a trailer": (once(CHUNKED + b"0\r\nX: a"), BROKEN, 3),
    "a bad trailer": (once(CHUNKED + b"0\r\nnonsense\r\n\r\n"), BROKEN, 3),
    "damaged gzip": (packed(ZIPPED[:-9] + b"?" + ZIPPED[-8:]), BROKEN, 3),
    "a wrong checksum": (packed(ZIPPED[:-8] + bytes(8)), BROKEN, 3),
    "half of gzip": (packed(ZIPPED[:-5]), BROKEN, 3),
    "a head of gzip": (packed(ZIPPED[:8]), BROKEN, 3),
    "no gzip": (packed(BODY), BROKEN, 3),
    "half a second member": (packed(ZIPPED + ZIPPED[:-5]), BROKEN, 3),
    "a damaged second member": (packed(ZIPPED + ZIPPED[:-8] + bytes(8)), BROKEN, 3),
    "noise after gzip": (packed(ZIPPED + b"noise"), BROKEN, 3),
    "half of deflate": (packed(zlib.compress(BODY)[:-5], b"deflate"), BROKEN, 3),
    # encodings and statuses
    "brotli": (packed(BODY, b"br"), ERROR, 1),
    "zstandard": (packed(BODY, b"zstd"), ERROR, 1),
    "gzip in gzip": (packed(gzip.compress(ZIPPED), b"gzip, gzip"), ERROR, 1),
    "two encodings": (once(sized(ZIPPED, b"Content-Encoding: gzip", b"Content-Encoding: gzip")), ERROR, 1),
    "204": (status(b"204 No Content"), ERROR, 1),
    "206": (once(b"HTTP/1.1 206 Partial Content\r\nContent-Length: 3\r\n\r\nabc"), ERROR, 1),
    "304": (status(b"304 Not Modified"), ERROR, 1),
    "404": (status(b"404 Not Found"), ERROR, 1),
    "404 with an endless body": (forever(b"HTTP/1.1 404 Not Found\r\n\r\n", BLOCK), ERROR, 1),
    "500": (status(b"500 Oh"), ERROR, 3),
    "503": (status(b"503 Oh"), ERROR, 3),
    "429": (status(b"429 Slower"), ERROR, 3),
    "599": (status(b"599 Oh"), ERROR, 3),
    "a redirect to nowhere": (status(b"302 Found"), ERROR, 1),
    "a redirect to a file": (status(b"302 Found", b"Location: file:///etc/passwd"), MOVED, 1),
    "a redirect with an endless body": (forever(b"HTTP/1.1 302 Found\r\nLocation: ftp://a\r\n\r\n", BLOCK), MOVED, 1),
    # strange, and fine
    "a length and chunks": (once(OK + b"Content-Length: 3\r\n" + WHOLE_CHUNKED), None, 1),
    "the same length twice": (once(sized(BODY, b"Content-Length: 100")), None, 1),
    "HTTP/1.0": (once(b"HTTP/1.0 200 OK\r\nContent-Type: image/png\r\n\r\n" + BODY), None, 1),
    "no length": (once(PLAIN + BODY), None, 1),
    "no reason": (once(b"HTTP/1.1 200\r\nContent-Length: 100\r\n\r\n" + BODY), None, 1),
    "line feeds alone": (once(b"HTTP/1.1 200 OK\nContent-Length: 100\n\n" + BODY), None, 1),
    "some 1xx": (once(b"HTTP/1.1 100 Continue\r\n\r\n" * 9 + sized(BODY)), None, 1),
    "more than its length": (once(sized(BODY) + sized(b"smuggled")), None, 1),
    "extensions and trailers": (once(CHUNKED + b"64;a=b\r\n" + BODY + b"\r\n0\r\nX: a\r\n\r\n"), None, 1),
    "two members": (packed(gzip.compress(BODY[:50]) + gzip.compress(BODY[50:])), None, 1),
    "padded gzip": (packed(ZIPPED + bytes(512)), None, 1),
    "deflate": (packed(zlib.compress(BODY), b"deflate"), None, 1),
    "as large as the limit": (once(sized(BODY + bytes(MAX_BYTES - len(BODY)))), None, 1),
}  # fmt: skip
