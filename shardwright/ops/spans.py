"""Choose which part of a recording or a video is taken."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

MAX_SECONDS = 86_400.0


class Span(ABC):
    """A part of a clip. Each is a frozen dataclass.

    Attributes:
        fixed: whether every sample gets as many seconds: a shorter clip is padded.
    """

    fixed: ClassVar[bool] = True

    @property
    @abstractmethod
    def most(self) -> float:
        """Seconds of the part; a shorter clip is taken whole."""

    @property
    def draws(self) -> int:
        """Random numbers that `find_share` takes."""
        return 0

    @abstractmethod
    def find_share(self, draws: Sequence[float]) -> float:
        """Return the share of the clip's surplus that lies before the part, in [0, 1).

        Args:
            draws: as many numbers in [0, 1) as `draws` says.
        """


@dataclass(frozen=True)
class FixedSpan(Span):
    """A part of some seconds.

    Raises:
        ValueError: the seconds are out of range.
    """

    seconds: float

    def __post_init__(self) -> None:
        check_seconds(f"{type(self).__name__}.seconds", self.seconds)

    @property
    def most(self) -> float:
        """See `Span.most`."""
        return self.seconds


@dataclass(frozen=True)
class RandomSpan(FixedSpan):
    """A part anywhere in the clip, every place equally likely."""

    @property
    def draws(self) -> int:
        """The place."""
        return 1

    def find_share(self, draws: Sequence[float]) -> float:
        """See `Span.find_share`."""
        return draws[0]


@dataclass(frozen=True)
class CenterSpan(FixedSpan):
    """The middle of the clip."""

    def find_share(self, draws: Sequence[float]) -> float:
        """See `Span.find_share`."""
        return 0.5


@dataclass(frozen=True)
class FirstSpan(FixedSpan):
    """The beginning of the clip."""

    def find_share(self, draws: Sequence[float]) -> float:
        """See `Span.find_share`."""
        return 0.0


@dataclass(frozen=True)
class Whole(Span):
    """The whole clip: a list in a batch, since clips differ in length.

    Args:
        longest: seconds; of a longer clip only the first are taken.

    Raises:
        ValueError: the seconds are out of range.
    """

    longest: float
    fixed: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_seconds("Whole.longest", self.longest)

    @property
    def most(self) -> float:
        """See `Span.most`."""
        return self.longest

    def find_share(self, draws: Sequence[float]) -> float:
        """See `Span.find_share`."""
        return 0.0


def check_seconds(name: str, seconds: object) -> None:
    """Check a number of seconds.

    Raises:
        ValueError: it is no number, or not in 0 … `MAX_SECONDS`, 0 excluded.
    """
    if not isinstance(seconds, int | float) or not math.isfinite(seconds) or not 0 < seconds <= MAX_SECONDS:
        raise ValueError(f"{name} is {seconds!r:.80}; it must be a number over 0 and up to {MAX_SECONDS:g}")
