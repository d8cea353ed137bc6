"""Detect lists of URLs: a URL a line, or a table with a column of them."""

from collections import Counter
from itertools import islice
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from pipeline.init.column_roles import find_annotations
from pipeline.init.detectors.paths import NO_LABEL
from pipeline.init.detectors.shards import propose_caption, propose_columns
from pipeline.init.file_kinds import MODALITY_ENDINGS, find_ending, name_kind, rank
from pipeline.init.path_roles import find_roles
from pipeline.init.proposal import Guess, Proposal
from pipeline.init.read_table_sample import TableSample, read_table_sample
from pipeline.init.survey import Survey

MAX_LINES = 5_000
URL_STARTS = ("http://", "https://")


def detect_urls(survey: Survey) -> Proposal | None:
    """Return what a list of URLs names; in a folder, if there is nothing else."""
    lists = [survey.only] if survey.only is not None else survey.names
    if not survey.is_folder or not lists or (survey.only is None and len(lists) > 1):
        return None
    (name,) = lists
    sample = _read_lines(survey, name) if find_ending(name) == "txt" else read_table_sample(survey.root / name)
    column = None if sample is None else next((each for each in sample.columns if _has_urls(sample, each)), None)
    if sample is None or column is None:
        return None
    annotations = find_annotations(sample, [column])
    entry: dict[str, Any] = {"file": name, **({} if column == "url" else {"url": column}), **annotations}
    paths = [unquote(urlsplit(url).path).lstrip("/") for url in sample.list_values(column)]
    modality, questions = _find_modality(paths)
    keys: dict[str, Guess] = {
        "crawl.lists_folder": Guess(str(survey.root)),
        "crawl.lists": Guess([entry], "their URLs are fetched; links on them are not followed"),
        "ingest.root": Guess("inbox", "files to read besides, if there are any"),
        "align.by": Guess("file", "a sample for each URL, with what the list says of it"),
        f"align.parts.{modality}": Guess({}),
    }
    if "caption" in annotations:
        keys["align.parts.caption"] = propose_caption(sample.list_column(annotations["caption"]))
    more, undecided = propose_columns(sample, annotations)
    roles = find_roles(dict.fromkeys(path for path in paths if name_kind(path) == modality))
    if "label" not in annotations and roles is not None and (labels := roles.list_values("label")):
        keys[f"align.parts.{modality}"] = Guess({"pattern": roles.build_pattern(modality, key=False)})
        more["align.label"] = Guess("path", f"{len(labels)} classes, by the paths of the URLs")
        undecided = [question for question in undecided if question != NO_LABEL]
    hosts = Counter(urlsplit(url).hostname or "" for url in sample.list_values(column))
    reason = f"{name} has {len(set(paths))} URLs of " + ", ".join(host for host, _ in rank(hosts)[:3])
    return Proposal("a list of URLs", 1.0, reason, keys | more, len(set(paths)), (), [*questions, *undecided])


def _read_lines(survey: Survey, name: str) -> TableSample:
    with (survey.root / name).open(encoding="utf-8", errors="replace") as file:
        return TableSample(["url"], [{"url": line.strip()} for line in islice(file, MAX_LINES) if line.strip()])


def _has_urls(sample: TableSample, column: str) -> bool:
    values = sample.list_values(column)
    return bool(values) and all(isinstance(value, str) and value.startswith(URL_STARTS) for value in values)


def _find_modality(paths: list[str]) -> tuple[str, list[str]]:
    counts = Counter(kind for path in paths if (kind := name_kind(PurePosixPath(path).name)) in MODALITY_ENDINGS)
    if not counts:
        return "image", ["what the URLs lead to, as they have no ending: images are assumed"]
    modality, count = counts.most_common(1)[0]
    missing = len(paths) - count
    return modality, [
        f"what becomes of {missing} URLs that are not {modality}: they are in no sample"
    ] if missing else []
