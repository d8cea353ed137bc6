"""Read the header of NIST SPHERE files, check that they are complete and strip what is not needed, without decoding.

A text of 1024 bytes or a multiple has a field a line: its name, type and value. NIST, SPHERE 2.6 (1994); its other
lines say who spoke, when and where.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.formats.format_errors import FormatFault, Truncated, Unsupported

_MARK = b"NIST_1A\n"
_FIELD = re.compile(rb"(\w+) -(i|r|s\d+) ([^\n;]*)")
_KEPT = ("channel_count", "sample_count", "sample_rate", "sample_n_bytes", "sample_byte_format", "sample_sig_bits",
         "sample_coding")  # fmt: skip
_CODINGS = ("pcm", "ulaw", "mu-law", "alaw")
_SIZE = 1024
_MAX_SIZE = 1 << 20


@dataclass(frozen=True, slots=True)
class NistHeader:
    """Sample rate in Hz, channels, bits per sample, and samples per channel as declared."""

    rate: int
    channels: int
    bits: int
    frames: int


def read_header(data: bytes) -> NistHeader:
    """Return the fields of the header.

    Raises:
        FormatFault: it is not a SPHERE file, or a field is missing or impossible.
        Unsupported: samples in another coding, such as shorten.
        Truncated: the file ends inside its header.
    """
    _, fields = _read_fields(data)
    coding = fields.get("sample_coding", (b"", b"pcm"))[1].decode("latin-1")
    if coding not in _CODINGS:
        raise Unsupported("samples in a coding other than pcm, ulaw and alaw: save it as FLAC")
    rate, channels, width, frames = (
        _read_number(fields, name) for name in ("sample_rate", "channel_count", "sample_n_bytes", "sample_count")
    )
    if not channels or not 1 <= width <= 4:
        raise FormatFault("channels or bytes of a sample are impossible")
    return NistHeader(rate, channels, 8 * width, frames)


def check_whole(data: bytes) -> None:
    """Check that all samples that the header declares are present.

    Raises:
        Truncated: they are not.
        FormatFault: as `read_header`.
    """
    header, (start, _) = read_header(data), _read_fields(data)
    if start + header.frames * header.channels * header.bits // 8 > len(data):
        raise Truncated("fewer samples than declared")


def strip_metadata(data: bytes) -> bytes:
    """Return the file with a header of the fields only that say how to decode it, and without bytes after its samples.
    It is the same object where nothing is removed.

    Raises:
        FormatFault: as `read_header`.
    """
    header, (start, fields) = read_header(data), _read_fields(data)
    lines = [b"%s -%s %s\n" % (name.encode(), *fields[name]) for name in _KEPT if name in fields]
    head = (_MARK + b"%7d\n" % _SIZE + b"".join(lines) + b"end_head\n").ljust(_SIZE)
    stripped = head + data[start : start + header.frames * header.channels * header.bits // 8]
    return data if stripped == data else stripped


def _read_number(fields: Mapping[str, tuple[bytes, bytes]], name: str) -> int:
    _, value = fields.get(name, (b"", b""))
    if not re.fullmatch(rb"\d{1,15}", value):
        raise FormatFault(f"the field {name} is missing, or no number")
    return int(value)


def _read_fields(data: bytes) -> tuple[int, Mapping[str, tuple[bytes, bytes]]]:
    """Return where the samples begin, and type and value of the kept fields that the header has."""
    if not data.startswith(_MARK[: len(data)]):
        raise FormatFault("no mark of SPHERE")
    size = data[len(_MARK) : len(_MARK) + 8].strip()
    if len(data) < len(_MARK) + 8 or (size.isdigit() and len(size) < 8 and len(data) < int(size) <= _MAX_SIZE):
        raise Truncated("ends inside the header")
    if not size.isdigit() or not _SIZE <= int(size) <= _MAX_SIZE:
        raise FormatFault("a header of impossible size")
    head = data[: int(size)].partition(b"\nend_head")[0]
    found = ((name.decode(), kind, value.strip()) for name, kind, value in _FIELD.findall(head))
    return int(size), {name: (kind, value) for name, kind, value in found if name in _KEPT and len(value) < 64}
