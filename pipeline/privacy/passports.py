"""Find numbers of passports: after the word for one, in the languages most written on the web."""

from collections.abc import Iterator

from pipeline.privacy.cues import compile_cues
from pipeline.privacy.letters import LATIN
from pipeline.privacy.spans import Span

_CUES = (
    "passport", "reisepass", "passeport", "pasaporte", "passaporto", "passaporte", "paspoort", "paszport", "pass",
    "pasaport", "paspor", "hộ chiếu", "паспорт", "паспорта", "загранпаспорт", "διαβατήριο", "διαβατηρίου",
    "护照", "護照", "パスポート", "旅券", "여권", "หนังสือเดินทาง", "พาสปอร์ต", "جواز سفر", "جواز السفر", "पासपोर्ट",
    "דרכון", "pas", "útlevél", "cestovní pas",
)  # fmt: skip
_VALUE = (
    r"(?:[A-Za-z]{0,3}[ ]?\d{6,9}[A-Za-z]?|[CFGHJKLMNPRTVWXYZ0-9]{9,10}|\d\d[ ]?\d\d[ ]\d{6})"
    rf"(?![{LATIN}\d])"
)
_PATTERN = compile_cues(_CUES, _VALUE, ("du", "de", "del", "nummer", "номер", "numéro de", "และ"))

MIN_DIGITS = 4
"""Of a number; German ones have letters in any place."""


def find_passports(text: str) -> Iterator[Span]:
    """Yield the spans of passport numbers."""
    for match in _PATTERN.finditer(text):
        if sum(char.isdigit() for char in match["value"]) >= MIN_DIGITS:
            yield match.span("value")
