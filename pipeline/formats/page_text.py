"""Read the whole text of a web page, without what stands on every page of a site: navigation, footers, banners.

trafilatura finds the elements that hold the text. It goes by their sizes too, and takes a menu where the text is short:
so what the page itself marks as something else is removed first. It is given no URL and asked for no date.
"""

from configparser import ConfigParser
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

from pipeline.formats.html import read_attribute, read_text

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

BOILERPLATE = (
    "script, style, noscript, template, nav, footer, dialog, menu, button, [hidden], [aria-modal=true], "
    "[role=navigation], [role=contentinfo], [role=banner], [role=search], [role=dialog], [role=alertdialog], "
    "[class*=cookie i], [id*=cookie i], [class*=consent i], [id*=consent i], [class*=gdpr i], [id*=gdpr i]"
)
"""The selector of elements that hold no text of a page, by the roles of WAI-ARIA 1.2, section 5.3.4, and by the names
that banners have; unless they hold all of the page, as one whose class says that it has a banner."""

_TEXT = "main, article, h1"


def read_whole_text(document: "LexborHTMLParser") -> str | None:
    """Return the title of a page and its text, a paragraph a line; None where no text remains.

    Where an image stands in the text is its caption, else its alt text. The document is not changed.
    """
    import trafilatura

    page = document.clone()
    title = _find_title(page)
    _remove_boilerplate(page)
    _write_out_images(page)
    found = trafilatura.extract(
        page.html or "", fast=True, include_comments=False, include_formatting=False, config=_read_config()
    )
    lines = [line for line in (" ".join(line.split()) for line in (found or "").split("\n")) if line]
    if not lines or lines == [title]:
        return None
    return "\n".join(lines if title is None or title in lines else [title, *lines])


def has_extractor() -> bool:
    """Return whether the library is installed."""
    return find_spec("trafilatura") is not None


@cache
def _read_config() -> ConfigParser:
    """The library's settings, but for the length below which it looks for text elsewhere on the page: a page of 200
    Chinese characters is a page."""
    from trafilatura.settings import DEFAULT_CONFIG

    config = ConfigParser()
    config.read_dict(DEFAULT_CONFIG)
    config["DEFAULT"]["MIN_EXTRACTED_SIZE"] = "1"
    return config


def _find_title(document: "LexborHTMLParser") -> str | None:
    heading = document.css_first("h1")
    named = document.css_first('meta[property="og:title"]')
    title = document.css_first("title")
    texts = (
        read_text(heading) if heading else "",
        (read_attribute(named, "content") if named else None) or "",
        read_text(title) if title else "",
    )
    return next((text for text in texts if text), None)


def _remove_boilerplate(document: "LexborHTMLParser") -> None:
    headers = [node for node in document.css("header") if not _is_in_text(node)]
    others = [node for node in document.css(BOILERPLATE) if node.css_first(_TEXT) is None]
    for node in (*headers, *others):
        if node.tag not in ("body", "html", "main", "article"):
            node.decompose()


def _is_in_text(node: "LexborNode") -> bool:
    parent = node.parent
    while parent is not None and parent.tag not in ("main", "article"):
        parent = parent.parent
    return parent is not None


def _write_out_images(document: "LexborHTMLParser") -> None:
    """Put their captions, else their alt texts, in place of images: as paragraphs, or within one."""
    for figure in document.css("figure"):
        caption = figure.css_first("figcaption")
        if caption is not None and read_text(caption):
            _replace(document, figure, read_text(caption))
    for image in document.css("img[alt]"):
        _replace(document, image, " ".join((read_attribute(image, "alt") or "").split()))


def _replace(document: "LexborHTMLParser", node: "LexborNode", text: str) -> None:
    if node.parent is not None and node.parent.tag == "p":
        node.replace_with(text)
        return
    paragraph = document.create_node("p")
    paragraph.insert_child(text)
    node.replace_with(paragraph)
