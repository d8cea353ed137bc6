"""Pages that a parser would spend minutes and gigabytes on, told by their tags alone, in linear time.

Three things about HTML grow with the square of a page's length. Nearly every tag makes the parser go through all the
elements that are open (measured: 500 kB of `<div>` take 24 s). What formatting elements a paragraph leaves open, it
makes anew in every later one (25 kB take 1.3 GB). Every attribute is compared with all the others of its tag.
"""

import re
from collections import Counter

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
