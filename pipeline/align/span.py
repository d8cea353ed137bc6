"""Time spans: the seconds of an item that its sample uses, as the user's table gives them."""

from pipeline.records import Reason, Rejection
from pipeline.tables import Row

TOLERANCE = 0.1  # seconds that a span may end after its sound: those who cut by ear round


def check_span(row: Row) -> Rejection | None:
    """Why the item's span cannot be used: it is empty, begins before its sound, or lies beyond its end."""
    start, end = row["start"], row["end"]
    shown = f"{'' if start is None else f'{start:g}'} to {'' if end is None else f'{end:g}'} s"
    if (start is not None and not start >= 0) or (end is not None and not end > (start or 0)):
        return Rejection(Reason.OUT_OF_BOUNDS, "its time span is empty or begins before 0", shown)
    if row["frames"] and row["sample_rate"]:
        seconds = row["frames"] / row["sample_rate"]
        if (start or 0) >= seconds or (end or 0) > seconds + TOLERANCE:
            return Rejection(Reason.OUT_OF_BOUNDS, "its time span lies beyond the end", shown, f"{seconds:g} s")
    return None
