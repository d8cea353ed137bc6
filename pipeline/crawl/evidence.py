"""Define the evidence of a refusal: what the owner said, where it stands and when it was read."""

from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.consent.statements import Statement

ROBOTS_RULE = "robots-txt"
PAYMENT = "payment-required"
"""Signals of a refusal to fetch, which no setting turns off; the others are in `pipeline.consent.signals`."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The line that decided.

    Attributes:
        signal: `robots-txt`, `payment-required`, or the name of a signal of `pipeline.consent.signals`.
        line: the line, header, element or field, as it was spelled.
        place: where it is: a URL and the number of a line, or the name of a header, an element or a field, and a URL.
        read: when it was read, in seconds since 1970; 0 where that is not known, or nothing depends on it.
    """

    signal: str
    line: str
    place: str
    read: int = 0

    def format_day(self) -> str | None:
        """Return the day on which it was read, UTC: with the second no two crawls of a site would give equal rows."""
        return datetime.fromtimestamp(self.read, UTC).strftime("%Y-%m-%d") if self.read else None


def build_evidence(statement: Statement, read: int = 0) -> Evidence:
    """Return the evidence of a statement that was read at that time."""
    return Evidence(statement.signal, statement.line, statement.place, read)
