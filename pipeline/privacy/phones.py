"""Tell phone numbers from other numbers, by what surrounds them and how they are written."""

import re
from collections.abc import Iterator
from functools import partial

from pipeline.privacy.digit_runs import MAX_DIGITS, Candidate, find_candidates
from pipeline.privacy.letters import DASHES, SPACED
from pipeline.privacy.phone_regions import is_assigned, is_international, is_national
from pipeline.privacy.phone_words import follows_noun, follows_verb
from pipeline.privacy.spans import Span

_MONEY = "$€£¥￥₹₩₽฿₫"

_BEFORE = re.compile(rf"(?:[{SPACED}\d_+./=\#{_MONEY}{DASHES}№]|[{_MONEY}№][ ]|IS[BS]N[:：]?[ ]?)\Z")
_AFTER = re.compile(rf"[{SPACED}\d_%％{_MONEY}]")
_ORDER = re.compile(
    r"(?:order|invoice|ticket|bestellung|rechnung|commande|facture|pedido|заказ|订单|注文)[ .:#№]{0,3}\Z", re.I
)
_DECIMAL = re.compile(r"\d{1,3}\.\d+")
_AFTER_DECIMAL = re.compile(r"\d\.\d{2,12}°?[NSEW]?[,;][ ]?\Z")
_UNIT = re.compile("[年月日元円圆圓億亿万萬千百人个個件名米度℃]")
_DATE = re.compile(
    r"(?:\d\d?([./-])\d\d?\1(?:\d\d)?\d\d|\d{4}([./-])\d\d?\2\d\d?)(?!\d|[./-]\d)"  # 17.05.2024, 2024-05-17
    r"|\d[05]0[‑-][1-9]\d[05]0(?!\d)"  # 200-1250
)
LEAST_NATIONAL = 9
"""Digits of a number without a trunk prefix or a word before it that says so; shorter ones are years and sizes too."""

LONGEST_NATIONAL = 11
"""Digits of most numbers with a trunk prefix, and of mobile numbers in China."""

MADE_UP = "555"
"""What local numbers in North American films and manuals begin with."""

DIGITS = "0123456789"
ISBN_DIGITS = 10
LONGEST_BEFORE = 6
"""Characters of the longest match of `_BEFORE`: `ISBN: `."""

NEAR = 20
"""Characters before a candidate in which `_ORDER` and `_AFTER_DECIMAL` are looked for."""


def find_phones(text: str, regions: tuple[str, ...], strict: bool = False) -> Iterator[Span]:
    """Yield the spans of phone numbers.

    Args:
        text: as `normalize_text` returns it.
        regions: whose numbers are found without a country code.
        strict: only numbers with a country code, or after a word for a phone.
    """
    is_phone = _is_told if strict else partial(_is_phone, regions=regions)
    for candidate in find_candidates(text, is_phone):
        yield candidate.start, candidate.end


def _is_told(candidate: Candidate) -> bool:
    """Return whether a country code or a word says that a candidate is a number."""
    told = candidate.has_plus or follows_noun(candidate.text, candidate.start)
    return told and _is_phone(candidate, ())


def _is_phone(candidate: Candidate, regions: tuple[str, ...]) -> bool:
    """Return whether a candidate is a number, by what surrounds it and how it is written."""
    text, start, end = candidate.text, candidate.start, candidate.end
    if _DATE.match(candidate.written) or _AFTER.match(text, end):
        return False
    before = start - 1 if text[start - 1 : start] in ("(", "（") else start
    if follows_noun(text, before):
        return len(candidate.digits) < MAX_DIGITS
    if _BEFORE.search(text, max(0, start - LONGEST_BEFORE), start):
        return False
    if candidate.has_plus:
        round_one = candidate.is_quantity and candidate.groups[-1] == "000"
        return not round_one and is_international(candidate.digits, strict=False)
    if _UNIT.match(text, end) or (text[start - 1 : start] == "," and (candidate.is_spaced or candidate.is_single)):
        return False
    near = max(0, start - NEAR)
    if _ORDER.search(text, near, start):
        return False
    if _DECIMAL.fullmatch(candidate.written) and _AFTER_DECIMAL.search(text, near, start):
        return False  # a pair of coordinates
    return _is_written_nationally(candidate, regions) or (
        follows_verb(text, before) and _fits_request(candidate, regions)
    )


def _fits_request(candidate: Candidate, regions: tuple[str, ...]) -> bool:
    """Return whether it is a number that one may be asked to call: a local one, or any that is assigned."""
    return candidate.lengths == (3, 4) or is_assigned(candidate.digits, regions)


def _is_written_nationally(candidate: Candidate, regions: tuple[str, ...]) -> bool:
    """Return whether it is written as countries write their numbers, or with the prefix 00."""
    groups, digits, count = candidate.groups, candidate.digits, len(candidate.digits)
    if digits.startswith("00"):
        return is_international(digits[2:], strict=candidate.is_single)
    if candidate.is_single:
        return _is_written_without_gaps(digits, regions)
    if candidate.is_spaced and not candidate.is_whole:
        return False
    if digits[0] == "0" and len(groups[0]) > 1:  # a trunk prefix and an area: 030 1234567, 01 23 45 67 89
        longer = count == LONGEST_NATIONAL + 1 and len(groups) <= 3 and is_assigned(digits, regions)
        return longer or LEAST_NATIONAL <= count <= LONGEST_NATIONAL
    if _is_north_american(candidate, regions):
        return True
    listed = candidate.is_listed or candidate.is_quantity
    return count >= LEAST_NATIONAL and not listed and is_national(groups, regions)


def _is_written_without_gaps(digits: str, regions: tuple[str, ...]) -> bool:
    """Return whether so many digits can be nothing else: a mobile number, or one with a trunk prefix."""
    if digits[0] == "0" and len(digits) == LONGEST_NATIONAL:
        return is_assigned(digits, regions)
    is_long = len(digits) == LONGEST_NATIONAL or (digits[0] == "0" and len(digits) in (10, 12))
    return is_long and digits != DIGITS and not _is_isbn(digits) and is_national((digits,), regions)


def _is_north_american(candidate: Candidate, regions: tuple[str, ...]) -> bool:
    """Return whether it has the groups of a North American number: `(555) 010-0199`, `1-555-010-0199`, `555-0100`.

    Numbers that are made up for examples are in no plan. Between spaces alone three numbers may stand so as well.
    """
    groups = candidate.groups[1:] if candidate.groups[0] == "1" else candidate.groups
    if groups[0] == MADE_UP and candidate.lengths == (3, 4):
        return not candidate.is_spaced
    if tuple(map(len, groups)) != (3, 3, 4) or groups[0][0] < "2":
        return False
    made_up = groups[1][0] < "2"
    return not candidate.is_spaced or (not candidate.is_listed and (made_up or is_assigned(candidate.digits, regions)))


def _is_isbn(digits: str) -> bool:
    """Return whether the last of ten digits is the check digit of an ISBN."""
    weighed = sum(weight * int(digit) for weight, digit in zip(range(len(digits), 0, -1), digits, strict=True))
    return len(digits) == ISBN_DIGITS and weighed % 11 == 0
