"""Split a text file into captions and find the language of each. Pure."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from pipeline.ingest.params import IngestParams
from pipeline.tables.drops import Reason, Rejection

_TAGGED = re.compile(r"([A-Za-z]{2,8}(?:[_@-][A-Za-z0-9]+)*)(?:\.[Uu][Tt][Ff]-?8)?=(.*)")


@dataclass(frozen=True, slots=True)
class TextPart:
    """A text of a file: `name` is "" for the whole, a language, a line's number, or a page's element. `about` is the
    URL of the image whose caption it is."""

    name: str
    text: str
    language: str
    about: str | None = None


_REPEATED = Rejection(Reason.DUPLICATE, "a second text with the same tag")
_EMPTY = Rejection(Reason.EMPTY, "a text without characters")
_NO_CAPTION = Rejection(Reason.PART_NOT_SELECTED, "a line without a language, or after the first", setting="text")
_OTHER_LANGUAGE = Rejection(Reason.PART_NOT_SELECTED, "a language that is not selected", setting="languages")


@dataclass(frozen=True)
class TextParts:
    """The texts of a file that are kept, and why others were left out, counted. Settings are relative to `ingest`."""

    kept: tuple[TextPart, ...]
    left_out: Counter[Rejection] = field(default_factory=Counter)

    def merge(self, other: "TextParts") -> "TextParts":
        """Return the texts of both; of two with one name the first."""
        names = {part.name for part in self.kept}
        kept = tuple(part for part in other.kept if part.name not in names)
        repeated = Counter({_REPEATED: len(other.kept) - len(kept)})
        return TextParts(self.kept + kept, self.left_out + other.left_out + repeated)


def split_text(text: str, params: IngestParams, language: str | None = None) -> TextParts:
    """Return the captions of a text file in the layout `params.text`.

    White space at both ends of a caption is removed, and captions that have nothing else are left out. Of two captions
    with one tag the first is kept. `language` is that of text without a tag; None: `params.default_language`.
    """
    lines = _LAYOUTS[params.text](text.removeprefix("\ufeff"), language or params.default_language)
    return select_parts(lines, params)


def select_parts(parts: Iterator[TextPart], params: IngestParams) -> TextParts:
    """Keep the parts that are not empty, in a selected language, and the first of their name."""
    kept: dict[str, TextPart] = {}
    left_out: Counter[Rejection] = Counter()
    for part in parts:
        if part.name in kept:
            left_out[_REPEATED] += 1
        elif not part.text:
            left_out[_EMPTY] += 1
        elif not part.language:
            left_out[_NO_CAPTION] += 1
        elif params.languages is not None and part.language not in params.languages:
            left_out[_OTHER_LANGUAGE] += 1
        else:
            kept[part.name] = part
    return TextParts(tuple(kept.values()), left_out)


def _split_lines(text: str) -> list[str]:
    """Split at line feeds only: `str.splitlines` would also split at form feeds and U+2028, which captions may hold."""
    return [line.strip() for line in text.split("\n")]


def _read_whole(text: str, language: str) -> Iterator[TextPart]:
    yield TextPart("", text.strip(), language)


def _read_first_line(text: str, language: str) -> Iterator[TextPart]:
    first, *others = _split_lines(text)
    yield TextPart("", first, language)
    # Without a language these are not kept, but counted as left out.
    yield from (TextPart(str(number), line, "") for number, line in enumerate(others, start=2) if line)


def _read_lines(text: str, language: str) -> Iterator[TextPart]:
    for number, line in enumerate(_split_lines(text), start=1):
        if line:
            yield TextPart(str(number), line, language)


def _read_tagged_lines(text: str, language: str) -> Iterator[TextPart]:
    first, *others = _split_lines(text)
    yield TextPart(language, first, language)
    for number, line in enumerate(others, start=2):
        tagged = _TAGGED.fullmatch(line)
        if tagged:
            yield TextPart(tagged[1], tagged[2].strip(), tagged[1])
        elif line:
            yield TextPart(str(number), line, "")


_LAYOUTS = {
    "whole": _read_whole,
    "first_line": _read_first_line,
    "lines": _read_lines,
    "tagged_lines": _read_tagged_lines,
}
"""One for each `TextLayout`."""
