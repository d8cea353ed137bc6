"""Read subtitles: SubRip (srt) and WebVTT (vtt). A cue that cannot be read is a bad row, and the rest is read."""

import html
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.formats.tabular.rows import BadRow, TextRow
from pipeline.ingest.tables.annotation_table import AnnotationTable
from pipeline.ingest.tables.transcripts import build_row, read_text
from pipeline.tables.drops import Reason

_TIME = r"(?:(\d+):)?(\d{1,2}):(\d{2})[.,](\d{1,3})"
_TIMES = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}(?:\s.*)?")
_MARKUP = re.compile(r"<[^<>]*>|\{\\[^{}]*\}")
"""Tags of both formats, voices and times among them, and the positions that players take from SubStation Alpha."""

_BLOCKS = ("WEBVTT", "NOTE", "STYLE", "REGION")
"""How a block of WebVTT begins that is no cue."""


def read_subtitles(path: Path, table: AnnotationTable) -> Iterator[TextRow | BadRow]:
    """Yield a row for each cue, with its text on one line and without markup; `line` is that of its times."""
    text = read_text(path, table)
    if isinstance(text, BadRow):
        yield text
        return
    lines = re.split(r"\r\n|\n|\r", text)
    is_vtt = lines[0].startswith("WEBVTT")
    for start, block in _cut_blocks(lines):
        if not (is_vtt and block[0].startswith(_BLOCKS)):
            yield _read_cue(start, block, table, is_vtt)


def _cut_blocks(lines: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield what is between empty lines, each with the number of its first line."""
    block: list[str] = []
    for number, line in enumerate([*lines, ""], start=1):
        if line.strip():
            block.append(line)
        elif block:
            yield number - len(block), block
            block = []


def _read_cue(first: int, block: Sequence[str], table: AnnotationTable, is_vtt: bool) -> TextRow | BadRow:
    place = next((place for place, line in enumerate(block[:2]) if "-->" in line), None)
    if place is None:
        return BadRow(first, Reason.UNREADABLE, "a cue without times")
    times = _TIMES.fullmatch(block[place])
    if times is None:
        return BadRow(first + place, Reason.UNREADABLE, "times that cannot be read")
    text = _MARKUP.sub("", " ".join(block[place + 1 :]))
    start, end = _read_time(times.groups()[:4]), _read_time(times.groups()[4:])
    return build_row(first + place, html.unescape(text) if is_vtt else text, table, start=start, end=end)


def _read_time(fields: Sequence[str | None]) -> str:
    """Return hours, minutes, seconds and their fraction as seconds."""
    hours, minutes, seconds, fraction = fields
    return f"{int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)}.{fraction}"
