"""Read directives to robots: `noai`, `noindex` and others, in `X-Robots-Tag` headers and `<meta name=robots>`.

A directive may be addressed to one agent (`otherbot: noai`): then it counts for that agent only.
"""

import re
from collections.abc import Iterator

from pipeline.consent.signals import SignalName
from pipeline.consent.statements import AI_USES, ALL_USES, Statement, Use, tidy_line

_DIRECTIVES: dict[str, tuple[SignalName, frozenset[Use], bool]] = {
    "noai": ("noai", AI_USES, False),
    "noml": ("noai", AI_USES, False),
    "noimageai": ("noimageai", AI_USES, True),
    "noindex": ("noindex", ALL_USES, False),
    "none": ("noindex", ALL_USES, False),
    "noimageindex": ("noimageindex", ALL_USES, True),
}
"""By directive: its signal, the uses that it refuses, and whether it is about images only."""

NO_FOLLOW = frozenset({"nofollow", "none"})

_VALUED = ("unavailable_after", "max-snippet", "max-image-preview", "max-video-preview")
"""Directives that have a colon themselves: they are not the names of agents."""

_AGENT = re.compile(r"[a-z0-9_.*-]+")
"""The name of an agent; not the date of `unavailable_after`, which may have commas and colons."""


def split_header(value: str, agent: str) -> list[str]:
    """Return the directives of a header to `agent`, as in `noai, nofollow` or `otherbot: nofollow, agent: noai`.

    The name of an agent holds for all directives of the header up to the next name.
    """
    addressed, words = True, []
    for part in value.lower().split(","):
        name, colon, rest = part.strip().partition(":")
        name = name.strip()
        if colon and name not in _VALUED and _AGENT.fullmatch(name):
            addressed, part = name in (agent.lower(), "*", "robots"), rest
        if addressed:
            words += split_words(part)
    return words


def split_words(text: str) -> list[str]:
    """Return the directives of a meta element."""
    return [word for word in re.split(r"[\s,;]+", text.lower()) if word]


def read_directives(words: list[str], origin: str, line: str, place: str) -> Iterator[Statement]:
    """Yield what directives refuse; `origin` is `X-Robots-Tag` or `meta robots`."""
    for word in words:
        if word in _DIRECTIVES:
            signal, uses, images_only = _DIRECTIVES[word]
            yield Statement(signal, uses, f"{origin}: {word}", tidy_line(line), place, images_only)
