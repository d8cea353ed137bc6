"""Read sitemaps by the protocol of sitemaps.org, version 0.9, with the images and videos of Google's extensions. Pure.

What a sitemap says of when and how often pages change is not used: sites write anything there.
"""

from collections.abc import Mapping

from pipeline.crawl.discovery.entries import Entries

_MEDIA = {("image", "loc"): True, ("video", "content_loc"): False, ("video", "thumbnail_loc"): True}
"""The elements that have the URL of something that a page shows, with the one that each is in: whether it is an
image."""

_FIRST_LINES = 3


class UrlSet:
    """Takes the elements of a `<urlset>`: pages, each with its images and videos."""

    def __init__(self, entries: Entries) -> None:
        self._entries = entries
        self._path: list[str] = []
        self._page = ""
        self._media: list[tuple[str, bool]] = []

    def open(self, name: str, attributes: Mapping[str, str]) -> None:
        """Take the start of an element."""
        self._path.append(name)

    def close(self, name: str, text: str) -> None:
        """Take the end of an element."""
        self._path.pop()
        parent = self._path[-1] if self._path else ""
        image = _MEDIA.get((parent, name))
        if (parent, name) == ("url", "loc"):
            self._page = text
        elif image is not None and text:
            self._media.append((text, image))
        elif name == "url":
            self._add_page()

    def _add_page(self) -> None:
        page = self._entries.add_page(self._page) if self._page else None
        for reference, image in self._media if page else ():
            self._entries.add_media(reference, image, page)
        self._page, self._media = "", []


class SitemapIndex:
    """Takes the elements of a `<sitemapindex>`: other sitemaps."""

    def __init__(self, entries: Entries) -> None:
        self._entries = entries

    def open(self, name: str, attributes: Mapping[str, str]) -> None:
        """Take the start of an element."""

    def close(self, name: str, text: str) -> None:
        """Take the end of an element."""
        if name == "loc" and text:
            self._entries.add_sitemap(text)


def looks_like_urls(text: str) -> bool:
    """Return whether a plain text may be a sitemap: its first lines are URLs."""
    lines = text[:8192].split()[:_FIRST_LINES]
    return bool(lines) and all(line.lower().startswith(("http://", "https://")) for line in lines)


def read_url_lines(text: str, entries: Entries) -> None:
    """Read a sitemap that is a URL a line."""
    for line in text.splitlines():
        if line.strip():
            entries.add_page(line)
