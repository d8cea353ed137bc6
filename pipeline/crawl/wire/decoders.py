"""Undo the content encoding of a body in small pieces. Pure."""

import zlib
from collections.abc import Iterator
from typing import Protocol

PIECE_BYTES = 256 << 10
"""Largest piece: a body that decompresses to a thousand times its size is noticed after one of them."""


class Decoder(Protocol):
    """Decodes a body that comes in chunks."""

    @property
    def at_end(self) -> bool:
        """Whether the body may end here."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the next chunk decoded, in pieces of at most `PIECE_BYTES`."""


class Plain:
    """Returns bytes unchanged."""

    at_end = True

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the chunk."""
        yield data


class Zlib:
    """Decodes gzip and zlib, all members of a gzip file one after another (RFC 1952, section 2.2)."""

    def __init__(self) -> None:
        self._member = _start_member()

    @property
    def at_end(self) -> bool:
        """Whether a member has just ended."""
        return self._member.eof

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the next pieces; zeros between and behind members are padding, as for Python's and GNU's gzip.

        Raises:
            zlib.error: the data are damaged, or something else follows a member.
        """
        while data:
            if self._member.eof:
                data = data.lstrip(b"\0")
                if not data:
                    return
                self._member = _start_member()
            yield self._member.decompress(data, PIECE_BYTES)
            data = self._member.unconsumed_tail or self._member.unused_data


def _start_member() -> "zlib._Decompress":
    return zlib.decompressobj(32 + zlib.MAX_WBITS)  # 32: detect gzip and zlib headers


def find_decoder(encoding: str) -> Decoder | None:
    """Return a decoder for the value of a Content-Encoding header in lower case, or None if there is none.

    Requests ask for plain bytes; some servers compress all the same.
    """
    if encoding in ("", "identity"):
        return Plain()
    return Zlib() if encoding in ("gzip", "x-gzip", "deflate") else None
