"""Read what a page says of the use of its content. Pure."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipeline.consent.robot_directives import NO_FOLLOW, read_directives, split_words
from pipeline.consent.rsl import RSL_TYPE, LicenceLink
from pipeline.consent.statements import AI_USES, Statement, tidy_line
from pipeline.formats.html import read_attribute

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser


def read_page_statements(document: "LexborHTMLParser", agent: str) -> Iterator[Statement]:
    """Yield what a page's meta elements refuse to the agent whose product token is `agent`, wherever they are."""
    for name, content in _list_metas(document):
        line = tidy_line(f'<meta name="{name}" content="{content}">')
        if name in ("robots", agent.lower()):
            yield from read_directives(split_words(content), f"meta {name}", line, f"element meta {name}")
        elif name == "tdm-reservation" and content == "1":
            yield Statement("tdmrep", AI_USES, "meta tdm-reservation: 1", line, "element meta tdm-reservation")


def forbids_page_links(document: "LexborHTMLParser", agent: str) -> bool:
    """Return whether the links of a page are not to be followed."""
    named = ("robots", agent.lower())
    return any(name in named and NO_FOLLOW & set(split_words(content)) for name, content in _list_metas(document))


def list_page_licences(document: "LexborHTMLParser") -> Iterator[LicenceLink]:
    """Yield the RSL licences that a page links (`<link rel=license>`), or has in itself (`<script>`)."""
    for node in document.css(f'link[rel~="license" i][href][type="{RSL_TYPE}" i]'):
        target = read_attribute(node, "href")
        if target:
            line = tidy_line(f'<link rel="license" type="{RSL_TYPE}" href="{target}">')
            yield LicenceLink(target, line, "element link")
    for node in document.css(f'script[type="{RSL_TYPE}" i]'):
        content = node.text()
        yield LicenceLink(None, tidy_line(content), "element script", content.encode())


def _list_metas(document: "LexborHTMLParser") -> Iterator[tuple[str, str]]:
    """Yield name, in lower case, and content of the meta elements that have both."""
    for node in document.css("meta[name][content]"):
        yield (read_attribute(node, "name") or "").lower(), read_attribute(node, "content") or ""
