"""Count where the time of a stage's tasks goes, by part; each process counts its own and passes it on.

Each moment counts for the innermost part alone, so the parts add up to the whole. None of it enters an output.
"""

import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import AbstractContextManager

OTHER = "other"
"""The time that no other part counts."""

_seconds: defaultdict[str, float] = defaultdict(float)
_running: list[str] = []
_since = 0.0


class _Clock:
    """A context manager as a class: one made of a generator takes three times as long."""

    __slots__ = ("_part",)

    def __init__(self, part: str) -> None:
        self._part = part

    def __enter__(self) -> None:
        _switch()
        _running.append(self._part)

    def __exit__(self, *raised: object) -> None:
        _switch()
        _running.pop()


def clock(part: str) -> AbstractContextManager[None]:
    """Count the time inside for `part`; takes some 1 µs."""
    return _Clock(part)


def _switch() -> None:
    """Add the time since the last switch to the running part."""
    global _since
    now = time.perf_counter()
    if _running:
        _seconds[_running[-1]] += now - _since
    _since = now


def take_times() -> dict[str, float]:
    """Return the seconds by part since the last call."""
    taken = dict(_seconds)
    _seconds.clear()
    return taken


def add_times(times: Mapping[str, float]) -> None:
    """Add what another process has counted."""
    for part, seconds in times.items():
        _seconds[part] += seconds


def format_times(times: Mapping[str, float]) -> str:
    """Return `62.1 s of work: decode image 40 %, other 60 %`: largest part first, those below 0.5 % left out."""
    total = sum(times.values())
    parts = sorted(times.items(), key=lambda named: (named[0] == OTHER, -named[1]))
    shown = ", ".join(f"{name} {seconds / total:.0%}" for name, seconds in parts if seconds >= 0.005 * total)
    return f"{total:.1f} s of work: {shown.replace('%', ' %')}"
