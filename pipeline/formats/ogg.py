"""Read the header of Ogg Vorbis files, check their pages and remove their comments, without decoding a sample.

A page is a 27-byte head, a table of up to 255 segment sizes, and the segments; a packet is a run of segments that ends
with one shorter than 255 bytes. RFC 3533 for pages; Vorbis I specification, sections 4.2, 5 and annex A.2, for the
first three packets and their pages.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.formats.format_errors import FormatFault, Truncated
from shardwright.format.checksum import compute_crc32

_HEAD = struct.Struct("<4sBBqIIIB")  # capture, version, flags, granule, serial, sequence, CRC, number of segments
_CAPTURE = b"OggS"
_CRC_AT = 22
_CONTINUED, _FIRST, _LAST = 1, 2, 4
_NO_GRANULE = -1  # of a page on which no packet ends
_IDENTIFICATION, _COMMENT, _SETUP = b"\x01vorbis", b"\x03vorbis", b"\x05vorbis"
_NO_COMMENTS = _COMMENT + struct.pack("<II", 0, 0) + b"\x01"  # no vendor, no comments, framing bit
_MAX_SEGMENTS = 255

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True, slots=True)
class VorbisHeader:
    """Sample rate in Hz, channels, and samples per channel, from the last page's granule position."""

    rate: int
    channels: int
    frames: int


class _Page(NamedTuple):
    """`data[start:end]`; `sizes` is its segment table, `body` where its segments begin."""

    start: int
    body: int
    end: int
    flags: int
    granule: int
    serial: int
    sequence: int
    crc: int
    sizes: bytes


def compute_crc(data: bytes) -> int:
    """Return Ogg's CRC-32: polynomial 0x04c11db7, most significant bit first, start 0, no final inversion.

    zlib's has the same polynomial, least significant bit first, start and end inverted: with the bits of each byte
    reversed on the way in and those of the result on the way out, it computes this one at C speed.
    """
    reflected = compute_crc32(data.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(reflected.to_bytes(4, "little").translate(_REVERSED), "big")


def read_header(data: bytes) -> VorbisHeader:
    """Return the fields of the identification packet and of the last page.

    Raises:
        FormatFault: it is not an Ogg file, its stream is not Vorbis, there are several streams, or the specification
        does
            not allow the identification packet.
        Truncated: the file ends inside its first page.
    """
    pages = list(_walk_pages(data))
    if not pages:
        raise Truncated("ends inside the first page")
    packet = data[pages[0].body : pages[0].end]
    if not packet.startswith(_IDENTIFICATION):
        raise FormatFault("the stream is not Vorbis")
    if len(packet) != 30 or not pages[0].flags & _FIRST:
        raise FormatFault("the identification packet is not as Vorbis says")
    _, channels, rate = struct.unpack_from("<IBI", packet, 7)
    if any(page.serial != pages[0].serial for page in pages):
        raise FormatFault("several streams in one file")
    frames = max((page.granule for page in pages), default=0)
    return VorbisHeader(rate, channels, max(frames, 0))


def check_whole(data: bytes) -> None:
    """Check that every page's CRC is right, that no page is missing, and that the last one is marked as the last.

    Raises:
        Truncated: the file ends before its last page does.
        FormatFault: a CRC is wrong, a page is missing, or a header packet; or as `read_header`.
    """
    read_header(data)
    pages = list(_walk_pages(data))
    for number, page in enumerate(pages):
        raw = data[page.start : page.start + _CRC_AT] + bytes(4) + data[page.start + _CRC_AT + 4 : page.end]
        if compute_crc(raw) != page.crc:
            raise FormatFault("a page's CRC is wrong")
        if page.sequence != (pages[0].sequence + number) & 0xFFFFFFFF:
            raise FormatFault("a page is missing")
    if not pages[-1].flags & _LAST:
        raise Truncated("no last page")
    _read_headers(data, pages)


def strip_metadata(data: bytes) -> bytes:
    """Return the file with an empty comment packet (no vendor, no comments), and without bytes after its last page.

    Audio packets are untouched. So are their pages, unless the headers now take another number of pages: then they are
    renumbered. It is the same object where nothing is removed.

    Raises:
        FormatFault: the header packets are not where Vorbis has them; or as `read_header`.
    """
    read_header(data)
    pages = list(_walk_pages(data))
    comment, setup, count = _read_headers(data, pages)
    if comment == _NO_COMMENTS:
        stripped = data[: pages[-1].end]
        return data if stripped == data else stripped
    headers = _page_headers(pages[0], [_NO_COMMENTS, setup])
    moved = 1 + len(headers) - count
    rest = pages[count:]
    audio = (
        [data[page.start : page.end] for page in rest]
        if moved == 0
        else [_encode_page(page._replace(sequence=page.sequence + moved), data[page.body : page.end]) for page in rest]
    )
    return b"".join([data[pages[0].start : pages[0].end], *headers, *audio])


def _read_headers(data: bytes, pages: list[_Page]) -> tuple[bytes, bytes, int]:
    """Return the comment packet, the setup packet, and the number of pages up to the end of the setup packet.

    Raises:
        FormatFault: they are not the second and third packet, or do not end with a page.
        Truncated: the file ends before them.
    """
    packets: list[bytes] = []
    open_packet: list[bytes] = []
    for count, page in enumerate(pages[1:], start=2):
        at = page.body
        for size in page.sizes:
            open_packet.append(data[at : at + size])
            at += size
            if size < 255:
                packets.append(b"".join(open_packet))
                open_packet = []
        if len(packets) >= 2:
            if len(packets) > 2 or open_packet or not packets[0].startswith(_COMMENT):
                break
            if not packets[1].startswith(_SETUP):
                break
            return packets[0], packets[1], count
    else:
        raise Truncated("ends inside the header packets")
    raise FormatFault("the header packets are not as Vorbis says")


def _page_headers(first: _Page, packets: list[bytes]) -> list[bytes]:
    """Return pages that hold exactly `packets`, numbered from the page after `first`."""
    sizes = b"".join(b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255]) for packet in packets)
    body = b"".join(packets)
    pages: list[bytes] = []
    at = 0
    for start in range(0, len(sizes), _MAX_SEGMENTS):
        table = sizes[start : start + _MAX_SEGMENTS]
        ends_packet = any(size < 255 for size in table)
        continued = start > 0 and sizes[start - 1] == 255
        page = first._replace(
            flags=_CONTINUED if continued else 0,
            granule=0 if ends_packet else _NO_GRANULE,
            sequence=first.sequence + 1 + len(pages),
            sizes=table,
        )
        pages.append(_encode_page(page, body[at : at + sum(table)]))
        at += sum(table)
    return pages


def _encode_page(page: _Page, body: bytes) -> bytes:
    sequence = page.sequence & 0xFFFFFFFF
    head = _HEAD.pack(_CAPTURE, 0, page.flags, page.granule, page.serial, sequence, 0, len(page.sizes))
    raw = head + page.sizes + body
    return raw[:_CRC_AT] + struct.pack("<I", compute_crc(raw)) + raw[_CRC_AT + 4 :]


def _walk_pages(data: bytes) -> Iterator[_Page]:
    """Yield the pages up to the last one, or as far as the bytes go.

    Raises:
        FormatFault: something else is where a page should begin.
    """
    at = 0
    while at + _HEAD.size <= len(data):
        capture, version, flags, granule, serial, sequence, crc, segments = _HEAD.unpack_from(data, at)
        if capture != _CAPTURE or version != 0:
            raise FormatFault("no page where one should begin")
        body = at + _HEAD.size + segments
        sizes = data[at + _HEAD.size : body]
        end = body + sum(sizes)
        if len(sizes) < segments or end > len(data):
            return
        yield _Page(at, body, end, flags, granule, serial, sequence, crc, sizes)
        if flags & _LAST:
            return
        at = end
