"""Collect what a sitemap or a feed lists as links, each URL once, within the limits of the sitemap protocol. Pure."""

from collections import Counter
from dataclasses import replace

from pipeline.crawl.links import Link, Links
from pipeline.formats.urls import BadUrl, canonicalize_url, has_other_scheme, redact_url

MAX_ENTRIES = 50_000
"""URLs of pages or sitemaps that are taken from one list (sitemaps.org); more are counted."""

MAX_MEDIA = 200_000
"""Images, recordings and videos that are taken from one list; more are counted."""


class Entries:
    """The entries of a list at a canonical URL, which relative references are relative to.

    `same_depth` says whether what it lists is as far from the start as the list itself.
    """

    def __init__(self, url: str, same_depth: bool) -> None:
        self._base = url
        self._same_depth = same_depth
        self._found: dict[str, Link] = {}
        self._counts: Counter[str] = Counter()

    def add_page(self, reference: str) -> str | None:
        """Add a page, and return its canonical URL; None if it has none."""
        return self._add(reference, Link("", False, same_depth=self._same_depth))

    def add_sitemap(self, reference: str) -> None:
        """Add another sitemap."""
        self._add(reference, Link("", False, same_depth=True, sitemap=True))

    def add_next(self, reference: str) -> None:
        """Add what goes on with the same list."""
        self._add(reference, Link("", False))

    def add_media(self, reference: str, image: bool, page: str | None) -> None:
        """Add what the page at a canonical URL shows; with None, what the list itself does."""
        self._add(reference, Link("", True, image, page=page))

    def build(self, kind: str, unread: str = "") -> Links:
        """Return all that was added. `kind` names the form of the list, `unread` says why its rest was not read."""
        counts = self._counts
        beyond = counts["beyond"] + counts["media_beyond"]
        return Links(
            tuple(self._found.values()),
            other_schemes=counts["other_schemes"],
            listing=kind,
            beyond=beyond,
            unread=unread,
        )

    def _add(self, reference: str, link: Link) -> str | None:
        if has_other_scheme(reference):
            self._counts["other_schemes"] += 1
            return None
        try:
            url = canonicalize_url(reference, self._base)
            link = replace(link, url=url)
        except BadUrl as bad:
            url, link = None, replace(link, url=redact_url(reference), fault=str(bad))
        if link.url not in self._found:
            kind, limit = ("media", MAX_MEDIA) if link.embedded else ("", MAX_ENTRIES)
            if self._counts[kind] == limit:
                self._counts[f"{kind}_beyond" if kind else "beyond"] += 1
                return None
            self._counts[kind] += 1
            self._found[link.url] = link
        return url
