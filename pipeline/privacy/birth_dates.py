"""Find dates of birth: dates after a word that says so, in the languages most written on the web."""

from collections.abc import Iterator

from pipeline.privacy.cues import compile_cues
from pipeline.privacy.letters import DASHES
from pipeline.privacy.spans import Span

_CUES = (
    "born", "date of birth", "birth date", "birthdate", "birthday", "dob", "d.o.b", "geboren", "geb", "geburtsdatum",
    "geburtstag", "né", "née", "né(e)", "date de naissance", "nacido", "nacida", "nació", "fecha de nacimiento",
    "nato", "nata", "data di nascita", "nascido", "nascida", "nasceu", "data de nascimento", "geboortedatum",
    "urodzony", "urodzona", "ur", "data urodzenia", "родился", "родилась", "дата рождения", "д.р", "дата народження",
    "народився", "народилася", "doğum tarihi", "doğum", "ngày sinh", "sinh ngày", "tanggal lahir", "lahir", "född",
    "födelsedatum", "født", "fødselsdato", "syntynyt", "syntymäaika", "narozen", "narozena", "datum narození",
    "γεννήθηκε", "ημερομηνία γέννησης", "出生日期", "出生于", "出生於", "出生年月", "生日", "生于", "生於", "出生",
    "生年月日", "誕生日", "생년월일", "출생일", "출생", "생일", "วันเกิด", "เกิดวันที่", "เกิดเมื่อ", "تاريخ الميلاد",
    "تاريخ ميلاد", "مواليد", "ولد في", "जन्म तिथि", "जन्मतिथि", "जन्म", "תאריך לידה", "נולד", "נולדה",
)  # fmt: skip
_BETWEEN = (
    "on", "am", "the", "le", "el", "il", "em", "op", "dnia", "den", "ngày", "on the", "tanggal", "pada", "date", "в",
    "вона", "วันที่", "เมื่อ",
)  # fmt: skip
_YEAR = r"(?P<year>\d{4})"
_MARK = rf"[ ]?[./{DASHES}][ ]?"
_DATES = (
    rf"\d{{1,2}}{_MARK}\d{{1,2}}{_MARK}(?P<year1>\d{{4}}|\d{{2}})(?!\d)",
    rf"(?P<year2>\d{{4}}){_MARK}\d{{1,2}}{_MARK}\d{{1,2}}(?!\d)",
    r"(?P<year3>\d{4})[ ]?[年년][ ]?\d{1,2}[ ]?[月월][ ]?\d{1,2}[ ]?[日号號일]",
    r"\d{1,2}(?:st|nd|rd|th|er|\.|º|ª)?[ ](?:de |of )?[^\W\d_][\w.]{2,15}+,?[ ](?:de |of )?(?P<year4>\d{4})(?!\d)",
    r"[^\W\d_]{3,12}+\.?[ ]\d{1,2}(?:st|nd|rd|th)?,?[ ](?P<year5>\d{4})(?!\d)",
    r"\d{1,2}[ ]?[\u0e00-\u0e7f.]{2,12}+[ ]?(?:พ\.ศ\.|ค\.ศ\.)?[ ]?(?P<year6>\d{4})(?!\d)",
)
_PATTERN = compile_cues(_CUES, f"(?:{'|'.join(_DATES)})", _BETWEEN)

LIVING = 1900
"""Whoever was born earlier is no longer a person that data protection is for."""


def find_birth_dates(text: str) -> Iterator[Span]:
    """Yield the spans of dates of birth."""
    for match in _PATTERN.finditer(text):
        year = int(next(match[f"year{number}"] for number in range(1, 7) if match[f"year{number}"]))
        if year < 100 or year >= LIVING:
            yield match.span("value")
