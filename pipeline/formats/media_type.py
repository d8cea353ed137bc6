"""Find the media type of a file from its bytes: names and servers are often wrong about it.

To add a format: its parser in the folder of its modality, the name of its type in `type_names`, its modality and
signature here, and one line in the table `FORMATS` of its modality, which says what parses and what decodes it. Parsers
are not listed here, so that an edit in one does not make crawl and ingest run again.
"""

import re

from pipeline.formats.audio.tags import skip_id3
from pipeline.formats.encodings import find_wide, read_charset
from pipeline.formats.type_names import (
    AAC,
    AIFF,
    AVI,
    AVIF,
    BMP,
    FLAC,
    GIF,
    HEIC,
    HTML,
    JPEG,
    M4A,
    MATROSKA,
    MP3,
    MP4,
    NIST,
    OPUS,
    PNG,
    TEXT,
    TIFF,
    VORBIS,
    WAV,
    WEBM,
    WEBP,
)

MODALITIES_BY_TYPE = {
    **dict.fromkeys((JPEG, PNG, WEBP, GIF, BMP, TIFF, AVIF, HEIC), "image"),
    **dict.fromkeys((WAV, FLAC, VORBIS, OPUS, MP3, AAC, M4A, AIFF, NIST), "audio"),
    **dict.fromkeys((TEXT, HTML), "text"),
    **dict.fromkeys((MP4, WEBM, MATROSKA, AVI), "video"),
}
"""The media types that the pipeline reads, each with its modality."""

UNKNOWN = "application/octet-stream"
UNKNOWN_TEXT = "text/plain; charset=unknown"
"""Text that is not UTF-8."""

HEAD_BYTES = 4096
"""The bytes in which the first element of a page or an SVG image is searched for."""

_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", JPEG),
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"fLaC", FLAC),
    (b"NIST_1A\n", NIST),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"BM", BMP),
    (b"II*\0", TIFF),
    (b"MM\0*", TIFF),
    (b"II+\0", TIFF),  # with 64-bit offsets
    (b"MM\0+", TIFF),
    (b"\0\0\1\0", "image/x-icon"),
    (b"\xff\x0a", "image/jxl"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "image/jxl"),
    (b"\xff\xfb", MP3),
    (b"\xff\xf3", MP3),
    (b"\xff\xf2", MP3),
    (b"\xff\xfa", MP3),
    (b"\xff\xe3", MP3),
    (b"\xff\xe2", MP3),
    (b"\xff\xf1", AAC),
    (b"\xff\xf9", AAC),
    (b"%PDF-", "application/pdf"),
    (b"%!PS", "application/postscript"),
    (b"PK\3\4", "application/zip"),
    (b"PK\5\6", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
    (b"BZh", "application/x-bzip2"),
    (b"\xfd7zXZ\0", "application/x-xz"),
    (b"\x28\xb5\x2f\xfd", "application/zstd"),
    (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (b"PAR1", "application/vnd.apache.parquet"),
    (b"\x93NUMPY", "application/x-npy"),
    (b"\x7fELF", "application/x-elf"),
)
"""First bytes of files. Source: WHATWG MIME Sniffing Standard, section 6, and each format's own specification."""

_EBML = b"\x1aE\xdf\xa3"
_EBML_BYTES = 64
"""Bytes searched for the document type; the head of a file takes some 40."""
_RIFF_FORMS = {b"WAVE": WAV, b"WEBP": WEBP, b"AVI ": AVI}
_AIFF_FORMS = {b"AIFF": AIFF, b"AIFC": AIFF}
_IMAGE_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
"""Of HEIF, which is a form of MP4."""
_HANDLER = re.compile(rb"hdlr\0{4}.{4}(soun|vide)", re.DOTALL)
"""The kinds of the tracks of an MP4 file."""
_TAGGED = {b"fLaC": FLAC, b"\xff\xf1": AAC, b"\xff\xf9": AAC}
_OGG_CODECS = {
    b"\x01vorbis": VORBIS,
    b"OpusHead": OPUS,
    b"\x7fFLAC": "audio/ogg; codecs=flac",
    b"Speex   ": "audio/ogg; codecs=speex",
    b"\x80theora": "video/ogg",
}
_PROLOGUE = rb"\s*+(?>(?><!--.*?-->|<\?xml.*?\?>|<!doctype\s+svg[^>]*>)\s*+)*+"
"""What may come before the first element. Without atomic groups many comments take exponential time."""

_PAGE = re.compile(_PROLOGUE + rb"<(?:!doctype\s+html|html(?:\s+[\w:-]+\s*=[^>]*+)?\s*>)", re.IGNORECASE | re.DOTALL)
_PAGE_PARTS = re.compile(
    rb"</(?:html|head|body|script|style|figure|figcaption)\s*>"
    rb"|<(?:meta|link|img|script|iframe|video|audio|source)\s+[\w-]+\s*=",
    re.IGNORECASE,
)
"""What only pages have: a text may begin with `<p>`, or with words in angle brackets."""

_HTML_START = re.compile(
    _PROLOGUE + rb"<(?:!doctype\s+html|(?:html|head|script|iframe|h1|div|font|table|a|style|title"
    rb"|b|body|br|p|meta|link|ul|ol|main|article|section|center)[\s/>])",
    re.IGNORECASE | re.DOTALL,
)
"""Source: WHATWG MIME Sniffing Standard, section 7.1, plus elements that pages without a head begin with."""

_SVG_START = re.compile(_PROLOGUE + rb"<svg(?:\s+[\w:-]+\s*=|\s*>)", re.IGNORECASE | re.DOTALL)
_CONTROLS = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
"""Bytes that do not occur in text; form feed, escape and vertical tab may."""

_ENDS = b"\0\x1a"
"""Bytes that C and DOS programs write after a text."""

_PRINTABLE = re.compile(rb"%PDF-\d\.\d(?:\s|\Z)|%!PS(?:-Adobe|\s|\Z)")
"""Starts of formats whose files may have no other bytes than a text."""

_BOMS = (b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")
"""Of UTF-16 and UTF-32."""


MAX_CONTROLS = 1 / 50
"""Share of bytes that do not occur in text in the head of a page, beside the `FEW_CONTROLS` that any page may have; of
compressed bytes it is one in nine."""
FEW_CONTROLS = 4


def find_media_type(
    content: bytes, *, page: bool = False, fragment: bool = False, content_type: str | None = None
) -> str:
    """Return the media type of a whole file.

    The pipeline reads the keys of `MODALITIES_BY_TYPE`; other types are found for messages. `UNKNOWN` where the bytes
    fit none, `UNKNOWN_TEXT` for text in another encoding than UTF-8.

    Args:
        content: of the file.
        page: whether server or name say that it is a page, see `claims_page`: then it is one unless its bytes are
            binary, whatever it begins with.
        fragment: whether a text that begins as fragments of pages do is a page; else it must say so or have what only
            pages have.
        content_type: the Content-Type that it was served with, for the encoding of a page.
    """
    signature, media_type = _find_signature(content)
    if page and _is_page(content, signature, content_type):
        return HTML
    if signature:  # which a text may well begin with
        worded = signature.isascii() and not _PRINTABLE.match(content) and not _CONTROLS.search(content)
    else:
        end = len(content.rstrip(_ENDS))
        worded = content.startswith(_BOMS) or (end > 0 and not _CONTROLS.search(content, 0, end))
    return _find_text_type(content, fragment) if worded else media_type


def claims_page(name: str, content_type: str | None) -> bool:
    """Return whether the server, or else the file's name, says that a file is a page."""
    if content_type:
        return "html" in content_type.lower()
    return name.lower().endswith((".html", ".htm", ".xhtml", ".shtml"))


def _is_page(content: bytes, signature: bytes, content_type: str | None) -> bool:
    """Return whether the bytes of what claims to be a page are not binary."""
    if signature and (not (signature.isascii() and signature.decode().isprintable()) or _PRINTABLE.match(content)):
        return False
    head = content[:HEAD_BYTES].rstrip(_ENDS)
    if find_wide(head) or (read_charset(content_type) or "").startswith("utf-16"):
        return True
    return bool(head) and len(_CONTROLS.findall(head)) <= max(FEW_CONTROLS, MAX_CONTROLS * len(head))


def _find_signature(content: bytes) -> tuple[bytes, str]:
    """Return the signature of a binary format, and its media type; an empty signature where there is none."""
    container, form = content[:4], content[8:12]
    if container.startswith(b"ID3"):
        return container[:3], _find_tagged_type(content)
    if container in (b"RIFF", b"RF64", b"BW64") and form in _RIFF_FORMS:
        return container, _RIFF_FORMS[form]
    if container == b"FORM" and form in _AIFF_FORMS:
        return container, _AIFF_FORMS[form]
    if container == b"OggS":
        return container, _find_ogg_type(content)
    if container == _EBML:
        return container, _find_ebml_type(content)
    if content[4:8] == b"ftyp":
        return content[4:8], _find_iso_type(content)
    return next(((sign, kind) for sign, kind in _SIGNATURES if content.startswith(sign)), (b"", UNKNOWN))


def _find_tagged_type(content: bytes) -> str:
    """Find what follows the tags of a player: they stand before MP3, and before others too."""
    start = skip_id3(content)
    return next((kind for sign, kind in _TAGGED.items() if content.startswith(sign, start)), MP3)


def _find_ogg_type(content: bytes) -> str:
    """Find the codec in the first packet, which follows the first page's segment table (RFC 3533, section 6)."""
    start = 27 + (content[26] if len(content) > 26 else 0)
    return next((kind for sign, kind in _OGG_CODECS.items() if content.startswith(sign, start)), "application/ogg")


def _find_iso_type(content: bytes) -> str:
    """Find the kind by the brands of the file, of which the first is the one that it was made for."""
    size = int.from_bytes(content[:4], "big")
    brands = [content[8:12], *(content[at : at + 4] for at in range(16, min(size, len(content), 256) - 3, 4))]
    if brands[0] in _IMAGE_BRANDS:
        return AVIF if {b"avif", b"avis"} & set(brands) else HEIC
    if brands[0].startswith((b"M4A", b"M4B")):
        return M4A
    kinds = set(_HANDLER.findall(content))
    return M4A if b"soun" in kinds and b"vide" not in kinds else MP4


def _find_ebml_type(content: bytes) -> str:
    """Find the document type in the head (RFC 8794, section 11.2.5)."""
    return WEBM if b"\x42\x82\x84webm" in content[:_EBML_BYTES] else MATROSKA


def _find_text_type(content: bytes, fragment: bool) -> str:
    head = content[:HEAD_BYTES].removeprefix(b"\xef\xbb\xbf")
    wide = content.startswith(_BOMS)
    if wide:
        head = head.replace(b"\0", b"")[2:]  # the ASCII characters of UTF-16 and UTF-32
    if _SVG_START.match(head):
        return "image/svg+xml"
    if _PAGE.match(head) or (_HTML_START.match(head) and (fragment or _PAGE_PARTS.search(head))):
        return HTML  # in any encoding: pages say which
    return UNKNOWN_TEXT if wide or not _is_utf8(content) else TEXT


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True
