"""Cut runs of digits in a text into candidates for phone numbers, in linear time.

A run is digits with gaps of at most three characters between them, and is cut at its spaces. What an expression here
repeats is possessive (`*+`), and a candidate has a bounded count of groups: so no text makes it read the same
characters again and again.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from pipeline.privacy.letters import DASHES

_GAP = rf"[ .()/（）．／{DASHES}]"
_RUN = re.compile(rf"(?:[+＋][ ]?)?[(（]?\d(?:{_GAP}{{0,3}}\d)*+")
_GROUP = re.compile(r"\d+")
_GROUPED_BY_DOTS = re.compile(r"[\d .+＋]+")

MIN_DIGITS, MAX_DIGITS = 6, 15
"""Of a number; E.164 allows 15."""

MAX_GROUPS = 8
"""Of digits in a number: `+49 (0) 30 12 34 56 7`."""


@dataclass(frozen=True)
class Candidate:
    """Groups of digits of a text that may be a number.

    Attributes:
        text: all of it.
        start, end: of the candidate; brackets around the whole of it are outside.
        groups: the digits, as ASCII.
        is_whole: nothing stands between it and the ends of the run, or other numbers.
    """

    text: str
    start: int
    end: int
    groups: tuple[str, ...]
    is_whole: bool

    @cached_property
    def digits(self) -> str:
        """All of its digits."""
        return "".join(self.groups)

    @cached_property
    def written(self) -> str:
        """The candidate as it is in the text."""
        return self.text[self.start : self.end]

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """The count of digits of each group."""
        return tuple(map(len, self.groups))

    @property
    def has_plus(self) -> bool:
        """Whether it begins with a plus, which a country code follows."""
        return self.written.lstrip("(（")[0] in "+＋"

    @property
    def is_single(self) -> bool:
        """Whether its digits stand without gaps."""
        return len(self.groups) == 1

    @property
    def is_spaced(self) -> bool:
        """Whether its groups are set apart by spaces alone, like a list of numbers."""
        return len(self.groups) > 1 and all(char == " " or char.isdigit() for char in self.written)

    @property
    def is_quantity(self) -> bool:
        """Whether the groups are those of thousands: `612 345 678`, `+100.000.000`."""
        grouped = self.lengths[0] <= 3 and len(self.groups) > 2 and set(self.lengths[1:]) == {3}
        return grouped and _GROUPED_BY_DOTS.fullmatch(self.written) is not None

    @property
    def is_listed(self) -> bool:
        """Whether the groups look like a list of numbers: sizes, which are multiples of 8 or 10, as `256 512 1024`; or
        neighbours, as `94103 94107`."""
        if all(group[0] != "0" and not (int(group) % 8 and int(group) % 10) for group in self.groups):
            return True
        starts = {group[:2] for group in self.groups}
        return self.is_spaced and len(starts) == 1 and len(set(self.lengths)) == 1


def find_candidates(text: str, is_phone: Callable[[Candidate], bool]) -> Iterator[Candidate]:
    """Yield the candidates of a text that `is_phone` accepts, in their order; none overlap."""
    for match in _RUN.finditer(text):
        if match.end() - match.start() >= MIN_DIGITS:
            run = _Run(text, match.start(), match.end())
            yield from sorted(run.search(is_phone), key=lambda candidate: candidate.start)


class _Run:
    """A run of groups of digits with gaps between them."""

    def __init__(self, text: str, start: int, end: int) -> None:
        self._text, self._start = text, start
        self._groups = [(match.start(), match.end()) for match in _GROUP.finditer(text, start, end)]
        self._mixed = self._find_mixed()

    def search(self, is_phone: Callable[[Candidate], bool]) -> Iterator[Candidate]:
        """Yield the numbers in the run: the first, then those in what is left on both sides of it."""
        pending = [(0, len(self._groups))]
        while pending:
            low, high = pending.pop()
            for first, last in self._list_windows(low, high):
                candidate = self._read_candidate(first, last, is_whole=(first, last) == (low, high))
                if is_phone(candidate):
                    yield candidate
                    pending += [part for part in ((low, first), (last, high)) if part[0] < part[1]]
                    break

    def _list_windows(self, low: int, high: int) -> Iterator[tuple[int, int]]:
        """Yield which groups may be a number, as the first and the one after the last: the longest first.

        Groups between which there are only spaces are a number from the front alone: others are in a list of numbers.
        """
        for first in range(low, high):
            if first > low and " " not in self._read_gap(first):
                continue
            least = first + 1 if first == low else self._mixed[first]
            for last in (*range(min(high, first + MAX_GROUPS), max(least, first + 1), -1), first + 1):
                digits = sum(end - start for start, end in self._groups[first:last])
                if MIN_DIGITS <= digits <= MAX_DIGITS and (last == high or " " in self._read_gap(last)):
                    yield first, last

    def _read_candidate(self, first: int, last: int, is_whole: bool) -> Candidate:
        groups = self._groups[first:last]
        start, end = self._start if first == 0 else groups[0][0], groups[-1][1]
        start -= first > 0 and self._text[start - 1] in "(（"
        opened, closed = (any(char in brackets for char in self._text[start:end]) for brackets in ("(（", ")）"))
        if opened > closed:
            start += 1  # the bracket is around all of it
        elif closed > opened and self._text[max(0, start - 1) : start] in ("(", "（"):
            start -= 1
        digits = tuple(_read_digits(self._text[a:b]) for a, b in groups)
        return Candidate(self._text, start, end, digits, is_whole)

    def _read_gap(self, group: int) -> str:
        """Return what stands before a group."""
        return self._text[self._groups[group - 1][1] : self._groups[group][0]]

    def _find_mixed(self) -> list[int]:
        """Return for each group the next one that has more before it than a space, or their count."""
        mixed, found = [], len(self._groups)
        for group in range(len(self._groups) - 1, -1, -1):
            mixed.append(found)
            if group and self._read_gap(group) != " ":
                found = group
        return mixed[::-1]


def _read_digits(text: str) -> str:
    """Return digits of any script as ASCII."""
    return text if text.isascii() else "".join(str(int(char)) for char in text)
