"""Divide a file into the segments that its annotations speak of, with what is said of each. Pure.

A segment is a span of the file, or the whole of it, as one sample uses it: an item of its own. The rows of a list or a
table are about one segment if they give the same sample and the same span.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pipeline.tables.drops import Reason, Rejection
from pipeline.tables.item_names import escape_name

SegmentKey = tuple[str | None, float | None, float | None]
"""Sample, start and end."""

WHOLE: SegmentKey = (None, None, None)


class GivenFacts(NamedTuple):
    """What is said of an item: columns of `2_ingested/items`."""

    label: str | None = None
    group: str | None = None
    split: str | None = None
    licence: str | None = None
    attribution: str | None = None
    sample: str | None = None
    start: float | None = None
    end: float | None = None


NO_FACTS = GivenFacts()


class Caption(NamedTuple):
    """A text about a segment; `number` is its place among those of the segment, from 1."""

    number: int
    text: str
    language: str | None
    facts: GivenFacts


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a file that is an item of its own.

    Attributes:
        name: empty if the file is one segment.
        facts: those on which all rows about it agree.
        contradictions: rows about it that contradict each other, counted.
    """

    name: str = ""
    facts: GivenFacts = NO_FACTS
    language: str | None = None
    captions: Sequence[Caption] = ()
    contradictions: Mapping[Rejection, int] = field(default_factory=dict)


WHOLE_FILE = (Segment(),)

_CONTRADICTIONS = {
    "label": Reason.AMBIGUOUS_LABEL,
    "group": Reason.AMBIGUOUS_SPLIT,
    "split": Reason.AMBIGUOUS_SPLIT,
}
_JOINED = ("licence", "attribution")


def divide_file(rows: Sequence[Mapping[str, Any]] | None) -> Sequence[Segment]:
    """Return the segments of a file in the order of its rows: one, if there are none or all give one sample and span.

    A row without sample and span is about the only segment that others name. If they name several, its caption is of
    the whole file, a segment beside them; without a caption it says what all segments have in common, such as a group.
    """
    if not rows:
        return WHOLE_FILE
    named = list(dict.fromkeys(key for key in map(_find_key, rows) if key != WHOLE))
    whole = named[0] if len(named) == 1 else WHOLE
    common = []
    gathered: dict[SegmentKey, list[Mapping[str, Any]]] = {}
    for row in rows:
        key = _find_key(row)
        if key == WHOLE and row["caption"] is None and len(named) > 1:
            common.append(row)
        else:
            gathered.setdefault(whole if key == WHOLE else key, []).append(row)
    names = _name_segments(list(gathered))
    return [_build_segment(names[key], key, gathered[key], common) for key in gathered]


def _find_key(row: Mapping[str, Any]) -> SegmentKey:
    return row["sample"], row["start"], row["end"]


def _build_segment(
    name: str, key: SegmentKey, rows: Sequence[Mapping[str, Any]], common: Sequence[Mapping[str, Any]]
) -> Segment:
    shared, contradictions = _agree([*rows, *common])
    of_all, _ = _agree(common)
    captions: list[Caption] = []
    for row in rows:
        if row["caption"] is not None:
            own = {column: row[column] for column in (*_CONTRADICTIONS, *_JOINED) if row[column] is not None}
            facts = GivenFacts(**of_all | own, sample=key[0], start=key[1], end=key[2])
            captions.append(Caption(len(captions) + 1, row["caption"], row["language"], facts))
    languages = {row["language"] for row in rows if row["language"] is not None}
    language = languages.pop() if len(languages) == 1 else None
    facts = GivenFacts(**shared, sample=key[0], start=key[1], end=key[2])
    return Segment(name, facts, language, captions, contradictions)


def _agree(rows: Sequence[Mapping[str, Any]]) -> tuple[dict[str, str | None], Counter[Rejection]]:
    """Return the values that no row contradicts, all licences and attributions, and a rejection for each
    contradiction."""
    agreed: dict[str, str | None] = {}
    contradictions: Counter[Rejection] = Counter()
    for column in (*_CONTRADICTIONS, *_JOINED):
        values = list(dict.fromkeys(row[column] for row in rows if row[column] is not None))
        if len(values) > 1 and column in _CONTRADICTIONS:
            detail = f"its rows name several values of `{column}`, so it has none; a caption has that of its row"
            contradictions[Rejection(_CONTRADICTIONS[column], detail, ", ".join(sorted(values)))] += 1
            values = []
        agreed[column] = "; ".join(values) or None
    return agreed, contradictions


def _name_segments(keys: Sequence[SegmentKey]) -> dict[SegmentKey, str]:
    """Return a name for each segment: that of its sample, or its span if it has no sample or the sample has several
    segments; empty if there is one segment, and for the whole file."""
    if len(keys) == 1:
        return {keys[0]: ""}
    samples = Counter(sample for sample, _, _ in keys)
    names: dict[SegmentKey, str] = {}
    taken = set()
    for sample, start, end in keys:
        span = "" if (start, end) == (None, None) else f"{_show(start or 0.0)}-{'' if end is None else _show(end)}"
        own = "" if sample is None else escape_name(sample.encode())
        name = "@".join(filter(None, (own, span))) if samples[sample] > 1 else own or span
        while name in taken:  # a sample is called as the span of another
            name += "~"
        taken.add(name)
        names[sample, start, end] = name
    return names


def _show(seconds: float) -> str:
    """Return seconds with three decimals, or all that they have."""
    text = f"{seconds:.3f}"
    return text if float(text) == seconds else repr(seconds)
