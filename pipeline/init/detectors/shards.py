"""Detect tables of bytes and shards of WebDataset: files with what is said of them in one container."""

import posixpath
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from pipeline.formats.media_type import MODALITIES_BY_TYPE, find_media_type
from pipeline.init.choose_split import propose_given, propose_hash
from pipeline.init.column_roles import find_annotations
from pipeline.init.detectors.paths import NO_LABEL
from pipeline.init.file_kinds import find_ending, name_kind, rank
from pipeline.init.proposal import Guess, Proposal
from pipeline.init.read_table_sample import TableSample, read_file_columns, read_table_sample
from pipeline.init.survey import Survey
from pipeline.inputs.kinds import find_kind

MAX_SHARDS = 4
"""Containers of which the first rows are read."""

FIELDS = ("cls", "json")
"""Endings of members that say something of the others of their sample."""


def detect_bytes(survey: Survey) -> Proposal | None:
    """Return what tables of bytes hold, such as those of Hugging Face."""
    tables = _list_tables(survey)
    if not tables:
        return None
    first = survey.root / tables[0] if survey.is_folder else survey.root
    modalities = {
        column: modality
        for column, content in read_file_columns(first).items()
        if (modality := MODALITIES_BY_TYPE.get(find_media_type(content)))
    }
    if not modalities:
        return None
    sample = read_table_sample(first) or TableSample([], [])
    annotations = find_annotations(sample, [*modalities, "file"])
    columns = {name: column for name, column in annotations.items() if name != column}
    path = _write_pattern(survey, tables)
    source: dict[str, Any] = {"kind": "parquet", "path": path}
    keys = {"ingest.sources": Guess([source | ({"columns": columns} if columns else {})], _describe(modalities))}
    keys["align.by"] = Guess("file", "a sample for each file in the table")
    keys |= {f"align.parts.{modality}": Guess({}) for modality in list(modalities.values())[:1]}
    if "caption" in annotations:
        keys["align.parts.caption"] = propose_caption(sample.list_column(annotations["caption"]))
    more, questions = propose_columns(sample, annotations)
    others = list(modalities)[1:]
    if others:
        questions.append(f"what becomes of the files in the further columns {', '.join(others)}: they are in no sample")
    reason = f"{len(tables)} tables whose columns hold files"
    return Proposal("tables of bytes", 1.0, reason, keys | more, None, (), questions)


def _list_tables(survey: Survey) -> list[str]:
    if not survey.is_folder:
        return [survey.root.name] if find_kind(survey.root.name) == "parquet" else []
    if survey.only is not None:
        return []
    tables = [name for name in survey.list_kind("table") if find_ending(name) == "parquet"]
    return tables if tables and not survey.list_media() else []


def _write_pattern(survey: Survey, tables: Sequence[str]) -> str:
    """Return the path, or a pattern, of the tables or shards."""
    if not survey.is_folder:
        return str(survey.root)
    if len(tables) == 1:
        return str(survey.root / tables[0])
    folders = {posixpath.dirname(name) for name in tables}
    folder = folders.pop() if len(folders) == 1 else "**"
    ending = posixpath.splitext(tables[0])[1]
    return str(survey.root / folder / f"*{ending}")


def _describe(modalities: dict[str, str]) -> str:
    return ", ".join(f"{column} has {modality}" for column, modality in modalities.items())


def propose_caption(cells: Sequence[Any]) -> Guess:
    """Return the part of captions: several of one cell are all used."""
    most = max((len(cell) for cell in cells if isinstance(cell, list)), default=1)
    part: dict[str, Any] = {"modality": "text", "part": "caption"}
    if most > 1:
        return Guess(part | {"many": "all", "most": most}, f"up to {most} captions")
    return Guess(part)


def propose_columns(sample: TableSample, annotations: dict[str, str]) -> tuple[dict[str, Guess], list[str]]:
    """Return the keys for the label and the split by columns, and what cannot be decided."""
    keys, questions = {}, []
    values = {name: list(map(str, sample.list_values(column))) for name, column in annotations.items()}
    if "label" in values:
        keys["align.label"] = Guess("column", f"{annotations['label']} has {len(set(values['label']))} values")
    else:
        questions.append(NO_LABEL)
    if "split" in values:
        keys |= propose_given("column", Counter(map(str.lower, values["split"])), "as the table says")
    else:
        more, faults = propose_hash(Counter(values.get("group", ())))
        keys |= more
        questions += faults
    return keys, questions


def detect_webdataset(survey: Survey) -> Proposal | None:
    """Return what shards of WebDataset hold: tars in which files of one name are a sample."""
    shards = [survey.root.name] if not survey.is_folder else survey.archives
    if not shards or any(find_kind(name) != "tar" for name in shards):
        return None
    endings: dict[str, set[str]] = defaultdict(set)
    for name in survey.names:
        folder, _, base = name.rpartition("/")
        stem, _, ending = base.partition(".")
        endings[f"{folder}/{stem}"].add(ending.lower())
    counts = Counter(ending for each in endings.values() for ending in each)
    if not endings or not any(counts[field] == len(endings) for field in FIELDS):
        return None
    modalities = {name_kind(f"x.{ending}") for ending, count in counts.items() if count > len(endings) / 2}
    parts = [name for name in ("image", "audio", "video", "text") if name in modalities]
    if not parts:
        return None
    path = _write_pattern(survey, shards)
    keys = {"ingest.sources": Guess([{"kind": "webdataset", "path": path}])}
    keys["align.by"] = Guess("table", "files of one name, up to its first dot, are a sample")
    keys |= {f"align.parts.{part}": Guess({}) for part in parts}
    questions = []
    if counts["cls"]:
        keys["align.label"] = Guess("column", "the .cls of each sample")
    else:
        questions.append("the label: the samples have no .cls. If their .json has one, name it in ingest.sources: "
            "{columns: {label: …}}, and set align.label: column")  # fmt: skip
    reason = f"the {len(shards)} tars have " + ", ".join(f".{ending} {count}" for ending, count in rank(counts))
    return Proposal("shards of WebDataset", 1.0, reason, keys, len(endings), (), questions)
