"""Read a web page's text, language, label, licence and author. Pure."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.errors import ParamsError
from pipeline.formats.html import MAX_PAGE_BYTES, check_selector, parse_html, read_attribute, read_text
from pipeline.formats.page_text import has_extractor, read_whole_text
from pipeline.ingest.params import WHOLE_PAGE, IngestParams
from pipeline.ingest.read_figures import Figure, read_figures

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class PageFacts:
    """Facts about a page and what it embeds; None where it has none. `text` is that of `ingest.page_text`."""

    text: str | None = None
    language: str | None = None
    label: str | None = None
    licence: str | None = None
    attribution: str | None = None
    figures: tuple[Figure, ...] = ()


def read_page(content: bytes, params: IngestParams, url: str, content_type: str | None = None) -> PageFacts:
    """Return the facts of the page at `url`, served with that Content-Type, found by the selectors of `params`; the
    figures have absolute URLs.

    Licence: the target of `rel=license`, else its text (HTML Standard, section 4.6.8.9). Attribution: the text of
    `rel=author`, else `<meta name=author>`.

    Raises:
        FormatFault: as `parse_html`.
    """
    document = parse_html(content, content_type)
    return PageFacts(
        read_whole_text(document) if params.page_text == WHOLE_PAGE else _find_text(document, params.page_text),
        _find_language(document),
        _find_label(document, params.page_label),
        _find_licence(document),
        _find_attribution(document),
        tuple(read_figures(document, url)),
    )


def check_selectors(params: IngestParams) -> None:
    """Check the selectors before any work.

    Raises:
        ParamsError: one of them is not a CSS selector, or what reads whole pages is not installed; the message names
            it.
    """
    if params.page_text == WHOLE_PAGE and not has_extractor():
        raise ParamsError(
            f'params.yaml: ingest.page_text is "{WHOLE_PAGE}", which needs two libraries: '
            "pip install trafilatura lxml_html_clean"
        )
    for key, selector in (("page_text", params.page_text), ("page_label", params.page_label)):
        if selector is not None and not check_selector(selector):
            raise ParamsError(f'params.yaml: ingest.{key} is "{selector}"; it must be a CSS selector or null')


def _find_text(document: "LexborHTMLParser", selector: str | None) -> str | None:
    nodes = document.css(selector) if selector else []
    texts, size = [], 0
    for text in map(read_text, nodes):
        size += len(text)
        if size > MAX_PAGE_BYTES:
            break  # only nested matches, which repeat each other, can hold more text than the page
        texts.append(text)
    return "\n".join(filter(None, texts)) if nodes else None


def _find_language(document: "LexborHTMLParser") -> str | None:
    """Return the primary subtag of `<html lang>`: `en` of `en-GB`."""
    node = document.css_first("html[lang]")
    language = read_attribute(node, "lang") if node else None
    return language.split("-")[0].lower() if language else None


def _find_label(document: "LexborHTMLParser", selector: str | None) -> str | None:
    node = document.css_first(selector) if selector else None
    return _tidy(read_attribute(node, "content") or read_text(node)) if node else None


def _find_licence(document: "LexborHTMLParser") -> str | None:
    node = document.css_first("[rel~=license]")
    return (read_attribute(node, "href") or read_text(node) or None) if node else None


def _find_attribution(document: "LexborHTMLParser") -> str | None:
    author = document.css_first("[rel~=author]")
    name = read_text(author) if author else None
    meta = document.css_first("meta[name=author]")
    return _tidy(name or (read_attribute(meta, "content") if meta else None) or "")


def _tidy(text: str) -> str | None:
    """Return one line without control characters, safe for terminals; None where nothing remains."""
    return _CONTROLS.sub("", " ".join(text.split())) or None
