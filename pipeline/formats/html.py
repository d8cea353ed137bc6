"""Reading web pages: bytes to a parsed document, whatever encoding they are in."""

import codecs
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_CHARSET = re.compile(rb"<meta[^>]{0,256}charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.-]+)", re.IGNORECASE)
_PRESCAN_BYTES = 1024
"""Source: HTML Standard, section 13.2.3.2, as are the order of the guesses and windows-1252 at their end."""


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
        found = codecs.lookup(declared[1].decode("ascii")) if declared else None
    except LookupError:
        found = None
    # Python also knows codecs that are no text encodings (zlib, rot13); iso-8859-1 is windows-1252 to the web.
    if found is None or not found._is_text_encoding or found.name in ("iso8859-1", "ascii", "utf-8"):
        return "cp1252"
    return found.name


def parse_html(content: bytes) -> "LexborHTMLParser":
    """The document of a page; any bytes give one."""
    from selectolax.lexbor import LexborHTMLParser

    return LexborHTMLParser(decode_html(content))


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
