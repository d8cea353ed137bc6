"""Find the images, audio and video that a page embeds, as a browser that runs the page would show them. Pure.

Of several forms of one image (`srcset`, `<picture>`, attributes of scripts that load images late) one is chosen: the
largest up to `MAX_WIDTH`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.formats.html import read_attribute
from pipeline.formats.urls import BadUrl, canonicalize_url

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

LATE_SETS = ("data-srcset", "data-lazy-srcset")
LATE_SOURCES = ("data-src", "data-original", "data-lazy-src", "data-lazy", "data-actualsrc", "data-full-src")
"""Attributes in which libraries that load images late keep what `srcset` and `src` will be (lazysizes, lozad, jQuery
Lazy, WordPress plug-ins); `src` holds a placeholder until then."""

MAX_WIDTH = 2048
"""Pixels by the descriptor in a `srcset`: wider forms are taken only where there is no other."""

PAGE_IMAGES = 'meta[property="og:image"], meta[property="og:image:url"], meta[name="twitter:image"]'
"""Elements that name the image of a whole page (Open Graph protocol, section 1)."""

MEDIA = f"img, picture > source[srcset], video, audio, source[src], input[type=image][src], {PAGE_IMAGES}"
"""The selector of all elements of `list_embeds`."""

_CANDIDATE = re.compile(r"(?<![^\s,])([^\s,](?:[^\s]*[^\s,])?)(?:\s++(\d+(?:\.\d+)?)([wxh])(?:\s++\d+h)?)?\s*+(?:,|$)")
"""One image of a `srcset` (HTML Standard, section 4.8.4.2): a URL, and its width or density."""


@dataclass(frozen=True, slots=True)
class Embed:
    """Something that a page shows: `reference` is as in the page; `image` if it is one."""

    reference: str
    image: bool


def find_base(document: "LexborHTMLParser", url: str) -> str:
    """Return the URL that the references of the page at `url` are relative to."""
    node = document.css_first("base[href]")
    if node is None:
        return url
    try:
        return canonicalize_url(read_attribute(node, "href") or "", url)
    except BadUrl:
        return url


def list_embeds(node: "LexborNode") -> Iterator[Embed]:
    """Yield what an element of `MEDIA` embeds; of several elements one URL may come several times."""
    if node.tag in ("video", "audio"):
        yield from _list_embeds_of_player(node)
    elif node.tag == "source":
        yield from _list_embeds_of_source(node)
    elif node.tag == "meta":
        yield from _embed(read_attribute(node, "content"), image=True)
    else:
        yield from _embed(choose_source(node), image=True)


def choose_source(node: "LexborNode") -> str | None:
    """Return the reference of an `<img>`: its best form, or that of the first `<source>` of its `<picture>`."""
    for names in (LATE_SETS, ("srcset",)):
        for name in names:
            if chosen := choose_candidate(node.attributes.get(name) or ""):
                return chosen
    late = next(filter(None, (read_attribute(node, name) for name in LATE_SOURCES)), None)
    return late or read_attribute(node, "src")


def choose_candidate(srcset: str) -> str | None:
    """Return the URL of the largest image up to `MAX_WIDTH` of a `srcset`, else the smallest; of equals the first."""
    best: tuple[float, str] | None = None
    for url, size, unit in _CANDIDATE.findall(srcset):
        if url.startswith("data:"):
            continue
        width = float(size) if unit == "w" else float(size or 1)  # a density is far below any width
        rank = width if width <= MAX_WIDTH else -width
        if best is None or rank > best[0]:
            best = rank, url
    return best[1] if best else None


def _list_embeds_of_player(node: "LexborNode") -> Iterator[Embed]:
    yield from _embed(read_attribute(node, "src") or read_attribute(node, "data-src"), image=False)
    yield from _embed(read_attribute(node, "poster"), image=True)


def _list_embeds_of_source(node: "LexborNode") -> Iterator[Embed]:
    parent = node.parent
    if parent is None or parent.tag != "picture":
        yield from _embed(read_attribute(node, "src"), image=False)
    elif not any(choose_source(image) for image in parent.css("img")) and _is_first_source(node, parent):
        yield from _embed(choose_candidate(node.attributes.get("srcset") or ""), image=True)


def _is_first_source(node: "LexborNode", picture: "LexborNode") -> bool:
    first = picture.css_first("source[srcset]")
    return first is not None and first.mem_id == node.mem_id


def _embed(reference: str | None, image: bool) -> Iterator[Embed]:
    if reference:
        yield Embed(reference, image)
