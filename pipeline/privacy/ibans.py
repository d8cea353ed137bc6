"""Find IBANs: by the length and form of each country's, and the check digits of ISO 7064 (mod 97)."""

import re
from collections.abc import Iterator
from functools import cache

from pipeline.privacy.letters import LATIN, LATIN_DIGITS
from pipeline.privacy.spans import Span

_START = re.compile(rf"(?<![{LATIN}{LATIN_DIGITS}_])[A-Za-z]{{2}}[ ]?\d{{2}}(?=[ -]?[A-Za-z0-9])")
_LENGTH = re.compile(r"(\d+)!?[nac]")
_WORD = re.compile(rf"[{LATIN}{LATIN_DIGITS}_]")


def find_ibans(text: str) -> Iterator[Span]:
    """Yield the spans of IBANs, in groups of any size between single spaces or dashes."""
    end = 0
    for match in _START.finditer(text):
        start = match.start()
        length = _find_length(match[0][:2].upper())
        if start < end or not length:
            continue
        stop = _walk(text, start, length)
        if stop is not None and _is_valid(text[start:stop]):
            yield start, stop
            end = stop


def _walk(text: str, start: int, length: int) -> int | None:
    """Return where so many letters and digits end, with single spaces or dashes between them; None where they do not,
    or another follows."""
    place = start
    while length:
        char = text[place : place + 1]
        if char.isascii() and char.isalnum():
            length -= 1
        elif char not in (" ", "-") or text[place - 1] in " -":
            return None
        place += 1
    return None if _WORD.match(text, place) else place


def _is_valid(text: str) -> bool:
    from stdnum import iban

    return iban.is_valid(text, check_country=False)


@cache
def _find_length(country: str) -> int:
    """Return the letters and digits of a country's IBANs; 0 where it has none."""
    from stdnum import iban

    form = dict(iban._ibandb.info(country)[0][1]).get("bban", "")  # no public function has it
    return 4 + sum(int(count) for count in _LENGTH.findall(form)) if form else 0
