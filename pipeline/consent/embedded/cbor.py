"""Decode CBOR (RFC 8949) within bounds: what C2PA assertions are written in. Pure."""

import struct
from typing import Any

MAX_DEPTH = 16
MAX_ITEMS = 10_000
"""Of one document. Assertions have some ten items, three deep."""

_FLOATS = {25: (">e", 2), 26: (">f", 4), 27: (">d", 8)}
_SIMPLE = {20: False, 21: True, 22: None, 23: None}
_BREAK = object()


class CborError(ValueError):
    """The bytes are no CBOR, or more than is decoded."""


def decode_cbor(data: bytes) -> Any:
    """Return the first item: dict, list, str, bytes, int, float, bool or None; the tag of a tagged item is left out.

    Raises:
        CborError: it is not well-formed, or has more items or depth than is decoded.
    """
    return _Decoder(data).decode(0)


class _Decoder:
    """Reads items from bytes, one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = self._items = 0

    def decode(self, depth: int) -> Any:
        self._items += 1
        if depth > MAX_DEPTH or self._items > MAX_ITEMS:
            raise CborError("more items or depth than is decoded")
        first = self._take(1)[0]
        major, info = first >> 5, first & 31
        if major == 7:
            return self._decode_simple(info)
        if info == 31 and major in (2, 3, 4, 5):
            return self._decode_endless(major, depth)
        number = self._read_number(info)
        if major in (0, 1):
            return number if major == 0 else -1 - number
        if major in (2, 3):
            return self._decode_string(major, number)
        if major == 4:
            return [self._decode_item(depth) for _ in range(number)]
        if major == 5:
            return dict(self._decode_pair(depth) for _ in range(number))
        return self._decode_item(depth)

    def _decode_item(self, depth: int) -> Any:
        item = self.decode(depth + 1)
        if item is _BREAK:
            raise CborError("a break where an item must be")
        return item

    def _decode_pair(self, depth: int) -> tuple[Any, Any]:
        key = self._decode_item(depth)
        value = self._decode_item(depth)
        return (key if isinstance(key, (str, int, bytes, float)) else str(key)), value

    def _decode_endless(self, major: int, depth: int) -> Any:
        """Decode a string, list or map of unknown length, which a break ends."""
        items = []
        while (item := self.decode(depth + 1)) is not _BREAK:
            items.append(item)
        if major == 4:
            return items
        if major == 5:
            if len(items) % 2:
                raise CborError("a map with a key without a value")
            return {str(key): value for key, value in zip(items[::2], items[1::2], strict=True)}
        kind = bytes if major == 2 else str
        if not all(isinstance(item, kind) for item in items):
            raise CborError("a string of other parts than strings")
        return kind().join(items)

    def _decode_string(self, major: int, size: int) -> Any:
        content = self._take(size)
        return content if major == 2 else content.decode("utf-8", "replace")

    def _decode_simple(self, info: int) -> Any:
        if info == 31:
            return _BREAK
        if info in _FLOATS:
            form, size = _FLOATS[info]
            return struct.unpack(form, self._take(size))[0]
        if info == 24:
            self._take(1)
        return _SIMPLE.get(info)

    def _read_number(self, info: int) -> int:
        if info < 24:
            return info
        if info > 27:
            raise CborError("a length that CBOR does not have")
        return int.from_bytes(self._take(1 << (info - 24)), "big")

    def _take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        if len(taken) < size:
            raise CborError("ends early")
        self._at += size
        return taken
