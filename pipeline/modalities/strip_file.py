"""Check a media file's container and take its metadata out, without decoding it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from pipeline.formats.format_errors import FormatFault, Truncated, Unsupported
from pipeline.tables.drops import Reason, Rejection

Parser = Any
"""A module of `pipeline.formats` with `read_header(data)`, `check_whole(data)` and `strip_metadata(data)`, which raise
`FormatFault`; those of images have `read_orientation(data)` too."""

Facts = TypeVar("Facts")
Damaged = Literal["drop", "keep"]
"""What becomes of a file that is damaged but can be decoded."""


@dataclass(frozen=True, slots=True)
class StrippedFile(Generic[Facts]):
    """A file without its metadata (the same object where it had none), the facts of its header, and what it lacks at
    its end; empty where it is whole."""

    data: bytes
    facts: Facts
    flaw: str = ""


@dataclass(frozen=True, slots=True)
class Parsers(Generic[Facts]):
    """The parsers of a modality by media type, and what reads its facts from a header with one of them."""

    by_type: Mapping[str, Parser]
    read_facts: Callable[[Parser, bytes], Facts]


def strip_file(
    data: bytes,
    media_type: str,
    parsers: Parsers[Facts],
    check_header: Callable[[Facts], Rejection | None],
    damaged: Damaged = "drop",
) -> StrippedFile[Facts] | Rejection:
    """Return the file without metadata; or why it is dropped: empty, of a type without a parser, of a variant that no
    decoder reads, damaged, cut off, or rejected by `check_header` given the facts of its header.

    With `damaged` keep, a file that is cut off stays as far as its parser can follow it.
    """
    if not data:
        return Rejection(Reason.EMPTY, "no bytes")
    parser = parsers.by_type.get(media_type)
    if parser is None:
        known = ", ".join(parsers.by_type)
        return Rejection(Reason.UNSUPPORTED_TYPE, "no parser for this media type", media_type, known)
    try:
        facts = parsers.read_facts(parser, data)
        if rejection := check_header(facts):
            return rejection
        flaw = _find_cut(parser, data, damaged)
        return StrippedFile(parser.strip_metadata(data), facts, flaw)
    except Unsupported as fault:
        return Rejection(Reason.UNSUPPORTED_TYPE, str(fault), media_type)
    except Truncated as fault:
        return Rejection(Reason.TRUNCATED, str(fault))
    except FormatFault as fault:
        return Rejection(Reason.BROKEN, str(fault))


def _find_cut(parser: Parser, data: bytes, damaged: Damaged) -> str:
    """Return what a file lacks at its end, empty for a whole one; raise it where that is dropped."""
    try:
        parser.check_whole(data)
    except Truncated as fault:
        if damaged == "drop":
            raise
        return str(fault)
    return ""
