"""Find numbers of payment cards: by the digits that card networks begin with, the groups of digits on cards, and the
check digit of Luhn (ISO/IEC 7812-1, annex B)."""

import re
from collections.abc import Iterator

from pipeline.privacy.letters import DASHES, LATIN
from pipeline.privacy.spans import Span

_RUN = re.compile(rf"(?<![{LATIN}\d_])(?<![\d][.,/{DASHES}])\d{{1,19}}+(?:[ {DASHES}]\d{{1,19}}+)*+(?![{LATIN}\d_])")
_GROUP = re.compile(r"\d+")
_NO_CARD_BEFORE = re.compile(r"[#=/№]\Z|(?:isbn|ean|gtin|imei|order|ticket|tracking)[ :.#]{0,3}\Z", re.IGNORECASE)
BEFORE_CHARACTERS = 12
"""Of the longest match of `_NO_CARD_BEFORE`."""

_NETWORKS = re.compile(
    r"4\d{15}(?:\d{3})?"  # Visa
    r"|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}"  # Mastercard
    r"|3[47]\d{13}"  # American Express
    r"|3(?:0[0-5]|[68]\d)\d{11}"  # Diners Club
    r"|(?:6011|64[4-9]\d|65\d\d)\d{12}"  # Discover
    r"|35(?:2[89]|[3-8]\d)\d{12}"  # JCB
    r"|62\d{14,17}"  # UnionPay
    r"|(?:5018|5020|5038|5893|6304|6759|676[1-3])\d{8,15}"  # Maestro
    r"|220[0-4]\d{12}"  # Mir
)
"""ISO/IEC 7812 issuer ranges, as the networks publish them."""

_GROUPINGS = frozenset(
    {(4, 4, 4, 4), (4, 4, 4, 4, 3), (4, 6, 5), (4, 6, 4), (4, 4, 4, 2), (6, 13), (4, 4, 5), (4, 4, 4)}
)
"""Digits a group, as they stand on cards. In a list of numbers other groups are chance."""

MIN_DIGITS = 12
MAX_GROUPS = max(map(len, _GROUPINGS))


def find_cards(text: str, strict: bool = False) -> Iterator[Span]:
    """Yield the spans of card numbers; with `strict` only of those in groups.

    All groups of digits between spaces or dashes have to be card numbers, but for one at the end (a security code, the
    month of `12/29`): in a row of numbers of four digits some four are a card number by chance.
    """
    for match in _RUN.finditer(text):
        long = match.end() - match.start() >= MIN_DIGITS
        if long and not _NO_CARD_BEFORE.search(text, max(0, match.start() - BEFORE_CHARACTERS), match.start()):
            yield from _divide(text, [part.span() for part in _GROUP.finditer(text, *match.span())], strict)


def _divide(text: str, groups: list[Span], strict: bool) -> list[Span]:
    """Return the card numbers that a run of groups of digits is made of; none where it is not."""
    found: list[Span] = []
    first = 0
    while first < len(groups):
        last = _match_card(text, groups, first, strict)
        if last is None:
            return found if found and groups[first:] == groups[-1:] else []
        found.append((groups[first][0], groups[last - 1][1]))
        first = last
    return found


def _match_card(text: str, groups: list[Span], first: int, strict: bool) -> int | None:
    """Return the group after the last one of a card number that begins with group `first`."""
    for last in range(min(len(groups), first + MAX_GROUPS), first, -1):
        lengths = tuple(end - start for start, end in groups[first:last])
        if (len(lengths) == 1 and not strict) or lengths in _GROUPINGS:
            number = "".join(str(int(char)) for start, end in groups[first:last] for char in text[start:end])
            if _NETWORKS.fullmatch(number) and has_luhn_digit(number):
                return last
    return None


def has_luhn_digit(number: str) -> bool:
    """Return whether the last digit is the check digit of the others."""
    total = 0
    for place, digit in enumerate(map(int, reversed(number))):
        total += digit if place % 2 == 0 else digit * 2 - 9 * (digit > 4)
    return total % 10 == 0
