"""Match paths against the patterns of robots.txt: `*` is any text, `$` at the end is the end.

RFC 9309, section 2.2.2 and 2.2.3; the same patterns are used by AIPREF, TDMRep, RSL and ai.txt.
"""

import re
from urllib.parse import urlsplit

_ENCODED = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")
_UNSAFE = re.compile(r"[^!-~]")


def normalize_path(url: str) -> str:
    """Return the path and query of a URL in the form that patterns are matched against: `*` and `$` are encoded."""
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return _normalize(path).replace("*", "%2A").replace("$", "%24")


def normalize_pattern(pattern: str) -> str:
    """Return a pattern with its octets encoded as those of a path; one without a first slash gets it."""
    end = "$" if pattern.endswith("$") else ""
    text = _normalize(pattern.removesuffix("$")).replace("$", "%24")
    return (text if text.startswith(("/", "*")) else f"/{text}") + end


def _normalize(text: str) -> str:
    """Decode unreserved characters, encode what is not printable ASCII, and write hexadecimal digits in capitals."""
    encoded = _UNSAFE.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "replace")), text)
    return _ENCODED.sub(_normalize_octet, encoded)


def _normalize_octet(found: re.Match[str]) -> str:
    character = chr(int(found[1], 16))
    return character if _UNRESERVED.fullmatch(character) else found[0].upper()


def matches_path(pattern: str, path: str) -> bool:
    """Return whether a normalized pattern matches a normalized path. Each part is searched once, so no pattern is slow.

    >>> matches_path("/a*.jpg$", "/abc.jpg")
    True
    """
    head, *parts = pattern.removesuffix("$").split("*")
    if not path.startswith(head):
        return False
    at = len(head)
    if not parts:
        return not pattern.endswith("$") or at == len(path)
    *middle, last = parts
    for part in middle:
        found = path.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    if pattern.endswith("$"):
        return path.endswith(last) and len(path) - len(last) >= at
    return path.find(last, at) >= 0


def match_location(location: str, url: str) -> int:
    """Return the length of the pattern if a location, a pattern or a whole URL with one as its path, matches the URL;
    -1 where it does not."""
    parts = _split(location)
    if parts is None:
        return -1
    host, path = parts
    if host and host != urlsplit(url).netloc.lower():
        return -1
    pattern = normalize_pattern(path)
    return len(pattern) if matches_path(pattern, normalize_path(url)) else -1


def _split(location: str) -> tuple[str, str] | None:
    """Return the host of a location, empty where it names none, and its pattern; None for what is no URL."""
    location = location.strip()
    if "://" not in location:
        return "", location
    try:
        parts = urlsplit(location)
    except ValueError:
        return None
    return parts.netloc.lower(), (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
