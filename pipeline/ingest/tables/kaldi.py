"""Read a Kaldi data folder by its file `text`: utterances with their recordings, segments and speakers."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.formats.tabular.rows import BadRow, TextRow
from pipeline.ingest.tables.annotation_table import AnnotationTable
from pipeline.ingest.tables.transcripts import build_row, read_text
from pipeline.tables.drops import Reason

_IN_ARCHIVE = re.compile(r"\.ark:\d+$")


def read_kaldi(path: Path, table: AnnotationTable) -> Iterator[TextRow | BadRow]:
    """Yield a row for each utterance of `text`, which is the sample; its speaker is the group.

    Its recording is the one of its segment, or has its name where there is no file `segments`; the recording's file is
    named by `wav.scp`, or called as the recording where there is none. What `wav.scp` has commands for cannot be used.
    """
    companions = {name: _read_pairs(path.parent / name, table) for name in ("wav.scp", "segments", "utt2spk")}
    text = read_text(path, table)
    if isinstance(text, BadRow):
        yield text
        return
    for line, content in enumerate(text.split("\n"), start=1):
        name, _, words = content.strip().partition(" ")
        if name:
            yield _read_utterance(line, name, words, table, companions)


def _read_utterance(
    line: int, name: str, words: str, table: AnnotationTable, companions: Mapping[str, Mapping[str, str] | None]
) -> TextRow | BadRow:
    segments, files, speakers = (companions[each] for each in ("segments", "wav.scp", "utt2spk"))
    recording, start, end = name, None, None
    if segments is not None:
        fields = segments.get(name, "").split()
        if len(fields) != 3:
            return BadRow(line, Reason.UNREADABLE, f"`segments` has no recording, start and end of {name}")
        recording, start, end = fields
    file = recording if files is None else files.get(recording)
    if file is None:
        return BadRow(line, Reason.UNREADABLE, f"`wav.scp` has no file of {recording}")
    if file.endswith("|"):
        return BadRow(line, Reason.UNREADABLE, f"`wav.scp` has a command for {recording}, which is not run")
    if _IN_ARCHIVE.search(file):
        return BadRow(line, Reason.UNREADABLE, f"`wav.scp` has a place in an archive for {recording}")
    speaker = None if speakers is None else speakers.get(name)
    return build_row(line, words, table, file=file, start=start, end=end, sample=name, group=speaker)


def _read_pairs(path: Path, table: AnnotationTable) -> dict[str, str] | None:
    """Return the rest of each line by its first word; None where there is no such file."""
    if not path.is_file():
        return None
    text = read_text(path, table)
    if isinstance(text, BadRow):
        return {}
    pairs = (line.strip().partition(" ") for line in text.replace("\t", " ").split("\n"))
    return {name: rest.strip() for name, _, rest in pairs if name}
