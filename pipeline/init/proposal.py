"""Say what the data may be: a layout, how much of the data it explains, and the params for it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.init.survey import Survey


@dataclass(frozen=True)
class Guess:
    """The value of a key of `params.yaml`, and the comment that says why."""

    value: Any
    why: str = ""


@dataclass(frozen=True)
class Proposal:
    """What the data may be.

    Attributes:
        layout: its name, for people.
        share: of the files of images, audio, texts and video, how many it makes use of, 0 to 1.
        reason: what speaks for it.
        keys: of `params.yaml` by their full names (`align.by`), in the order in which they are written.
        samples: how many there are of those that were looked at; None: it cannot be told without reading.
        unused: names of files that it leaves out.
        questions: what it cannot decide, a line each.
    """

    layout: str
    share: float
    reason: str
    keys: Mapping[str, Guess]
    samples: int | None = None
    unused: Sequence[str] = ()
    questions: Sequence[str] = field(default_factory=tuple)


Detector = Callable[[Survey], Proposal | None]
"""Returns what the data may be; None where nothing speaks for the layout."""
