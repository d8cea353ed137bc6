"""Name files and items in the stage tables by where they came from, so that people find them again."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_PLAIN_URL = re.compile(r"https?://([\w.:-]+)/([\w/.~!$&'()*+,;=:@-]*)", re.ASCII)
"""URLs that have neither escapes nor a query; characters as in RFC 3986, section 3.3."""

PART_SUFFIX = r"(?s)(?:\.([0-9]+))?(/.*)?$"
"""What follows the name in a part: its number, and the segment of its file behind a slash. Languages and CSS selectors
have no such end."""

_ESCAPED = re.compile(rb"\\(?:\\|x([0-9a-f]{2})|u([0-9a-f]{4}))")


def name_item(row: Mapping[str, Any]) -> str:
    """Return `folder:animals/owl.png`, or `demo.test:things/owl.html#page`: unique, as (source, file, part) is."""
    part = f"#{row['part']}" if row["part"] else ""
    return f"{name_file(row['source'], row['file'])}{part}"


def name_part(name: str, number: int = 1, segment: str = "") -> str:
    """Return the part of an item: `caption`, `caption.2`, `caption.2/u7`; the part `` of the segment `u7` is `/u7`.

    Args:
        name: what all such parts of a file are called.
        number: the place of the item among those of its name and segment, from 1.
        segment: the name of the segment of its file; empty if the file has one.
    """
    return f"{name}{f'.{number}' if number > 1 else ''}{f'/{segment}' if segment else ''}"


def split_part(part: str) -> tuple[str, int, str]:
    """Return the name, the number and the segment in a part, the last with its slash."""
    suffix = re.search(PART_SUFFIX, part)
    assert suffix is not None, part
    return part[: suffix.start()], int(suffix[1] or 1), suffix[2] or ""


def name_file(source: str, file: str) -> str:
    """Return `folder:animals/cat.png`."""
    return f"{source}:{file}"


def name_url(url: str) -> tuple[str, str]:
    """Return the source and the file of a canonical URL: its host (with a port that is not the default) and its path.

    Escapes are decoded except those of a slash; a query is kept. The root of a host is the file `/`.
    """
    plain = _PLAIN_URL.fullmatch(url)
    return (plain[1], plain[2] or "/") if plain else name_any_url(url)


def name_any_url(url: str) -> tuple[str, str]:
    """Return what `name_url` does, in three times the time."""
    parts = urlsplit(url)
    segments = (unquote_to_bytes(segment).replace(b"/", b"%2F") for segment in parts.path[1:].split("/"))
    file = escape_name(b"/".join(segments)) or "/"
    return parts.netloc, f"{file}?{parts.query}" if parts.query else file


def escape_name(name: bytes) -> str:
    r"""Return a file name as text: bytes that are not UTF-8, control characters and backslashes are escaped.

    Two names never give the same text: `\xff` is one byte, `\\xff` four characters.
    """
    text = name.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")
    return _UNPRINTABLE.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}"


def unescape_name(text: str) -> bytes:
    """Return the file name that `escape_name` gives that text for."""
    raw = text.encode()
    return _ESCAPED.sub(_unescape, raw) if b"\\" in raw else raw


def _unescape(found: re.Match[bytes]) -> bytes:
    if found[1]:
        return bytes([int(found[1], 16)])
    return chr(int(found[2], 16)).encode() if found[2] else b"\\"
