"""Detect transcripts of recordings: a Kaldi folder, subtitles beside recordings."""

import posixpath
import re
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline.init.choose_split import propose_hash
from pipeline.init.detectors.paths import NO_LABEL
from pipeline.init.file_kinds import name_kind, split_stem
from pipeline.init.path_roles import find_roles, is_repeated
from pipeline.init.proposal import Guess, Proposal
from pipeline.init.survey import Survey

MAX_LINES = 5_000
MAX_FILES = 200

LABELS = {"columns": {"label": "text"}}
"""Of a table whose texts are labels: as a part of the samples they would tell the model what it is to find."""

CAPTION = Guess({"modality": "text", "part": "caption"})


def detect_kaldi(survey: Survey) -> Proposal | None:
    """Return what a Kaldi data folder says: `text`, `wav.scp` and, if there are any, `segments` and `utt2spk`."""
    names = set(survey.names)
    texts = [name for name in survey.names if posixpath.basename(name) == "text" and _beside(name, "wav.scp") in names]
    if not texts or not survey.is_folder:
        return None
    said = {key: words for name in texts for key, words in _read_pairs(survey.root / name).items()}
    speakers: dict[str, str] = {}
    for name in texts:
        if _beside(name, "utt2spk") in names:
            speakers |= _read_pairs(survey.root / _beside(name, "utt2spk"))
    tables: list[dict[str, Any]] = []
    for name in texts:
        table = {"path": name, "kind": "kaldi"}
        files = _read_pairs(survey.root / _beside(name, "wav.scp")).values()
        inner = [_beside(name, file) for file in files]
        if inner and sum(file in names for file in inner) > sum(file in names for file in files):
            table["folder"] = "."
        tables.append(table)
    if is_repeated(list(said.values())):
        tables = [table | LABELS for table in tables]
    keys = {"ingest.tables": Guess(tables)}
    keys["align.by"] = Guess("table", "an utterance is a sample; its speaker is the group")
    keys["align.parts.audio"] = Guess({})
    if not is_repeated(list(said.values())):
        keys["align.parts.caption"] = CAPTION
    more, questions = _propose_text_label(list(said.values()))
    groups, faults = propose_hash(Counter(speakers.get(name, name) for name in said) if speakers else Counter())
    reason = f"{', '.join(texts)} with wav.scp" + (" and segments" if _beside(texts[0], "segments") in names else "")
    unused = [name for name in survey.list_media() if name_kind(name) != "audio"]
    return Proposal("a Kaldi folder", 1.0, reason, keys | more | groups, len(said), unused, [*questions, *faults])


def _propose_text_label(texts: list[str]) -> tuple[dict[str, Guess], list[str]]:
    if is_repeated(texts):
        return {"align.label": Guess("column", f"the {len(set(texts))} different texts, as they repeat")}, []
    return {}, [NO_LABEL]


def _beside(name: str, other: str) -> str:
    return posixpath.join(posixpath.dirname(name), other)


def _read_pairs(path: Path) -> dict[str, str]:
    with path.open(encoding="utf-8", errors="replace") as file:
        lines = (line.strip().replace("\t", " ").partition(" ") for line in islice(file, MAX_LINES))
        return {name: rest.strip() for name, _, rest in lines if name}


def detect_subtitles(survey: Survey) -> Proposal | None:
    """Return what subtitles beside recordings say."""
    stems = {split_stem(name)[0]: name for name in survey.list_kind("audio", "video")}
    beside = {}
    for name in survey.list_kind("transcript"):
        stem, ending = split_stem(name)
        found = next((stems[each] for each in (stem, split_stem(stem)[0]) if each in stems), None)
        if found is not None and ending.lower() in (".srt", ".vtt"):
            beside[name] = found
    if not beside or not survey.is_folder:
        return None
    endings = sorted({split_stem(name)[1] for name in beside})
    nested = any("/" in name for name in beside)
    tables: list[dict[str, Any]] = [{"path": f"{'**/' if nested else ''}*{ending}"} for ending in endings]
    modality = Counter(map(name_kind, beside.values())).most_common(1)[0][0]
    cues = [cue for name in list(beside)[:MAX_FILES] for cue in _read_cues(survey.root / name)]
    roles = find_roles(dict.fromkeys(beside.values()))
    labels = roles.list_values("label") if roles is not None else Counter()
    part = {}
    more: dict[str, Guess] = {}
    questions: list[str] = []
    if roles is not None and labels:
        part = {"pattern": roles.build_pattern(modality, key=False)}
        more["align.label"] = Guess("path", f"{len(labels)} classes, by folders or names of the recordings")
    elif is_repeated(cues):
        tables = [table | LABELS for table in tables]
        more, questions = _propose_text_label(cues)
    else:
        questions.append(NO_LABEL)
    keys = {"ingest.tables": Guess(tables)}
    keys["align.by"] = Guess("file", "each cue of a recording is a sample: its span and its text")
    keys[f"align.parts.{modality}"] = Guess(part)
    if "columns" not in tables[0]:
        keys["align.parts.caption"] = CAPTION
    reason = f"{len(beside)} subtitles have the names of recordings"
    known = set(beside.values())
    media = survey.list_media()
    unused = [name for name in media if name not in known]
    share = (len(media) - len(unused)) / len(media)
    questions.append("whether the spans of one recording must be in one split: they need not be")
    return Proposal("subtitles beside recordings", share, reason, keys | more, len(cues), unused, questions)


def _read_cues(path: Path) -> list[str]:
    """Return the texts of the cues, roughly: what follows the line of times up to an empty line."""
    text = path.read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n")
    blocks = (block.split("\n") for block in re.split(r"\n\s*\n", text))
    cues = []
    for lines in blocks:
        times = next((number for number, line in enumerate(lines) if "-->" in line), None)
        if times is not None:
            cues.append(" ".join(lines[times + 1 :]).strip())
    return cues
