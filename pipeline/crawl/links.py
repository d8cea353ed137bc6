"""Extract what a page embeds and links, in document order. Pure."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pipeline.formats.page_media import MEDIA, Embed, find_base, list_embeds
from pipeline.formats.urls import BadUrl, canonicalize_url, has_other_scheme, redact_url

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode


@dataclass(frozen=True, slots=True)
class Link:
    """A reference to another URL.

    Attributes:
        url: canonical; if it is invalid, a redacted text, and `fault` says why.
        embedded: whether it is shown where it is referred to.
        same_depth: whether it is no further from the start than what refers to it, as what is embedded.
        page: what shows it, if that is not what refers to it: the page of a feed's entry.
        sitemap: whether it is said to be a sitemap.
    """

    url: str
    embedded: bool
    image: bool = False
    fault: str = ""
    same_depth: bool = False
    page: str | None = None
    sitemap: bool = False


@dataclass(frozen=True, slots=True)
class Links:
    """The URLs that a page, a sitemap or a feed refers to, each once, and what was passed over.

    Attributes:
        nofollow: how many links it asks not to follow.
        other_schemes: how many links there are by mailto, data, javascript and the like.
        refreshes: how many elements send a reader to another page after some time.
        canonical: the canonical URL that a page says it has, if it is another one.
        listing: the form of a sitemap or feed; empty for a page.
        beyond: how many entries of it are beyond the limit.
        unread: why its rest could not be read.
        sitemaps: URLs of the sitemaps that robots.txt of its site names, if that was asked for.
    """

    followed: tuple[Link, ...] = ()
    nofollow: int = 0
    other_schemes: int = 0
    refreshes: int = 0
    canonical: str | None = None
    listing: str = ""
    beyond: int = 0
    unread: str = ""
    sitemaps: tuple[str, ...] = ()


NO_LINKS = Links()
"""Of all that have none: 10^8 visits share it."""


FEED_TYPES = ("application/rss+xml", "application/atom+xml", "application/feed+json")
"""The types by which a `<link rel=alternate>` is one to a feed."""


def extract_links(document: "LexborHTMLParser", url: str, follow: bool = True, feeds: bool = False) -> Links:
    """Return what the page at `url` links (`a`) and embeds, see `pipeline.formats.page_media`.

    `<base href>` and `rel=nofollow` are respected. With `follow` False no link of the page is followed, but what it
    embeds is. A URL that is both embedded and linked counts as embedded. A page that sends its readers elsewhere by
    `<meta http-equiv=refresh>` is not followed there. With `feeds` the feeds that the page names count as links.
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
    if feeds and follow:
        for link in _list_feeds(document, base):
            found.setdefault(link.url, link)
    return Links(
        tuple(found.values()),
        passed_over["nofollow"],
        passed_over["other_schemes"],
        refreshes=len(document.css("meta[http-equiv=refresh i]")),
        canonical=find_canonical(document, url, base) if follow else None,
    )


def find_canonical(document: "LexborHTMLParser", url: str, base: str) -> str | None:
    """Return the URL that the page at `url` names as its own (RFC 6596), if that is another one.

    None where it names several. The root of a site is believed only by other forms of its own URL: templates that name
    it on every page are the most frequent mistake.
    """
    named = {node.attributes.get("href") or "" for node in _list_head_links(document, "canonical")}
    if len(named) != 1:
        return None
    try:
        canonical = canonicalize_url(named.pop(), base)
    except BadUrl:
        return None
    root = urlsplit(canonical).path == "/" and not urlsplit(canonical).query
    return None if canonical == url or (root and urlsplit(url).path != "/") else canonical


def _list_head_links(document: "LexborHTMLParser", relation: str) -> "Iterator[LexborNode]":
    for node in document.css("head link[rel][href]"):
        if relation in (node.attributes.get("rel") or "").lower().split():
            yield node


def _list_feeds(document: "LexborHTMLParser", base: str) -> Iterator[Link]:
    for node in _list_head_links(document, "alternate"):
        if (node.attributes.get("type") or "").strip().lower() in FEED_TYPES:
            yield replace(_build_link(node.attributes.get("href") or "", base, None), same_depth=True)


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
