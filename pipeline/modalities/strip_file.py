"""Check a media file's container and take its metadata out, without decoding it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pipeline.formats.format_errors import FormatFault, Truncated, Unsupported
from pipeline.tables.drops import Reason, Rejection

Parser = Any
"""A module of `pipeline.formats` with `read_header(data)`, `check_whole(data)` and `strip_metadata(data)`, which raise
`FormatFault`; those of images have `read_orientation(data)` too."""

Facts = TypeVar("Facts")


@dataclass(frozen=True, slots=True)
class StrippedFile(Generic[Facts]):
    """A whole file without its metadata (the same object where it had none), and the facts of its header."""

    data: bytes
    facts: Facts


def strip_file(
    data: bytes,
    media_type: str,
    parsers: Mapping[str, Parser],
    read_facts: Callable[[Parser, bytes], Facts],
    check_header: Callable[[Facts], Rejection | None],
) -> StrippedFile[Facts] | Rejection:
    """Return the file without metadata; or why it is dropped: empty, of a type without a parser, of a variant that no
    decoder reads, damaged, cut off, or rejected by `check_header` given the facts of its header."""
    if not data:
        return Rejection(Reason.EMPTY, "no bytes")
    if media_type not in parsers:
        return Rejection(Reason.UNSUPPORTED_TYPE, "no parser for this media type", media_type, ", ".join(parsers))
    parser = parsers[media_type]
    try:
        facts = read_facts(parser, data)
        if rejection := check_header(facts):
            return rejection
        parser.check_whole(data)
        return StrippedFile(parser.strip_metadata(data), facts)
    except Unsupported as fault:
        return Rejection(Reason.UNSUPPORTED_TYPE, str(fault), media_type)
    except Truncated as fault:
        return Rejection(Reason.TRUNCATED, str(fault))
    except FormatFault as fault:
        return Rejection(Reason.BROKEN, str(fault))
