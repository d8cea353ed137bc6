"""Parse web pages, and read text and attributes from them."""

import re
from collections import Counter
from typing import TYPE_CHECKING

from pipeline.formats.encodings import decode_page
from pipeline.formats.format_errors import FormatFault

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode


MAX_WALKED = 4 * 10**8
"""Open elements walked through, summed over all tags: some 2 s. A page of 300,000 tags, ten deep, has 3 million."""

MAX_REBUILT = 2 * 10**6
"""Formatting elements rebuilt, summed over all tags: some 600 MB."""

MAX_ATTRIBUTES = 1000
"""Of one tag."""

_ATTRIBUTE = r"[\s/]*+[^\s/>][^\s/>=]*+(?:\s*+=\s*+(?:\"[^\"]*+\"|'[^']*+'|[^\s>]*+))?+"
_ATTRIBUTES = re.compile(_ATTRIBUTE)
_TAG = re.compile(rf"<(/?)([A-Za-z][^\s/>]*+)((?:{_ATTRIBUTE})*+)[\s/]*+>?")
"""A tag as a tokenizer reads it (HTML Standard, section 13.2.5); unlike one it finds tags in scripts and comments
too."""

_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
_FORMATTING = {"b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u"}
_ALIKE = 3
"""The parser rebuilds at most so many equal formatting elements (HTML Standard, section 13.2.4.3)."""


def is_tangled(text: str) -> bool:
    """Return whether a page has more open elements, open formatting or attributes than pages that people write.

    The estimate errs on the safe side: a closing tag counts for its own name only, and a formatting element counts as
    closed only where its closing tag is the very next one.
    """
    opened: Counter[str] = Counter()
    formatting: Counter[str] = Counter()
    depth = walked = kept = rebuilt = 0
    pending, end = "", 0  # the formatting tag before this one, and where the last tag ended
    for tag in _TAG.finditer(text):
        closing, name, attributes = tag[1], tag[2].lower(), tag[3]
        if pending and not (closing and pending.startswith(f"{name} ") and "<" not in text[end : tag.start()]):
            formatting[pending] += 1
            kept += formatting[pending] <= _ALIKE
        pending, end = "", tag.end()
        if closing:
            depth -= opened[name] > 0
            opened[name] = max(0, opened[name] - 1)
        elif name not in _VOID:
            depth += 1
            opened[name] += 1
            pending = f"{name} {attributes}" if name in _FORMATTING else ""
        walked += depth
        rebuilt += kept
        if walked > MAX_WALKED or rebuilt > MAX_REBUILT or _count_attributes(attributes) > MAX_ATTRIBUTES:
            return True
    return False


def _count_attributes(attributes: str) -> int:
    """Count attributes; 0 where the text is too short for too many."""
    return len(_ATTRIBUTES.findall(attributes)) if len(attributes) > MAX_ATTRIBUTES else 0


MAX_PAGE_BYTES = 4 << 20
"""A longer page is not parsed: this bounds what the estimate of `is_tangled` misses."""


def parse_html(content: bytes, content_type: str | None = None) -> "LexborHTMLParser":
    """Return the document of a page, which was served with that Content-Type header.

    Raises:
        FormatFault: it is larger than `MAX_PAGE_BYTES`, or so tangled that parsing it would take minutes and gigabytes.
    """
    if len(content) > MAX_PAGE_BYTES:
        raise FormatFault("a page larger than is parsed")
    text = decode_page(content, content_type)
    if is_tangled(text):
        raise FormatFault("a page with more open elements, or attributes of one, than is parsed")
    from selectolax.lexbor import LexborHTMLParser

    return LexborHTMLParser(text)


def read_text(node: "LexborNode") -> str:
    """Return the text below `node`, with single spaces for runs of white space and none at the ends."""
    return " ".join(node.text().split())


def read_attribute(node: "LexborNode", name: str) -> str | None:
    """Return the attribute's value without white space around it, or None where it is missing or empty."""
    return (node.attributes.get(name) or "").strip() or None


def check_selector(selector: str) -> bool:
    """Return whether `selector` is a CSS selector that `LexborHTMLParser.css` understands."""
    from selectolax.lexbor import LexborHTMLParser, SelectolaxError

    try:
        LexborHTMLParser("<p>").css(selector)
    except SelectolaxError:
        return False
    return True
