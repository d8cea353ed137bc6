"""Read `plus:DataMining` and `tdm:reservation` in XMP packets. Pure.

XMP is made to be found without knowing the format of the file (XMP part 3, section 1.1.3: packets are plain text), so
the whole file is searched, whatever its format; where a format compresses or divides packets, `containers` has put
them together. Properties are found by their local names: a prefix may be any.
"""

import re
from collections.abc import Iterator

from pipeline.consent.statements import AI_USES, ALL_USES, Statement, Use, tidy_line

_VALUE = rb"""\s*=\s*["']([^"'<]{0,500})["']"""
_ELEMENT = rb"""(?:\s[^<>]{0,500})?>\s*(?:<[^<>]{0,500}>\s*){0,3}([^<]{0,500})"""
_RESOURCE = rb"""(?:\s[^<>]{0,500}?)?\srdf:resource""" + _VALUE

_MINING = re.compile(rb"[\s<][\w.-]+:DataMining(?:" + _RESOURCE + rb"|" + _VALUE + rb"|" + _ELEMENT + rb")")
_RESERVATION = re.compile(rb"\btdm:reservation(?:" + _VALUE + rb"|" + _ELEMENT + rb")")

_TRAINING: frozenset[Use] = frozenset({"ai-train"})
_REFUSED: tuple[tuple[str, frozenset[Use]], ...] = (
    ("AIMLTRAINING", _TRAINING),
    ("AI/MLTRAINING", _TRAINING),
    ("EXCEPTSEARCHENGINEINDEXING", AI_USES),
    ("EXCEPTFORSEARCHENGINEINDEXING", AI_USES),
    ("PROHIBITED", ALL_USES),
)
"""What a value has, and the uses that it refuses; the first that it has counts. Values are URIs that end with
`DMI-PROHIBITED-GENAIMLTRAINING` and the like (PLUS LDF, Data Mining); some programs write their names instead."""


def read_xmp(data: bytes) -> Iterator[Statement]:
    """Yield what the packets in some bytes refuse."""
    for found in _MINING.finditer(data) if b":DataMining" in data else ():
        value = next((group for group in found.groups() if group), b"").decode("utf-8", "replace").strip()
        spelled = "".join(value.upper().split())
        uses = next((uses for words, uses in _REFUSED if words in spelled), None)
        if uses and "PROHIBITED" in spelled:
            name = value.rpartition("/vocab/")[2]
            line = tidy_line(f"plus:DataMining {value}")
            yield Statement("plus-data-mining", uses, tidy_line(f"XMP: DataMining {name}"), line, "XMP plus:DataMining")
    for found in _RESERVATION.finditer(data) if b"tdm:reservation" in data else ():
        if (found[1] or found[2] or b"").strip() == b"1":
            yield Statement("tdmrep", AI_USES, "XMP: tdm:reservation 1", "tdm:reservation 1", "XMP tdm:reservation")
