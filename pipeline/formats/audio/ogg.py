"""Read the header of Ogg files, check their pages and remove their comments, without decoding a sample.

A page is a 27-byte head, a table of up to 255 segment sizes, and the segments; a packet is a run of segments that ends
with one shorter than 255 bytes. Files may be chained: one after another in one. RFC 3533 for pages; Vorbis I
specification, sections 4.2, 5 and annex A.2, and RFC 7845, sections 4 and 5, for Opus: the first packets and their
pages.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.formats.audio.audio_header import AudioHeader
from pipeline.formats.format_errors import FormatFault, Truncated, Unsupported
from shardwright.format.checksum import compute_crc32

_HEAD = struct.Struct("<4sBBqIIIB")  # capture, version, flags, granule, serial, sequence, CRC, number of segments
_CAPTURE = b"OggS"
_CRC_AT = 22
_CONTINUED, _FIRST, _LAST = 1, 2, 4
_NO_GRANULE = -1  # of a page on which no packet ends
_OPUS_RATE = 48_000
_OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)
"""Hz that the decoder gives, where the header names one of them as the rate before coding; else the last."""
_MAX_SEGMENTS = 255

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True, slots=True)
class _OggCodec:
    """How a stream of a codec begins.

    Attributes:
        first, comment, setup: how its header packets begin; there is no setup where that is empty.
        tail: of a comment packet.
    """

    first: bytes
    comment: bytes
    setup: bytes = b""
    tail: bytes = b""

    @property
    def no_comments(self) -> bytes:
        """Return a comment packet without vendor and comments."""
        return self.comment + struct.pack("<II", 0, 0) + self.tail


_VORBIS = _OggCodec(b"\x01vorbis", b"\x03vorbis", b"\x05vorbis", b"\x01")
_OPUS = _OggCodec(b"OpusHead", b"OpusTags")


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


def read_header(data: bytes) -> AudioHeader:
    """Return the fields of the identification packet, and the sum over all files of a chain.

    Raises:
        FormatFault: it is not an Ogg file, there are several streams at a time, or the specification does not allow the
            identification packet.
        Unsupported: a codec that is neither Vorbis nor Opus, or a chain whose rates or channels differ.
        Truncated: the file ends inside its first page.
    """
    headers = [_read_link(data, pages) for pages in _list_links(data)]
    first = headers[0]
    if any((each.rate, each.channels) != (first.rate, first.channels) for each in headers):
        raise Unsupported("a chain whose rates or channels differ: save it as FLAC")
    return AudioHeader(first.rate, first.channels, sum(each.frames for each in headers))


def check_whole(data: bytes) -> None:
    """Check that every page's CRC is right, that no page is missing, and that the last one is marked as the last.

    Raises:
        Truncated: the file ends before its last page does.
        FormatFault: a CRC is wrong, a page is missing, or a header packet; or as `read_header`.
    """
    read_header(data)
    links = _list_links(data)
    for pages in links:
        for number, page in enumerate(pages):
            raw = data[page.start : page.start + _CRC_AT] + bytes(4) + data[page.start + _CRC_AT + 4 : page.end]
            if compute_crc(raw) != page.crc:
                raise FormatFault("a page's CRC is wrong")
            if page.sequence != (pages[0].sequence + number) & 0xFFFFFFFF:
                raise FormatFault("a page is missing")
        if not pages[-1].flags & _LAST:
            raise Truncated("no last page")
        _read_headers(data, pages)
    end = links[-1][-1].end
    if data[end : end + len(_CAPTURE)] == _CAPTURE:
        raise Truncated("ends inside a page of a chain")


def strip_metadata(data: bytes) -> bytes:
    """Return the file with an empty comment packet (no vendor, no comments), and without bytes after its last page; of
    a chain each of its files.

    Audio packets are untouched. So are their pages, unless the headers now take another number of pages: then they are
    renumbered. It is the same object where nothing is removed.

    Raises:
        FormatFault: the header packets are not where the codec has them; or as `read_header`.
    """
    read_header(data)
    stripped = b"".join(part for pages in _list_links(data) for part in _strip_link(data, pages))
    return data if stripped == data else stripped


def split_chain(data: bytes) -> list[bytes]:
    """Return the files of a chain; of any other file the same object alone.

    Raises:
        FormatFault: as `read_header`.
    """
    links = _list_links(data)
    return [data] if len(links) == 1 else [data[pages[0].start : pages[-1].end] for pages in links]


def _list_links(data: bytes) -> list[list[_Page]]:
    """Return the pages of each file of a chain, up to the first that is not complete."""
    links: list[list[_Page]] = []
    for page in _walk_pages(data):
        if page.flags & _FIRST and (not links or links[-1][-1].flags & _LAST):
            links.append([])
        elif not links:
            raise FormatFault("the first page is not marked as the first")
        elif page.serial != links[-1][0].serial or links[-1][-1].flags & _LAST:
            raise FormatFault("several streams in one file")
        links[-1].append(page)
    if not links:
        raise Truncated("ends inside the first page")
    return links


def _find_codec(data: bytes, first: _Page) -> _OggCodec:
    packet = data[first.body : first.end]
    codec = next((codec for codec in (_VORBIS, _OPUS) if packet.startswith(codec.first)), None)
    if codec is None:
        raise Unsupported("the stream is neither Vorbis nor Opus: save it as FLAC")
    return codec


def _read_link(data: bytes, pages: list[_Page]) -> AudioHeader:
    packet = data[pages[0].body : pages[0].end]
    frames = max(0, *(page.granule for page in pages))
    if _find_codec(data, pages[0]) is _VORBIS:
        if len(packet) != 30:
            raise FormatFault("the identification packet is not as Vorbis says")
        _, channels, rate = struct.unpack_from("<IBI", packet, 7)
        return AudioHeader(rate, channels, frames)
    if len(packet) < 19 or packet[8] >> 4 or not packet[9]:
        raise FormatFault("the identification packet is not as Opus says")
    channels, skipped, given = struct.unpack_from("<BHI", packet, 9)
    rate = given if given in _OPUS_RATES else _OPUS_RATE
    return AudioHeader(rate, channels, max(0, frames - skipped) * rate // _OPUS_RATE)


def _strip_link(data: bytes, pages: list[_Page]) -> list[bytes]:
    codec = _find_codec(data, pages[0])
    packets, count = _read_headers(data, pages)
    if packets[0] == codec.no_comments:
        return [data[pages[0].start : pages[-1].end]]
    headers = _page_headers(pages[0], [codec.no_comments, *packets[1:]])
    moved = 1 + len(headers) - count
    rest = pages[count:]
    audio = (
        [data[page.start : page.end] for page in rest]
        if moved == 0
        else [_encode_page(page._replace(sequence=page.sequence + moved), data[page.body : page.end]) for page in rest]
    )
    return [data[pages[0].start : pages[0].end], *headers, *audio]


def _read_headers(data: bytes, pages: list[_Page]) -> tuple[list[bytes], int]:
    """Return the comment packet and the setup packet, if the codec has one, and the number of pages up to their end.

    Raises:
        FormatFault: they are not the packets after the first, or do not end with a page.
        Truncated: the file ends before them.
    """
    codec = _find_codec(data, pages[0])
    starts = [codec.comment, *([codec.setup] if codec.setup else [])]
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
        if len(packets) >= len(starts):
            if len(packets) > len(starts) or open_packet:
                break
            if not all(packet.startswith(start) for packet, start in zip(packets, starts, strict=True)):
                break
            return packets, count
    else:
        raise Truncated("ends inside the header packets")
    raise FormatFault("the header packets are not as the codec has them")


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
    """Yield the pages up to the last one, of all files of a chain, or as far as the bytes go.

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
        at = end
        if flags & _LAST and data[at : at + len(_CAPTURE)] != _CAPTURE:
            return
