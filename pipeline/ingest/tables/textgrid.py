"""Read Praat's TextGrid files, long and short: the intervals of one tier."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import InputError
from pipeline.formats.tabular.rows import BadRow, TextRow
from pipeline.ingest.tables.annotation_table import AnnotationTable
from pipeline.ingest.tables.transcripts import build_row, read_text
from pipeline.tables.drops import Reason


def read_textgrid(path: Path, table: AnnotationTable) -> Iterator[TextRow | BadRow]:
    """Yield a row for each interval that has a text; `line` is its place among these, from 1.

    Raises:
        InputError: the file has several tiers and `tier` names none of them.
    """
    text = read_text(path, table)
    if isinstance(text, BadRow):
        yield text
        return
    tiers = _parse(text)
    if tiers is None:
        yield BadRow(1, Reason.UNREADABLE, "not a TextGrid with intervals")
        return
    names = ", ".join(tiers)
    if table.tier is None and len(tiers) > 1:
        raise InputError(f"{path} has the tiers {names}: name one of them by `tier` in ingest.tables")
    tier = tiers.get(next(iter(tiers)) if table.tier is None else table.tier)
    if tier is None:
        yield BadRow(1, Reason.UNREADABLE, f"no tier {table.tier!r} among {names}")
        return
    for line, (start, end, label) in enumerate(tier, start=1):
        yield build_row(line, label, table, start=repr(float(start)), end=repr(float(end)))


def _parse(text: str) -> dict[str, list[tuple[float, float, str]]] | None:
    """Return the tiers of intervals by name; None where there is none."""
    from praatio.utilities.constants import INTERVAL_TIER
    from praatio.utilities.textgrid_io import parseTextgridStr

    try:
        tiers = parseTextgridStr(text, includeEmptyIntervals=False)["tiers"]
        found = {tier["name"]: list(tier["entries"]) for tier in tiers if tier["class"] == INTERVAL_TIER}
    except Exception:  # its parser raises whatever a damaged file leads to
        return None
    return found or None
