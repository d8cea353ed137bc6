"""Detect tables that say something of files: which column names the files, and what the others are."""

import posixpath
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.init.choose_split import propose_given, propose_hash
from pipeline.init.column_roles import find_annotations
from pipeline.init.detectors.paths import NO_LABEL
from pipeline.init.file_kinds import find_ending, name_kind
from pipeline.init.find_named_files import FileColumn, FileNames
from pipeline.init.path_roles import find_roles
from pipeline.init.proposal import Guess, Proposal
from pipeline.init.read_table_sample import TableSample, read_table_sample
from pipeline.init.survey import Survey

MAX_TABLES = 20
MOST = 64
"""Captions of a file at most."""


@dataclass(frozen=True)
class MediaTable:
    """A table that names files, and what its other columns are."""

    path: str
    sample: TableSample
    files: FileColumn
    annotations: Mapping[str, str]
    header: Sequence[str] | None = None

    def list_values(self, annotation: str) -> list[Any]:
        """Return the values of an annotation, as many as rows of the sample that have it."""
        column = self.annotations.get(annotation)
        return [] if column is None else self.sample.list_values(column)

    def describe(self) -> dict[str, Any]:
        """Return the entry of `ingest.tables`."""
        columns = {"file": self.files.column, **self.annotations}
        entry: dict[str, Any] = {"path": self.path}
        renamed = {name: column for name, column in columns.items() if name != column}
        if renamed and self.header is None:
            entry["columns"] = renamed
        if self.sample.delimiter is not None:
            entry["delimiter"] = self.sample.delimiter
        if self.header is not None:
            entry["header"] = list(self.header)
        if self.files.folder:
            entry["folder"] = self.files.folder
        if self.files.ending:
            entry["ending"] = self.files.ending
        return entry


def detect_tables(survey: Survey) -> Proposal | None:
    """Return what tables say of the files beside them."""
    tables = read_tables(survey)
    if not tables:
        return None
    named = [file for table in tables for file in table.files.files.values()]
    modality = Counter(map(name_kind, named)).most_common(1)[0][0]
    keys: dict[str, Guess] = {"ingest.tables": Guess([table.describe() for table in tables], _explain(tables))}
    keys["align.by"] = Guess("file", "a sample for each file, or each of its spans")
    keys[f"align.parts.{modality}"] = Guess({})
    keys |= _propose_captions(tables)
    more, questions = _propose_label(tables, named, modality)
    keys |= more
    known = set(named)
    media = survey.list_media()
    unused = [] if survey.is_sampled else [name for name in media if name not in known and name_kind(name) == modality]
    others = [name for name in media if name_kind(name) != modality]
    share = sum(name in known for name in media) / max(1, len(media) - len(others))
    reason = f"{', '.join(table.path for table in tables)} name the {modality} files"
    cut = any(len(table.sample.rows) >= 2000 for table in tables)
    return Proposal(
        "files that a table describes", 1.0 if cut else share, reason, keys,
        None if cut else _count_samples(tables), [] if cut else [*unused, *others], questions,
    )  # fmt: skip


def read_tables(survey: Survey) -> list[MediaTable]:
    """Return the tables below the root that name files there; only the one that was named, where one was."""
    if not survey.is_folder:
        return []
    paths = [survey.only] if survey.only is not None else survey.list_kind("table")[:MAX_TABLES]
    names = FileNames(survey, [name for name in survey.names if name_kind(name) not in ("table", "other")])
    tables = []
    for path in paths:
        sample = read_table_sample(survey.root / path) if find_ending(path) not in ("arrow", "feather") else None
        if sample is not None and (table := _read(path, sample, names)):
            tables.append(table)
    best = max((len(table.annotations) for table in tables), default=0)
    return [table for table in tables if best == 0 or table.annotations]


def _read(path: str, sample: TableSample, names: FileNames) -> MediaTable | None:
    found = [names.find_column(column, sample.list_values(column), path) for column in sample.columns]
    columns = [column for column in found if column is not None]
    if not columns:
        return None
    files = max(columns, key=lambda column: column.share)
    first = posixpath.normpath(posixpath.join(files.folder, files.column) + files.ending)
    if sample.headless and files.column and names.has(first):
        sample = _add_header(sample, files.column)
        files = replace(files, column="file", files={**files.files, files.column: first})
        annotations = find_annotations(sample, ["file"])
        header = [
            next((name for name, each in annotations.items() if each == column), column) for column in sample.columns
        ]
        return MediaTable(path, sample, files, annotations, header)
    taken = [column.column for column in columns]
    return MediaTable(path, sample, files, find_annotations(sample, taken))


def _add_header(sample: TableSample, file: str) -> TableSample:
    """Return a table whose first line is a row, with names of its columns."""
    names = ["file" if name == file else f"column_{place}" for place, name in enumerate(sample.columns, start=1)]
    rows = [dict(zip(sample.columns, sample.columns, strict=True)), *sample.rows]
    renamed = [{new: row[old] for old, new in zip(sample.columns, names, strict=True)} for row in rows]
    return TableSample(names, renamed, sample.delimiter)


def _explain(tables: Sequence[MediaTable]) -> str:
    shares = ", ".join(f"{table.files.share:.0%} of {table.files.column!r} are files" for table in tables[:3])
    return f"by name and content of the columns; {shares}"


def _count_samples(tables: Sequence[MediaTable]) -> int:
    """Return the number of samples: files, or spans of them."""
    samples = set()
    for table in tables:
        places = [table.annotations[name] for name in ("sample", "start", "end") if name in table.annotations]
        for row in table.sample.rows:
            if file := table.files.find(row.get(table.files.column)):
                samples.add((file, *(row.get(place) for place in places)))
    return len(samples)


def _propose_captions(tables: Sequence[MediaTable]) -> dict[str, Guess]:
    """Return the part of captions; several of a file are all used."""
    counts: Counter[Any] = Counter()
    for table in tables:
        caption = table.annotations.get("caption")
        places = [table.annotations[name] for name in ("sample", "start", "end") if name in table.annotations]
        for row in table.sample.rows if caption is not None else ():
            texts = row.get(caption or "")
            if file := table.files.find(row.get(table.files.column)):
                key = (file, *(str(row.get(place)) for place in places))
                counts[key] += len(texts) if isinstance(texts, list) else bool(texts)
    if not counts.total():
        return {}
    most = min(max(counts.values()), MOST)
    part: dict[str, Any] = {"modality": "text", "part": "caption"}
    why = ""
    if most > 1:
        part |= {"many": "all", "most": most}
        why = f"files have up to {most} captions"
    missing = sum(not count for count in counts.values())
    if missing:
        part["required"] = False
        why = f"{missing} files have none"
    return {"align.parts.caption": Guess(part, why)}


def _propose_label(
    tables: Sequence[MediaTable], named: Sequence[str], modality: str
) -> tuple[dict[str, Guess], list[str]]:
    """Return the keys for label and split: of the tables' columns, else of the folders and names of the files."""
    keys: dict[str, Guess] = {}
    questions: list[str] = []
    labels = [str(value) for table in tables for value in table.list_values("label")]
    splits = [str(value).lower() for table in tables for value in table.list_values("split")]
    roles = find_roles(dict.fromkeys(named))
    from_path = roles is not None and not labels and bool(roles.list_values("label"))
    split_path = roles is not None and not splits and roles.split is not None
    if labels:
        keys["align.label"] = Guess("column", f"{len(set(labels))} classes")
    elif from_path and roles is not None:
        keys["align.label"] = Guess("path", f"{len(roles.list_values('label'))} classes; no column looks like one")
    else:
        questions.append(NO_LABEL)
    if roles is not None and (from_path or split_path):
        if not from_path:
            roles = replace(roles, label=None, group=None, stem=None)
        keys[f"align.parts.{modality}"] = Guess({"pattern": roles.build_pattern(modality, key=False)})
    if splits:
        keys |= propose_given("column", Counter(splits), "as the tables say")
    elif split_path and roles is not None:
        keys |= propose_given("path", roles.list_values("split"), "by the folders")
    else:
        groups = Counter(str(value) for table in tables for value in table.list_values("group"))
        more, faults = propose_hash(groups)
        keys |= more
        questions += faults
    return keys, questions
