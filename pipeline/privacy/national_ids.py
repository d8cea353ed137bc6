"""Find national numbers of persons: by form and check digits where these are rarely chance, else after their name.

The check digits are those of `python-stdnum`, a module a number.
"""

import re
from functools import cache
from types import ModuleType

from pipeline.privacy.cues import compile_cues
from pipeline.privacy.letters import LATIN
from pipeline.privacy.spans import Span, join_spans

_TELLING: dict[str, str] = {
    "cn.ric": r"[1-9]\d{5}(?:19|20)\d{9}[\dXx]",
    "kr.rrn": r"\d{6}-[1-8]\d{6}",
    "br.cpf": r"\d{3}\.\d{3}\.\d{3}-\d{2}",
    "it.codicefiscale": r"[A-Za-z]{6}\d{2}[A-Ea-eHhLlMmPpR-Tr-t]\d{2}[A-Za-z]\d{3}[A-Za-z]",
    "th.pin": r"[1-8]-\d{4}-\d{5}-\d{2}-\d",
    "fr.nir": r"[12] ?\d{2} ?(?:0[1-9]|1[0-2]) ?\d[\dAB] ?\d{3} ?\d{3} ?\d{2}",
    "fi.hetu": r"[0-3]\d[01]\d{3}[-+A]\d{3}[0-9A-Y]",
    "mx.curp": r"[A-Z]{4}\d{6}[HM][A-Z]{5}[A-Z\d]\d",
}
"""The form of each number that is found without its name. Digits alone would match one number in ten or a hundred."""

_NAMED: dict[tuple[str, ...], tuple[str, ...]] = {
    ("us.ssn", "us.itin"): ("ssn", "social security", "itin"),
    ("es.dni", "es.nie"): ("dni", "nie", "nif", "documento nacional de identidad"),
    ("de.idnr",): ("steuer-id", "steueridentifikations", "idnr", "tin"),
    ("pl.pesel",): ("pesel",),
    ("nl.bsn",): ("bsn", "burgerservice", "sofi"),
    ("in_.aadhaar",): ("aadhaar", "aadhar", "आधार", "uid"),
    ("br.cpf",): ("cpf",),
    ("gb.nhs",): ("nhs",),
    ("se.personnummer",): ("personnummer", "personnr"),
    ("no.fodselsnummer",): ("fødsels", "personnummer"),
    ("dk.cpr",): ("cpr",),
    ("ru.inn",): ("инн",),
    ("tr.tckimlik",): ("t.c. kimlik", "tc kimlik", "tckn", "kimlik"),
    ("cn.ric",): ("身份证", "公民身份"),
    ("kr.rrn",): ("주민등록", "주민"),
    ("th.pin",): ("เลขประจำตัวประชาชน", "บัตรประชาชน", "เลขบัตรประชาชน"),
    ("fr.nir",): ("nir", "sécurité sociale", "insee"),
    ("ch.ssn",): ("ahv", "avs"),
    ("be.nn",): ("rijksregister", "registre national"),
    ("ca.sin",): ("sin", "social insurance"),
    ("au.tfn",): ("tfn", "tax file"),
    ("id.nik",): ("nik",),
}
"""The names of each number, in the languages of its country."""

_NUMBER = rf"[A-Za-z]{{0,4}}\d[\dA-Za-z]{{0,17}}(?:[ .-][\dA-Za-z]{{1,6}}){{0,5}}(?![{LATIN}\d])"

MIN_DIGITS = 7
"""Of a number after its name."""


def find_national_ids(text: str) -> list[Span]:
    """Return the spans of national numbers."""
    spans = [
        match.span(match.lastgroup or 0)
        for match in _find_telling().finditer(text)
        if _is_valid(list(_TELLING)[int((match.lastgroup or "n0")[1:])], match[0])
    ]
    for match in _find_named().finditer(text):
        modules = next(names for names, cues in _NAMED.items() if _names(match[0], cues))
        start, value = match.start("value"), match["value"]
        if sum(map(str.isdigit, value)) < MIN_DIGITS:
            continue
        while value and not any(_is_valid(module, value) for module in modules):
            value = re.sub(r"(?:^[^ .-]+|[ .-][^ .-]*)\Z", "", value)  # a word of the sentence may follow
        if value:
            spans.append((start, start + len(value)))
    return join_spans(spans)


def _names(text: str, cues: tuple[str, ...]) -> bool:
    return text.casefold().startswith(cues)


@cache
def _find_telling() -> re.Pattern[str]:
    forms = "|".join(f"(?P<n{number}>{form})" for number, form in enumerate(_TELLING.values()))
    return re.compile(rf"(?<![{LATIN}\d_])(?<!\d[.-])(?:{forms})(?![{LATIN}\d_]|[.-]\d)")


@cache
def _find_named() -> re.Pattern[str]:
    return compile_cues(
        (cue for cues in _NAMED.values() for cue in cues), _NUMBER, ("sociale", "security", "insurance")
    )


def _is_valid(module: str, text: str) -> bool:
    return bool(_load_modules()[module].is_valid(text))


@cache
def _load_modules() -> dict[str, ModuleType]:
    """Return the modules of the numbers by their names in the tables above; loading them takes some 30 ms."""
    from stdnum.au import tfn as au_tfn
    from stdnum.be import nn as be_nn
    from stdnum.br import cpf as br_cpf
    from stdnum.ca import sin as ca_sin
    from stdnum.ch import ssn as ch_ssn
    from stdnum.cn import ric as cn_ric
    from stdnum.de import idnr as de_idnr
    from stdnum.dk import cpr as dk_cpr
    from stdnum.es import dni as es_dni
    from stdnum.es import nie as es_nie
    from stdnum.fi import hetu as fi_hetu
    from stdnum.fr import nir as fr_nir
    from stdnum.gb import nhs as gb_nhs
    from stdnum.id import nik as id_nik
    from stdnum.in_ import aadhaar as in_aadhaar
    from stdnum.it import codicefiscale as it_codicefiscale
    from stdnum.kr import rrn as kr_rrn
    from stdnum.mx import curp as mx_curp
    from stdnum.nl import bsn as nl_bsn
    from stdnum.no import fodselsnummer as no_fodselsnummer
    from stdnum.pl import pesel as pl_pesel
    from stdnum.ru import inn as ru_inn
    from stdnum.se import personnummer as se_personnummer
    from stdnum.th import pin as th_pin
    from stdnum.tr import tckimlik as tr_tckimlik
    from stdnum.us import itin as us_itin
    from stdnum.us import ssn as us_ssn

    modules = (
        au_tfn, be_nn, br_cpf, ca_sin, ch_ssn, cn_ric, de_idnr, dk_cpr, es_dni, es_nie, fi_hetu, fr_nir, gb_nhs,
        id_nik, in_aadhaar, it_codicefiscale, kr_rrn, mx_curp, nl_bsn, no_fodselsnummer, pl_pesel, ru_inn,
        se_personnummer, th_pin, tr_tckimlik, us_itin, us_ssn,
    )  # fmt: skip
    return {module.__name__.removeprefix("stdnum."): module for module in modules}
