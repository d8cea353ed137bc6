"""Find the caption of each image of a web page: the text that its author, or the page's layout, puts beside it. Pure.

The rules, the first that gives a text decides, and its name is that of the caption's part:

    figcaption  the `<figcaption>` of the innermost `<figure>` around the image
    caption     the element of a class such as `caption` in one of the `NEAR` elements around the image, or the next
                sibling of one, if no other image stands there
    alt         the image's attribute `alt`
    heading     the nearest heading above the image
    paragraph   the first paragraph below it, where there is no heading
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from pipeline.formats.html import read_attribute, read_text
from pipeline.formats.page_media import choose_source, find_base
from pipeline.formats.urls import BadUrl, canonicalize_url, has_other_scheme
from pipeline.tables.item_names import name_part

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

NEAR = 3
"""Elements around an image in which its caption is looked for."""

MAX_FIGURES = 10_000
"""Images of a page that are looked at."""

_CAPTION_CLASS = re.compile(
    r"(?:^|[\s_-])(?:caption|legend|gallerytext)(?:$|[\s_-])|caption(?:-?text)?(?:$|\s)", re.IGNORECASE
)
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")


@dataclass(frozen=True, slots=True)
class Figure:
    """An image of a page by its canonical URL, and its caption: `rule` found it, or is empty where there is none."""

    image: str
    caption: str = ""
    rule: str = ""


def read_figures(document: "LexborHTMLParser", url: str) -> list[Figure]:
    """Return the images of the page at `url` in document order, with their captions.

    An image with the same caption again is left out; one that stands there with several captions is several figures.
    """
    base = find_base(document, url)
    images = Counter(element.mem_id for node in document.css("img") for element in islice(_list_around(node), NEAR))
    found: dict[tuple[str, str], Figure] = {}
    heading = ""
    for node in document.css(", ".join((*_HEADINGS, "img"))):
        if node.tag != "img":
            heading = read_text(node) or heading
            continue
        image = _find_image(node, base)
        if image is not None and len(found) < MAX_FIGURES:
            around = [element for element in islice(_list_around(node), NEAR) if images[element.mem_id] == 1]
            rule, caption = next(_list_captions(node, around, heading), ("", ""))
            found.setdefault((image, caption), Figure(image, caption, rule))
    captioned = {figure.image for figure in found.values() if figure.caption}
    return [figure for figure in found.values() if figure.caption or figure.image not in captioned]


def number_figures(figures: Sequence[Figure]) -> Iterator[tuple[str, Figure]]:
    """Yield the figures that have a caption, each with the name of its part: `alt`, `alt.2`, …"""
    numbers: Counter[str] = Counter()
    for figure in figures:
        if figure.rule:
            numbers[figure.rule] += 1
            yield name_part(figure.rule, numbers[figure.rule]), figure


def _find_image(node: "LexborNode", base: str) -> str | None:
    reference = choose_source(node)
    if not reference or has_other_scheme(reference):
        return None
    try:
        return canonicalize_url(reference, base)
    except BadUrl:
        return None


def _list_captions(node: "LexborNode", around: "Sequence[LexborNode]", heading: str) -> Iterator[tuple[str, str]]:
    """Yield the captions of an image, each with its rule, the best first; `around` are elements that have no other."""
    for rule, texts in (
        ("figcaption", _list_figcaptions(node)),
        ("caption", _list_marked(around)),
        ("alt", iter([" ".join((read_attribute(node, "alt") or "").split())])),
        ("heading", iter([heading])),
        ("paragraph", _list_below(around)),
    ):
        yield from ((rule, text) for text in texts if text)


def _list_around(node: "LexborNode") -> Iterator["LexborNode"]:
    """Yield the elements around an image, the innermost first, up to one of the page's parts."""
    parent = node.parent
    while parent is not None and parent.tag not in ("body", "html", "main", "article", "section"):
        yield parent
        parent = parent.parent


def _list_figcaptions(node: "LexborNode") -> Iterator[str]:
    parent = node.parent
    while parent is not None and parent.tag != "figure":
        parent = parent.parent
    if parent is not None:
        caption = parent.css_first("figcaption")
        yield read_text(caption) if caption is not None else ""


def _list_marked(around: "Sequence[LexborNode]") -> Iterator[str]:
    for element in around:
        following = _find_next(element)
        for candidate in (*element.css("[class], caption"), *([following] if following is not None else [])):
            if candidate.tag == "caption" or _CAPTION_CLASS.search(read_attribute(candidate, "class") or ""):
                yield read_text(candidate)


def _find_next(element: "LexborNode") -> "LexborNode | None":
    """Return the next element, if it has no image of its own."""
    following = element.next
    while following is not None and not following.is_element_node:
        following = following.next
    return None if following is None or following.css_first("img") is not None else following


def _list_below(around: "Sequence[LexborNode]") -> Iterator[str]:
    for element in around:
        following = _find_next(element)
        if following is not None and following.tag == "p":
            yield read_text(following)
