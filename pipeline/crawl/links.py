"""Extract what a page embeds and links, in document order. Pure."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.formats.page_media import MEDIA, Embed, find_base, list_embeds
from pipeline.formats.urls import BadUrl, canonicalize_url, has_other_scheme, redact_url

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode


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
    refreshes: int = 0
    """Elements that send a reader to another page after some time."""


def extract_links(document: "LexborHTMLParser", url: str, follow: bool = True) -> Links:
    """Return what the page at `url` links (`a`) and embeds, see `pipeline.formats.page_media`.

    `<base href>` and `rel=nofollow` are respected. With `follow` False no link of the page is followed, but what it
    embeds is. A URL that is both embedded and linked counts as embedded. A page that sends its readers elsewhere by
    `<meta http-equiv=refresh>` is not followed there.
    """
    base = find_base(document, url)
    found: dict[str, Link] = {}
    passed_over: Counter[str] = Counter()
    for reference, node, embed in _list_references(document):
        if has_other_scheme(reference):
            passed_over["other_schemes"] += 1
        elif embed is None and not (follow and _may_follow(node)):
            passed_over["nofollow"] += 1
        else:
            link = _build_link(reference, base, embed)
            known = found.get(link.url)
            if known is None or (link.embedded and not known.embedded):
                found[link.url] = link
    refreshes = len(document.css("meta[http-equiv=refresh i]"))
    return Links(tuple(found.values()), passed_over["nofollow"], passed_over["other_schemes"], refreshes)


def _list_references(document: "LexborHTMLParser") -> "Iterator[tuple[str, LexborNode, Embed | None]]":
    """Yield all references in document order, each with its element, and what it embeds if it does."""
    for node in document.css(f"a[href], {MEDIA}"):
        if node.tag == "a":
            yield node.attributes.get("href") or "", node, None
        else:
            yield from ((embed.reference, node, embed) for embed in list_embeds(node))


def _may_follow(node: "LexborNode") -> bool:
    return "nofollow" not in (node.attributes.get("rel") or "").lower().split()


def _build_link(reference: str, base: str, embed: Embed | None) -> Link:
    embedded, image = embed is not None, embed is not None and embed.image
    try:
        return Link(canonicalize_url(reference, base), embedded, image)
    except BadUrl as bad:
        return Link(redact_url(reference), embedded, image, str(bad))
