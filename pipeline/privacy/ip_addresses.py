"""Find IPv4 and IPv6 addresses, in linear time."""

import re
from ipaddress import AddressValueError, IPv6Address

from pipeline.privacy.letters import LATIN, LATIN_DIGITS
from pipeline.privacy.spans import Span, join_spans

_DOT = "[.．]"
_NO_LETTER = rf"{LATIN}{LATIN_DIGITS}_"
_IPV4 = re.compile(
    rf"(?<![{_NO_LETTER}])(?<![{_NO_LETTER}][.．-])(\d{{1,3}}){_DOT}(\d{{1,3}}){_DOT}(\d{{1,3}}){_DOT}(\d{{1,3}})"
    rf"(?![{_NO_LETTER}]|{_DOT}\d|-\d)"
)
_IPV6 = re.compile(rf"(?<![{_NO_LETTER}:.])(?:[0-9A-Fa-f]{{0,4}}:){{2,8}}[0-9A-Fa-f.]{{0,15}}(?![{_NO_LETTER}:])")

_VERSION_WORDS = re.compile(
    r"(?:version|versión|versione|версия|ver[.]|release|build|section|chapter|clause|§|oid|rev|版本|バージョン|버전)"
    r"[ .:：]{0,2}\Z",
    re.IGNORECASE,
)
WORD_CHARACTERS = 12
"""Of the longest match of `_VERSION_WORDS`."""

SECTION = 10
"""Numbers of sections and versions (`1.2.3.4`) have no part as large as this; addresses of persons nearly always do."""

MIN_HEX_DIGITS = 4
"""Of an IPv6 address: `a::b` is C++."""


def find_ip_addresses(text: str) -> list[Span]:
    """Return the spans of addresses, but for loopback, net masks, numbers of versions and sections."""
    spans: list[Span] = []
    if "." in text or "．" in text:
        spans += [match.span() for match in _IPV4.finditer(text) if _is_ipv4(match)]
    if text.count(":") > 1:
        spans += [_trim(match) for match in _IPV6.finditer(text) if _is_ipv6(match[0].rstrip("."))]
    return join_spans(spans)


def _is_ipv4(match: re.Match[str]) -> bool:
    parts = [int(part) for part in match.groups()]
    if max(parts) > 255 or max(parts) < SECTION or parts[0] in (0, 127) or parts[:2] == [255, 255]:
        return False
    start = match.start()
    return not _VERSION_WORDS.search(match.string, max(0, start - WORD_CHARACTERS), start)


def _trim(match: re.Match[str]) -> Span:
    """Return a span without the full stop of its sentence."""
    return match.start(), match.start() + len(match[0].rstrip("."))


def _is_ipv6(text: str) -> bool:
    digits = [char for char in text if char.isalnum()]
    if len(digits) < MIN_HEX_DIGITS or not any(char.isdigit() for char in digits):
        return False
    try:
        return not IPv6Address(text).is_loopback
    except AddressValueError:
        return False
