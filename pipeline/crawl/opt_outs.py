"""Read a site's opt-outs from training on its content and from following its links. Pure.

Signals: `noai`, `noml`, `noimageai` and `nofollow` in `X-Robots-Tag` headers and `<meta name="robots">`;
`tdm-reservation: 1` as header and as meta element (TDM Reservation Protocol, W3C community group); `Content-Usage:
train-ai=n` (IETF AI Preferences). A directive may be addressed to one agent (`otherbot: noai`): then it counts for that
agent only. `noindex` is for search engines and is ignored.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pipeline.formats.html import read_attribute

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser

ALL_USES = ("noai", "noml")
IMAGES = "noimageai"

Headers = Mapping[str, Sequence[str]]
"""Header names in lower case, each with its values in their order."""

HEADERS = ("x-robots-tag", "tdm-reservation", "content-usage")
"""The headers that `read_header_signals` reads."""

_VALUED = ("unavailable_after", "max-snippet", "max-image-preview", "max-video-preview")
"""Directives that have a colon themselves: they are not the names of agents."""

_AGENT = re.compile(r"[a-z0-9_.*-]+")
"""The name of an agent; not the date of `unavailable_after`, which may have commas and colons."""


@dataclass(frozen=True, slots=True)
class Signals:
    """The signals of a response; each is None or its evidence, the header or element and the word."""

    no_training: str | None = None
    no_images: str | None = None
    no_follow: str | None = None

    def merge(self, other: "Signals") -> "Signals":
        """Return the signals of both, with the evidence of `self` for those that both have."""
        return Signals(
            self.no_training or other.no_training,
            self.no_images or other.no_images,
            self.no_follow or other.no_follow,
        )


def read_header_signals(headers: Headers, agent: str) -> Signals:
    """Return the signals of a response's headers to the agent whose product token is `agent`."""
    directives = [word for value in headers.get("x-robots-tag", ()) for word in _find_directives(value, agent)]
    signals = _judge(directives, "X-Robots-Tag")
    if any(value.strip() == "1" for value in headers.get("tdm-reservation", ())):
        signals = signals.merge(Signals(no_training="tdm-reservation: 1"))
    if any(_forbids_training(value) for value in headers.get("content-usage", ())):
        signals = signals.merge(Signals(no_training="Content-Usage: train-ai=n"))
    return signals


def read_page_signals(document: "LexborHTMLParser", agent: str) -> Signals:
    """Return the signals of a page's meta elements to the agent whose product token is `agent`."""
    signals = Signals()
    for node in document.css("meta[name][content]"):
        name, content = (read_attribute(node, "name") or "").lower(), read_attribute(node, "content") or ""
        if name in ("robots", agent.lower()):
            signals = signals.merge(_judge(_split_words(content), f"meta {name}"))
        elif name == "tdm-reservation" and content == "1":
            signals = signals.merge(Signals(no_training="meta tdm-reservation: 1"))
    return signals


def _find_directives(value: str, agent: str) -> list[str]:
    """Return the directives for `agent`, as in `noai, nofollow` or `otherbot: nofollow, agent: noai`.

    The name of an agent holds for all directives up to the next name.
    """
    addressed, words = True, []
    for part in value.lower().split(","):
        name, colon, rest = part.strip().partition(":")
        if colon and name not in _VALUED and _AGENT.fullmatch(name):
            addressed, part = name in (agent.lower(), "*"), rest
        if addressed:
            words += _split_words(part)
    return words


def _split_words(text: str) -> list[str]:
    return [word for word in re.split(r"[\s,;]+", text.lower()) if word]


def _judge(words: Iterable[str], origin: str) -> Signals:
    signals = Signals()
    for word in words:
        if word in ALL_USES:
            signals = replace(signals, no_training=signals.no_training or f"{origin}: {word}")
        elif word == IMAGES:
            signals = replace(signals, no_images=f"{origin}: {word}")
        elif word in ("nofollow", "none"):
            signals = replace(signals, no_follow=f"{origin}: {word}")
    return signals


def _forbids_training(value: str) -> bool:
    return any(re.fullmatch(r"train-ai\s*=\s*n\s*(;.*)?", part.strip().lower()) for part in value.split(","))
