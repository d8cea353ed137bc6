"""Read RSL documents, which say under which licences content may be used. Pure, without network.

Really Simple Licensing 1.0: `<rsl>` has a `<content url>` a set of URLs, and each of these licences, of which one may
choose. A crawler can take a licence that asks for nothing: one that permits the use, and has no payment but `free`, no
condition on who and where, and no licence server. All else is a refusal.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NoReturn
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser

from pipeline.consent.path_patterns import match_location
from pipeline.consent.statements import AI_USES, ALL_USES, Statement, Use, tidy_line

RSL_TYPE = "application/rsl+xml"

MAX_LICENCES = 5
"""Read of one response; more than that is a refusal."""

_TOKENS: dict[str, frozenset[Use]] = {
    "all": ALL_USES,
    "ai-all": AI_USES,
    "ai-train": frozenset({"ai-train"}),
    "train-ai": frozenset({"ai-train"}),
    "train-genai": frozenset({"ai-train"}),
    "ai-input": frozenset({"ai-input"}),
    "ai-use": frozenset({"ai-input"}),
    "ai-summarize": frozenset({"ai-input"}),
    "ai-index": frozenset({"search"}),
    "search": frozenset({"search"}),
}
"""The uses that each token of `permits` and `prohibits` speaks of, with those of the standard's drafts."""


@dataclass(frozen=True, slots=True)
class LicenceLink:
    """Where a licence is: at the URL `target`, as it was spelled, or as `content` in the page; and who says so."""

    target: str | None
    line: str
    place: str
    content: bytes = b""


def read_licence(content: bytes | None, url: str, link: LicenceLink) -> Iterator[Statement]:
    """Yield what a licence refuses for `url`; `content` None: the document is not there.

    A licence that is named but cannot be read refuses all: nobody can say that its terms are kept.
    """
    refused, why = (ALL_USES, "cannot be read") if content is None else _find_refused(content, url)
    if refused:
        detail = f"RSL licence: {why}"
        yield Statement("rsl", refused, detail, tidy_line(f"{link.line} ({why})"), link.place)


def _find_refused(content: bytes, url: str) -> tuple[frozenset[Use], str]:
    """Return the uses that a document refuses for a URL, and why."""
    root = _parse(content)
    if root is None:
        return ALL_USES, "is no RSL document"
    contents = [(match_location(each.get("url") or "/", url), each) for each in _children(root, "content")]
    longest = max((length for length, _ in contents), default=-1)
    if longest < 0:
        return frozenset(), ""
    chosen = [each for length, each in contents if length == longest]
    granted = frozenset().union(*(_find_granted(each) for each in chosen))
    return ALL_USES - granted, f"grants {', '.join(sorted(granted)) or 'nothing'} free of conditions"


@lru_cache(maxsize=64)
def _parse(content: bytes) -> Element | None:
    """Return the root of a document; None where it is none. A site's licence is asked about each of its URLs."""
    try:
        parser = XMLParser(target=_Builder())
        parser.feed(content)
        root: Element = parser.close()
    except (ParseError, ValueError, LookupError):
        return None
    return root if _name(root) == "rsl" else None


def _find_granted(content: Element) -> frozenset[Use]:
    """Return the uses that the licences of a `content` grant to anyone."""
    if content.get("server"):
        return frozenset()
    granted: set[Use] = set()
    for licence in _children(content, "license"):
        rules = [*_children(licence, "permits"), *_children(licence, "prohibits")]
        conditional = any((rule.get("type") or "usage").lower() != "usage" for rule in rules)
        paid = any((each.get("type") or "free").lower() != "free" for each in _children(licence, "payment"))
        if not (conditional or paid):
            permits = [_read_tokens(each) for each in _children(licence, "permits")]
            prohibits = [_read_tokens(each) for each in _children(licence, "prohibits")]
            granted |= (frozenset().union(*permits) if permits else ALL_USES) - frozenset().union(*prohibits)
    return frozenset(granted)


def _read_tokens(rule: Element) -> frozenset[Use]:
    words = "".join(rule.itertext()).replace(",", " ").lower().split()
    return frozenset().union(*(_TOKENS.get(word, frozenset()) for word in words))


def _children(parent: Element, name: str) -> Iterable[Element]:
    return (child for child in parent if _name(child) == name)


def _name(element: Element) -> str:
    """Return an element's name without its namespace: documents with another one are meant all the same."""
    return element.tag.rpartition("}")[2].lower()


class _Builder(TreeBuilder):
    """Refuses document types: with these come entities, which can be endless."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> NoReturn:
        raise ValueError("a document type")
