"""Where the time of a stage's tasks goes, by part: a process counts for itself and hands on what it counted.

Each moment counts for the innermost part alone, so the parts add up to the whole. Nothing of it is in any output.
"""

import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import AbstractContextManager

OTHER = "other"
"""The part of all that no other part claims."""

_seconds: defaultdict[str, float] = defaultdict(float)
_running: list[str] = []
_since = 0.0


class _Clock:
    """A context manager of a class: one made of a generator takes three times as long."""

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
    """Count what runs inside for `part`; some 1 µs."""
    return _Clock(part)


def _switch() -> None:
    """Count the time since the last switch for the part that is running."""
    global _since
    now = time.perf_counter()
    if _running:
        _seconds[_running[-1]] += now - _since
    _since = now


def take_times() -> dict[str, float]:
    """Seconds by part since the last call."""
    taken = dict(_seconds)
    _seconds.clear()
    return taken


def add_times(times: Mapping[str, float]) -> None:
    """Count what another process has counted."""
    for part, seconds in times.items():
        _seconds[part] += seconds


def format_times(times: Mapping[str, float]) -> str:
    """`62.1 s of work: decode 40 %, mfcc 21 %, other 39 %`: the largest part first, none below half a percent."""
    total = sum(times.values())
    parts = sorted(times.items(), key=lambda named: (named[0] == OTHER, -named[1]))
    shown = ", ".join(f"{name} {seconds / total:.0%}" for name, seconds in parts if seconds >= 0.005 * total)
    return f"{total:.1f} s of work: {shown.replace('%', ' %')}"
