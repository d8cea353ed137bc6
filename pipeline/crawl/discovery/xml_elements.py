"""Parse XML that anybody may have written: an element at a time, without entities, in bounded time and memory. Pure."""

from collections.abc import Mapping
from typing import Protocol
from xml.parsers import expat

from pipeline.formats.format_errors import FormatFault

MAX_DEPTH = 64
"""Open elements; feeds and sitemaps have some ten."""

MAX_ELEMENTS = 1_000_000
"""Some two seconds. 50,000 URLs with four elements each are a quarter of it."""

MAX_TEXT = 4096
"""Characters of an element's text that are kept; a URL has 2,000 at most."""


class Handler(Protocol):
    """Takes the elements of a document in its order, by their names without prefix."""

    def open(self, name: str, attributes: Mapping[str, str]) -> None:
        """Take the start of an element; attributes are by their whole names."""

    def close(self, name: str, text: str) -> None:
        """Take the end of an element, with its text without white space around it, cut to `MAX_TEXT` characters."""


def read_elements(text: str, handler: Handler) -> None:
    """Give the elements of an XML document to `handler`.

    Prefixes need not be declared, and entities that HTML has but XML has not are left out, as many feeds need it.

    Raises:
        FormatFault: it is not well-formed, declares entities, or has too many elements; what comes before was given.
    """
    parser = _Parser(handler)
    try:
        parser.parse(text)
    except expat.ExpatError:
        raise FormatFault("XML that is not well-formed from some point on") from None


class _Parser:
    """The state of a parse: the text of each open element, which ends where an element within it begins."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._texts: list[str] = []
        self._elements = 0
        self._expat = expat.ParserCreate()
        self._expat.buffer_text = True
        # As if declared elsewhere, so that unknown entities are skipped. Nothing is loaded: there is no handler for it.
        self._expat.UseForeignDTD(True)
        self._expat.EntityDeclHandler = self._refuse_entity
        self._expat.StartElementHandler = self._open
        self._expat.EndElementHandler = self._close
        self._expat.CharacterDataHandler = self._add_text

    def parse(self, text: str) -> None:
        # As a text: an encoding that the document declares is not that of the decoded one, and is ignored.
        self._expat.Parse(text, True)

    def _refuse_entity(self, *_: object) -> None:
        raise FormatFault("XML that declares entities")

    def _open(self, name: str, attributes: dict[str, str]) -> None:
        self._elements += 1
        if len(self._texts) == MAX_DEPTH or self._elements > MAX_ELEMENTS:
            raise FormatFault("XML with more elements, or more within each other, than are read")
        self._texts.append("")
        self._handler.open(name.rpartition(":")[2], attributes)

    def _close(self, name: str) -> None:
        self._handler.close(name.rpartition(":")[2], self._texts.pop().strip())

    def _add_text(self, text: str) -> None:
        if self._texts and len(self._texts[-1]) < MAX_TEXT:
            self._texts[-1] += text[: MAX_TEXT - len(self._texts[-1])]
