"""Reading web pages: bytes to a parsed document, whatever encoding they are in."""

import codecs
import re
from collections import Counter
from typing import TYPE_CHECKING

from pipeline.formats.format_errors import FormatFault

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode


MAX_WALKED = 4 * 10**8
"""Open elements gone through, over all tags: some 2 s. A page of 300,000 tags, ten deep, has 3 million."""

MAX_REBUILT = 2 * 10**6
"""Formatting elements made anew, over all tags: some 600 MB."""

MAX_ATTRIBUTES = 1000
"""Of one tag."""

_ATTRIBUTE = r"[\s/]*+[^\s/>][^\s/>=]*+(?:\s*+=\s*+(?:\"[^\"]*+\"|'[^']*+'|[^\s>]*+))?+"
_ATTRIBUTES = re.compile(_ATTRIBUTE)
_TAG = re.compile(rf"<(/?)([A-Za-z][^\s/>]*+)((?:{_ATTRIBUTE})*+)[\s/]*+>?")
"""As a tokenizer reads it (HTML Standard, section 13.2.5), but that it also sees tags in scripts and comments."""

_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
_FORMATTING = {"b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u"}
_ALIKE = 3
"""Of formatting elements that are alike, the parser keeps as many to make anew (HTML Standard, section 13.2.4.3)."""


def is_tangled(text: str) -> bool:
    """Whether a page has more open elements, open formatting or attributes than any that people write.

    An estimate that leans to the safe side: a closing tag counts for its own name alone; and a formatting element
    counts as closed only where its closing tag is the very next one.
    """
    opened: Counter[str] = Counter()
    formatting: Counter[str] = Counter()
    depth = walked = kept = rebuilt = 0
    unsettled, end = "", 0  # the formatting tag before this one, and where the last tag ended
    for tag in _TAG.finditer(text):
        closing, name, attributes = tag[1], tag[2].lower(), tag[3]
        if unsettled and not (closing and unsettled.startswith(f"{name} ") and "<" not in text[end : tag.start()]):
            formatting[unsettled] += 1
            kept += formatting[unsettled] <= _ALIKE
        unsettled, end = "", tag.end()
        if closing:
            depth -= opened[name] > 0
            opened[name] = max(0, opened[name] - 1)
        elif name not in _VOID:
            depth += 1
            opened[name] += 1
            unsettled = f"{name} {attributes}" if name in _FORMATTING else ""
        walked += depth
        rebuilt += kept
        if walked > MAX_WALKED or rebuilt > MAX_REBUILT or _count_attributes(attributes) > MAX_ATTRIBUTES:
            return True
    return False


def _count_attributes(attributes: str) -> int:
    """How many there are; 0 where the text is too short for too many."""
    return len(_ATTRIBUTES.findall(attributes)) if len(attributes) > MAX_ATTRIBUTES else 0


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
