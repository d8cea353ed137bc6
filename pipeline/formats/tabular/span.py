"""Parse the span of a recording that a row of a table gives."""

import math
from collections.abc import Mapping


def parse_span(values: Mapping[str, str | None]) -> tuple[float | None, float | None]:
    """Return `start` and `end` of a row in seconds; None where the row has none.

    Raises:
        ValueError: one is no number of seconds, or `end` is not after `start`; the message says which.
    """
    start, end = (_parse_seconds(name, values.get(name)) for name in ("start", "end"))
    if end is not None and end <= (start or 0.0):
        raise ValueError("`end` must be after `start`")
    return start, end


def _parse_seconds(name: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"`{name}` is {text!r}, it must be a number of seconds")
    return seconds
