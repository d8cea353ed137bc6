"""Tell sitemaps and feeds from other responses by their bytes, and read them, damaged ones up to the damage. Pure."""

import re
import zlib
from collections.abc import Callable

from pipeline.crawl.discovery.entries import Entries
from pipeline.crawl.discovery.feeds import Feed, is_json_feed, read_json_feed
from pipeline.crawl.discovery.sitemaps import SitemapIndex, UrlSet, looks_like_urls, read_url_lines
from pipeline.crawl.discovery.xml_elements import Handler, read_elements
from pipeline.crawl.links import Links
from pipeline.formats.encodings import decode_page
from pipeline.formats.format_errors import FormatFault

MAX_LISTING_BYTES = 50 << 20
"""Of a sitemap, decompressed (sitemaps.org); the rest is not read. The same holds for feeds."""

HEAD_BYTES = 4096
"""In which the first element of an XML file is searched for."""

SITEMAP, INDEX, FEED, URL_LINES = "sitemap", "sitemap index", "feed", "list of URLs"
"""The forms of lists: `Links.listing`."""

_XML: dict[str, tuple[str, bool, Callable[[Entries], Handler]]] = {
    "urlset": (SITEMAP, True, UrlSet),
    "sitemapindex": (INDEX, True, SitemapIndex),
    "rss": (FEED, False, Feed),
    "RDF": (FEED, False, Feed),
    "feed": (FEED, False, Feed),
}
"""By the first element: the form, whether what is listed is as far from the start as the list, and what takes the
elements."""

_BEFORE = b"\xef\xbb\xbf\xff\xfe\0 \t\r\n"
"""Bytes of marks of UTF-8 and UTF-16, and white space."""

_STARTS = (b"<", b"{", b"h", b"H")
"""First bytes of XML, JSON and URLs. To decode the head of an image takes 700 µs; most responses are images."""

_GZIP = b"\x1f\x8b"
_ROOT = re.compile(
    r"\s*+(?>(?><\?.*?\?>|<!--.*?-->|<!DOCTYPE[^>\[]*+(?:\[.*?\]\s*+)?>)\s*+)*+<(?:[\w.-]+:)?([\w.-]+)", re.DOTALL
)


def read_listing(body: bytes, content_type: str | None, url: str) -> Links | None:
    """Return what a sitemap, a feed or a text of URLs at a canonical URL lists; None if the body is none of these.

    `Links.listing` says what it is. A page whose first lines are URLs may be a text of URLs by chance: who asked for a
    sitemap knows better.
    """
    head = _decompress(body, HEAD_BYTES)[0]
    if not head.lstrip(_BEFORE).startswith(_STARTS):
        return None
    text = decode_page(head, content_type)
    if root := _find_root(text):
        kind, same_depth, handler = _XML[root]
        return _read(
            body, content_type, Entries(url, same_depth), kind, lambda full, to: read_elements(full, handler(to))
        )
    if is_json_feed(text):
        return _read(body, content_type, Entries(url, False), FEED, read_json_feed)
    if looks_like_urls(text):
        return _read(body, content_type, Entries(url, True), URL_LINES, read_url_lines)
    return None


def is_xml_list(body: bytes) -> bool:
    """Return whether a body is a sitemap or feed in XML, whatever it is served as: some servers call all a page."""
    return _find_root(decode_page(body[:HEAD_BYTES], None)) is not None


def _find_root(text: str) -> str | None:
    """Return the first element of an XML document if it is that of a list."""
    found = _ROOT.match(text)
    return found[1] if found and found[1] in _XML else None


def _read(
    body: bytes, content_type: str | None, entries: Entries, kind: str, read: Callable[[str, Entries], None]
) -> Links:
    try:
        content, complete = _decompress(body, MAX_LISTING_BYTES)
        read(decode_page(content, content_type), entries)
        if not complete:
            raise FormatFault("a file that is cut off, or has more bytes than are read")
    except FormatFault as fault:
        return entries.build(kind, unread=str(fault))
    return entries.build(kind)


def _decompress(body: bytes, size: int) -> tuple[bytes, bool]:
    """Return the first bytes of a body, up to `size`, without the compression of gzip, and whether these are all."""
    if not body.startswith(_GZIP):
        return body[:size], len(body) <= size
    content, complete = b"", True
    while body.startswith(_GZIP) and complete:  # it may have several members
        member = zlib.decompressobj(wbits=31)
        try:
            content += member.decompress(body, size + 1 - len(content))
        except zlib.error:
            return content, False
        complete, body = member.eof and len(content) <= size, member.unused_data
    return content[:size], complete
