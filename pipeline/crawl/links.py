"""Extract the links of a page, in document order. Pure."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.crawl.urls import BadUrl, canonicalize_url, has_other_scheme, redact_url
from pipeline.formats.html import read_attribute

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

_EMBEDS = "img[src], audio[src], video[src], source[src]"


@dataclass(frozen=True, slots=True)
class Link:
    """A reference to another URL. `url` is canonical; if it is invalid, a redacted text, and `fault` says why."""

    url: str
    embedded: bool
    image: bool = False
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Links:
    """The URLs that a page refers to, each once, and the numbers of links that were passed over."""

    followed: tuple[Link, ...] = ()
    nofollow: int = 0
    """Links that the page asks not to follow."""
    other_schemes: int = 0
    """Links by mailto, data, javascript and the like."""


def extract_links(document: "LexborHTMLParser", url: str, follow: bool = True) -> Links:
    """Return what the page at `url` links (`a`) and embeds (`img`, `audio`, `video`, `source`).

    `<base href>` and `rel=nofollow` are respected. With `follow` False no link of the page is followed, but what it
    embeds is. A URL that is both embedded and linked counts as embedded.
    """
    base = _find_base(document, url)
    found: dict[str, Link] = {}
    nofollow = other_schemes = 0
    for node in document.css(f"a[href], {_EMBEDS}"):
        reference = _read_reference(node)
        if has_other_scheme(reference):
            other_schemes += 1
        elif node.tag == "a" and not (follow and _may_follow(node)):
            nofollow += 1
        else:
            link = _build_link(node, reference, base)
            known = found.get(link.url)
            if known is None or (link.embedded and not known.embedded):
                found[link.url] = link
    return Links(tuple(found.values()), nofollow, other_schemes)


def _find_base(document: "LexborHTMLParser", url: str) -> str:
    node = document.css_first("base[href]")
    if node is None:
        return url
    try:
        return canonicalize_url(read_attribute(node, "href") or "", url)
    except BadUrl:
        return url


def _read_reference(node: "LexborNode") -> str:
    return node.attributes.get("href" if node.tag == "a" else "src") or ""


def _may_follow(node: "LexborNode") -> bool:
    return "nofollow" not in (node.attributes.get("rel") or "").lower().split()


def _build_link(node: "LexborNode", reference: str, base: str) -> Link:
    embedded, image = node.tag != "a", node.tag == "img"
    try:
        return Link(canonicalize_url(reference, base), embedded, image)
    except BadUrl as bad:
        return Link(redact_url(reference), embedded, image, str(bad))
