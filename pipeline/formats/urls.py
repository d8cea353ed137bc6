"""Bring URLs into canonical form, so that nothing is fetched twice and provenance is the same in every run. Pure.

The canonical form follows RFC 3986, section 6.2 (case, percent-encoding, dot segments, default port) and the WHATWG URL
Standard where that defines what a browser would fetch (backslashes, numeric hosts such as `127.1`), and removes
fragments and a host's trailing dot. It is a fixed point: the canonical form of a canonical URL is itself.
"""

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from urllib.parse import urljoin, urlsplit

MAX_URL_CHARACTERS = 2000
"""Longer ones are refused. The usual limit of servers and sitemaps (sitemaps.org: fewer than 2,048)."""

CACHED = 1024
"""URLs whose parts are cached: each is split some ten times while it is fetched."""

DEFAULT_PORTS = {"http": 80, "https": 443}

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})|([^A-Za-z0-9._~-])", re.DOTALL)
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_PATH_SAFE = frozenset("/!$&'()*+,;=:@")
_QUERY_SAFE = _PATH_SAFE | {"?"}


class BadUrl(Exception):  # noqa: N818 - a verdict on data, caught where the URL came from
    """The text is not a URL that is fetched; the message is the detail of the dropped row."""


def canonicalize_url(text: str, base: str | None = None) -> str:
    """Return the canonical form of `text`: an `http` or `https` URL, or a reference relative to the canonical `base`.

    Raises:
        BadUrl: it is not such a URL, has credentials or control characters, or is longer than 2,000 characters.
    """
    text = text.strip(" \t\r\n\f")
    if len(text) > MAX_URL_CHARACTERS:
        raise BadUrl(f"longer than {MAX_URL_CHARACTERS} characters")
    if _CONTROLS.search(text):
        raise BadUrl("it has control characters")
    try:
        parts = urlsplit(_join(text, base))
        port = parts.port
    except ValueError:  # unbalanced brackets, a port that is not a number
        raise BadUrl("its host or port is not valid") from None
    if parts.scheme not in DEFAULT_PORTS:
        raise BadUrl("its scheme is neither http nor https")
    if "@" in parts.netloc:
        raise BadUrl("it has credentials")
    host = _canonicalize_host(parts.hostname or "")
    if port == 0:
        raise BadUrl("its port is 0")
    shown_port = "" if port in (None, DEFAULT_PORTS[parts.scheme]) else f":{port}"
    path = _remove_dot_segments(_encode(parts.path, _PATH_SAFE)) or "/"
    query = f"?{_encode(parts.query, _QUERY_SAFE)}" if parts.query else ""
    url = f"{parts.scheme}://{host}{shown_port}{path}{query}"
    if len(url) > MAX_URL_CHARACTERS:
        raise BadUrl(f"longer than {MAX_URL_CHARACTERS} characters")
    return url


def has_other_scheme(reference: str) -> bool:
    """Return whether a link has a scheme other than http and https (mailto, data, javascript), so is not fetched."""
    scheme = _SCHEME.match(reference.strip())
    return scheme is not None and scheme[1].lower() not in DEFAULT_PORTS


def redact_url(text: str) -> str:
    """Return a bad URL as a key of a dropped row: without credentials, controls escaped, cut to 200 characters.

    Credentials are found however the slashes before them are spelled: `http:me:secret@host` has some too. The mark in
    their place cannot be part of a canonical URL, so the key is never that of the good URL without them.
    """
    text = re.sub(r"[^/\\?#]*@", "[…]@", text.strip())
    text = _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return text if len(text) <= 200 else text[:199] + "…"


@lru_cache(CACHED)
def find_site(url: str) -> str:
    """Return host, and port if it is not the default: the site whose limits and robots.txt a canonical URL obeys."""
    return urlsplit(url).netloc


@lru_cache(CACHED)
def find_host(url: str) -> tuple[str, int]:
    """Return host and port of a canonical URL, an IPv6 address without its brackets."""
    parts = urlsplit(url)
    assert parts.hostname is not None, url
    return parts.hostname, parts.port or DEFAULT_PORTS[parts.scheme]


@lru_cache(CACHED)
def find_origin(url: str) -> str:
    """Return the URL of the root of a canonical URL's scheme, host and port."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/"


def _join(text: str, base: str | None) -> str:
    head, mark, tail = re.split(r"([?#]|$)", text, maxsplit=1)
    text = head.replace("\\", "/") + mark + tail
    return urljoin(base, text) if base else text


def _canonicalize_host(host: str) -> str:
    if ":" in host:
        try:
            return f"[{IPv6Address(host)}]" if "%" not in host else _refuse_host()
        except AddressValueError:
            return _refuse_host()
    name = _encode_idna(host).removesuffix(".")
    labels = name.split(".")
    if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", labels[-1]):
        return str(_parse_ipv4(labels))
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        _refuse_host()
    return name


def _refuse_host() -> str:
    raise BadUrl("its host is not a valid name or address")


def _encode_idna(host: str) -> str:
    if host.isascii():
        return host.lower()
    import idna

    try:
        return idna.encode(host, uts46=True).decode("ascii").lower()
    except idna.IDNAError:
        return _refuse_host()


def _parse_ipv4(labels: list[str]) -> IPv4Address:
    """Parse numeric hosts: `127.1`, `0x7f.1`, `0177.0.0.1`, `2130706433` are 127.0.0.1 (WHATWG URL Standard, 3.5)."""
    if len(labels) > 4:
        _refuse_host()
    try:
        numbers = [_parse_number(label) for label in labels]
    except ValueError:
        _refuse_host()
    *bytes_, last = numbers
    if any(byte > 255 for byte in bytes_) or last >= 256 ** (5 - len(numbers)):
        _refuse_host()
    return IPv4Address(last + sum(byte << 8 * (3 - position) for position, byte in enumerate(bytes_)))


def _parse_number(label: str) -> int:
    if not label.isalnum():
        raise ValueError("int() would take signs and underscores")
    if label.startswith("0x"):
        return int(label[2:] or "0", 16)
    return int(label, 8 if label.startswith("0") and label != "0" else 10)


def _encode(text: str, safe: frozenset[str]) -> str:
    """Decode escapes of unreserved characters, write other escapes in upper case, and escape all else unsafe."""

    def encode_match(found: re.Match[str]) -> str:
        escape, character = found[1], found[2]
        if escape is not None:
            plain = chr(int(escape, 16))
            return plain if plain in _UNRESERVED else f"%{escape.upper()}"
        return character if character in safe else "".join(f"%{byte:02X}" for byte in character.encode())

    return _ESCAPE.sub(encode_match, text)


def _remove_dot_segments(path: str) -> str:
    result: list[str] = []
    segments = path.split("/")
    for segment in segments:
        if segment == "..":
            del result[max(1, len(result) - 1) :]
        elif segment != ".":
            result.append(segment)
    if segments[-1] in (".", ".."):
        result.append("")
    return "/".join(result)
