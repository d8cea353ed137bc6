"""Make files whose own metadata refuses their use, byte by byte."""

import struct
import zlib
from itertools import pairwise
from typing import Any

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
CANARY = b"CANARY-0c5c1f"
"""What refused bodies have in them, and no file on disk may."""

PLUS = "http://ns.useplus.org/ldf/vocab/DMI-PROHIBITED-AIMLTRAINING"


def make_xmp(properties: str) -> bytes:
    """An XMP packet whose description has these attributes."""
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description xmlns:plus="http://ns.useplus.org/ldf/xmp/1.0/" '
        f"{properties}/></rdf:RDF></x:xmpmeta>"
    ).encode()


def make_mining(value: str = PLUS) -> bytes:
    return make_xmp(f'plus:DataMining="{value}"')


def make_segment(code: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, code, len(content) + 2) + content


def make_jpeg(*segments: bytes) -> bytes:
    """A JPEG by its markers, with a canary in its scan."""
    frame = make_segment(0xC0, bytes([8, 0, 8, 0, 8, 1, 1, 0x11, 0]))
    scan = make_segment(0xDA, bytes([1, 1, 0, 0, 63, 0])) + CANARY
    return b"\xff\xd8" + b"".join(segments) + frame + scan + b"\xff\xd9"


def make_jpeg_xmp(packet: bytes) -> bytes:
    return make_jpeg(make_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet))


def make_jpeg_extension(packet: bytes) -> bytes:
    """An XMP packet in extension segments that cut its words, in the wrong order."""
    cuts = [*range(0, len(packet), 50), len(packet)]
    parts = [
        make_segment(
            0xE1,
            b"http://ns.adobe.com/xmp/extension/\0"
            + b"0" * 32
            + struct.pack(">II", len(packet), start)
            + packet[start:stop],
        )
        for start, stop in pairwise(cuts)
    ]
    return make_jpeg(*reversed(parts))


def make_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def make_png(*chunks: bytes) -> bytes:
    header = make_chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0))
    return PNG_SIGNATURE + header + b"".join(chunks) + make_chunk(b"IDAT", CANARY) + make_chunk(b"IEND", b"")


def make_png_xmp(packet: bytes, compressed: bool = False) -> bytes:
    text = zlib.compress(packet) if compressed else packet
    return make_png(make_chunk(b"iTXt", b"XML:com.adobe.xmp\0" + bytes([compressed, 0]) + b"\0\0" + text))


def make_riff(form: bytes, name: bytes, content: bytes) -> bytes:
    """A WebP, WAV or AVI with one chunk of metadata."""
    chunk = name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
    body = form + chunk + b"junk" + struct.pack("<I", len(CANARY)) + CANARY
    return b"RIFF" + struct.pack("<I", len(body)) + body


def make_box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", len(content) + 8, name) + content


def make_iso(brand: bytes, *boxes: bytes) -> bytes:
    """An AVIF, HEIC or MP4 by its boxes."""
    return make_box(b"ftyp", brand + bytes(4)) + b"".join(boxes) + make_box(b"mdat", CANARY)


def encode_cbor(item: Any) -> bytes:
    """Encode dict, list, str, bool and small int."""
    if isinstance(item, bool):
        return b"\xf5" if item else b"\xf4"
    if isinstance(item, int):
        return _encode_head(0, item)
    if isinstance(item, str):
        return _encode_head(3, len(item.encode())) + item.encode()
    if isinstance(item, list):
        return _encode_head(4, len(item)) + b"".join(map(encode_cbor, item))
    return _encode_head(5, len(item)) + b"".join(encode_cbor(key) + encode_cbor(value) for key, value in item.items())


def _encode_head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes([major << 5 | number])
    return struct.pack(">BB", major << 5 | 24, number) if number < 256 else struct.pack(">BH", major << 5 | 25, number)


def make_jumbf(label: str, *boxes: bytes) -> bytes:
    description = make_box(b"jumd", b"cbor" + bytes(12) + b"\x03" + label.encode() + b"\0")
    return make_box(b"jumb", description + b"".join(boxes))


def make_manifest(use: str = "notAllowed", owner: str = "cawg", entry: str = "ai_generative_training") -> bytes:
    """A manifest store with a training and data mining assertion."""
    content = encode_cbor({"entries": {f"{owner}.{entry}": {"use": use}}})
    assertion = make_jumbf(f"{owner}.training-mining", make_box(b"cbor", content))
    return make_jumbf("c2pa", make_jumbf("urn:c2pa:1", make_jumbf("c2pa.assertions", assertion)))


def make_jpeg_manifest(manifest: bytes, size: int = 60) -> bytes:
    """A JPEG whose manifest is cut into segments, as large ones are (ISO/IEC 19566-5, annex D)."""
    head, body = manifest[:8], manifest[8:]
    cuts = range(0, len(body), size)
    parts = (
        make_segment(0xEB, b"JP" + struct.pack(">HI", 1, number) + head + body[start : start + size])
        for number, start in enumerate(cuts, 1)
    )
    return make_jpeg(*parts)
