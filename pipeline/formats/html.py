"""Reading web pages: bytes to a parsed document, whatever encoding they are in."""

import codecs
import re
from typing import TYPE_CHECKING

from pipeline.formats.fault import FormatFault
from pipeline.formats.tangle import is_tangled

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_CHARSET = re.compile(rb"<meta[^>]{0,256}charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.-]+)", re.IGNORECASE)
_PRESCAN_BYTES = 1024
"""Source: HTML Standard, section 13.2.3.2, as are the order of the guesses and windows-1252 at their end."""

_ENCODINGS = re.compile(
    r"big5(hkscs)?|cp(866|874|932|949|125[013-8])|euc_(jp|kr)|gb(18030|2312|k)|iso2022_jp|iso8859-([2-9]|1[03-6])"
    r"|koi8-[ru]|mac-(cyrillic|roman)|shift_jis"
)
"""Python's names of the encodings that the web has (WHATWG Encoding Standard, section 4.2). Its other codecs may raise
whatever the error handler (idna), or take the square of the length (punycode)."""

MAX_PAGE_BYTES = 4 << 20
"""A longer page is not parsed: what no estimate of `tangle` sees stays within bounds too."""


def decode_html(content: bytes) -> str:
    """The text of a page: by its byte order mark, as UTF-8 if it is that, by its `<meta charset>`, as windows-1252.

    UTF-8 is tried before the page is asked: what is valid UTF-8 hardly ever is anything else. Never fails: bytes that
    the encoding does not have become U+FFFD.
    """
    for mark, encoding in _BOMS:
        if content.startswith(mark):
            return content.removeprefix(mark).decode(encoding, "replace")
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode(_find_declared(content), "replace")


def _find_declared(content: bytes) -> str:
    declared = _CHARSET.search(content, 0, _PRESCAN_BYTES)
    try:
        name = codecs.lookup(declared[1].decode("ascii")).name if declared else ""
    except LookupError:
        name = ""
    return name if _ENCODINGS.fullmatch(name) else "cp1252"  # which iso-8859-1 and ascii are to the web


def parse_html(content: bytes) -> "LexborHTMLParser":
    """The document of a page.

    Raises:
        FormatFault: it is larger than a page may be, or so tangled that parsing it would take minutes and gigabytes.
    """
    if len(content) > MAX_PAGE_BYTES:
        raise FormatFault("a page larger than is parsed")
    text = decode_html(content)
    if is_tangled(text):
        raise FormatFault("a page with more open elements, or attributes of one, than is parsed")
    from selectolax.lexbor import LexborHTMLParser

    return LexborHTMLParser(text)


def read_text(node: "LexborNode") -> str:
    """The text below `node` as a reader sees it: white space runs are one space, none at the ends."""
    return " ".join(node.text().split())


def read_attribute(node: "LexborNode", name: str) -> str | None:
    """The attribute's value without white space around it, or None where it is missing or empty."""
    return (node.attributes.get(name) or "").strip() or None


def check_selector(selector: str) -> bool:
    """Whether `selector` is a CSS selector that `LexborHTMLParser.css` understands."""
    from selectolax.lexbor import LexborHTMLParser, SelectolaxError

    try:
        LexborHTMLParser("<p>").css(selector)
    except SelectolaxError:
        return False
    return True
