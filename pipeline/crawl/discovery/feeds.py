"""Read RSS (0.9 to 2.0), Atom (RFC 4287) and JSON Feed: the page of each entry, and the media that it encloses. Pure.

An entry's media are those of RSS's `<enclosure>`, of Atom's `<link rel="enclosure">`, and of Media RSS. What its text
embeds is left to the page. Feeds in several parts are followed by `<link rel="next">` (RFC 5005).
"""

import json
from collections.abc import Mapping
from typing import Any

from pipeline.crawl.discovery.entries import Entries
from pipeline.formats.format_errors import FormatFault

MAX_JSON_BYTES = 8 << 20
"""Of a JSON Feed, which is parsed as a whole; 100 MB of memory or so."""

_ENTRIES = ("item", "entry")
_JSON_IMAGES = ("image", "banner_image")


class Feed:
    """Takes the elements of an XML feed."""

    def __init__(self, entries: Entries) -> None:
        self._entries = entries
        self._inside = False
        self._forget_entry()

    def _forget_entry(self) -> None:
        self._link = self._permalink = ""
        self._guid_is_url = False
        self._media: list[tuple[str, bool]] = []
        self._thumbnails: list[tuple[str, bool]] = []

    def open(self, name: str, attributes: Mapping[str, str]) -> None:
        """Take the start of an element."""
        if name in _ENTRIES:
            self._inside = True
        elif name == "link" and attributes.get("href"):
            self._take_link(attributes["href"], attributes)
        elif not self._inside:
            return
        elif name == "guid":
            self._guid_is_url = attributes.get("isPermaLink", "true") == "true"
        elif name in ("enclosure", "content", "thumbnail"):
            self._take_media(name, attributes)

    def close(self, name: str, text: str) -> None:
        """Take the end of an element."""
        if name in _ENTRIES:
            self._add_entry()
            self._forget_entry()
            self._inside = False
        elif self._inside and name == "link" and text:
            self._link = self._link or text
        elif name == "guid" and self._guid_is_url:
            self._permalink = text

    def _take_link(self, reference: str, attributes: Mapping[str, str]) -> None:
        relation = attributes.get("rel", "alternate")
        if not self._inside:
            if relation == "next":
                self._entries.add_next(reference)
        elif relation == "alternate":
            self._link = self._link or reference
        elif relation == "enclosure":
            self._media.append((reference, _is_image(attributes)))

    def _take_media(self, name: str, attributes: Mapping[str, str]) -> None:
        """Take an element of RSS, of Media RSS (`url`), or Atom's content that is elsewhere (`src`)."""
        reference = attributes.get("url") or attributes.get("src")
        if reference and name == "thumbnail":
            self._thumbnails.append((reference, True))
        elif reference and "html" not in attributes.get("type", ""):
            self._media.append((reference, _is_image(attributes)))

    def _add_entry(self) -> None:
        reference = self._link or self._permalink
        page = self._entries.add_page(reference) if reference else None
        shown = any(image for _, image in self._media)
        for media, image in self._media + ([] if shown else self._thumbnails):  # a thumbnail is a small form of it
            self._entries.add_media(media, image, page)


def _is_image(attributes: Mapping[str, str]) -> bool:
    return attributes.get("medium") == "image" or attributes.get("type", "").lower().startswith("image/")


def is_json_feed(head: str) -> bool:
    """Return whether a text begins as a JSON Feed does."""
    return head.lstrip().startswith("{") and "://jsonfeed.org/version/" in head.replace("\\/", "/")


def read_json_feed(text: str, entries: Entries) -> None:
    """Read a JSON Feed (jsonfeed.org, version 1.1); members of other types than they should have are passed over.

    Raises:
        FormatFault: it is not JSON, or too large.
    """
    if len(text) > MAX_JSON_BYTES:
        raise FormatFault("a JSON Feed larger than is parsed")
    try:
        feed = json.loads(text)
    except (ValueError, RecursionError):
        raise FormatFault("a JSON Feed that is not valid JSON") from None
    for item in _list_objects(feed, "items"):
        _add_item(item, entries)
    if reference := _read_string(feed, "next_url"):
        entries.add_next(reference)


def _add_item(item: Mapping[str, Any], entries: Entries) -> None:
    reference = _read_string(item, "url") or _read_string(item, "external_url")
    page = entries.add_page(reference) if reference else None
    for name in _JSON_IMAGES:
        if image := _read_string(item, name):
            entries.add_media(image, True, page)
    for attachment in _list_objects(item, "attachments"):
        if media := _read_string(attachment, "url"):
            entries.add_media(media, _read_string(attachment, "mime_type").lower().startswith("image/"), page)


def _list_objects(value: Any, name: str) -> list[Mapping[str, Any]]:
    members = value.get(name) if isinstance(value, dict) else None
    return [member for member in members if isinstance(member, dict)] if isinstance(members, list) else []


def _read_string(value: Any, name: str) -> str:
    member = value.get(name) if isinstance(value, dict) else None
    return member if isinstance(member, str) else ""
