"""Find spans of a text by several rules, the earlier of which count first, and replace them."""

from collections.abc import Callable, Iterable, Sequence

Span = tuple[int, int]
"""Start and end in a text."""

MASK = "\0"
"""Stands for what is found already: normalized texts have no such character, and no rule takes it for its own."""


def find_in_turn(text: str, rules: Iterable[Callable[[str], Iterable[Span]]]) -> list[Span]:
    """Return the spans that rules find, in order; what one has found, no later one sees. Spans do not overlap."""
    found: list[Span] = []
    for rule in rules:
        spans = list(rule(text))
        if spans:
            found += spans
            text, _ = replace_spans(text, spans, lambda value: MASK * len(value))
    return sorted(found)


def replace_spans(text: str, spans: Iterable[Span], replace: Callable[[str], str]) -> tuple[str, int]:
    """Return the text with each of the spans, which are in order, replaced by what `replace` returns for it, and their
    number."""
    parts, end = list[str](), 0
    for start, stop in spans:
        parts += [text[end:start], replace(text[start:stop])]
        end = stop
    return ("".join([*parts, text[end:]]), len(parts) // 2) if parts else (text, 0)


def join_spans(spans: Sequence[Span]) -> list[Span]:
    """Return spans in order without those that overlap one before them."""
    kept: list[Span] = []
    for span in sorted(spans):
        if not kept or span[0] >= kept[-1][1]:
            kept.append(span)
    return kept
