"""Say in words what was found, what it was taken for, and what happens next."""

import posixpath
from collections import Counter, defaultdict
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from pipeline.config.check_params import FILE, format_value
from pipeline.init.detectors.paths import FALLBACK
from pipeline.init.file_kinds import KALDI_FILES, name_form, name_kind, rank
from pipeline.init.propose import NO_ENDING, Inspection

MAX_SHOWN = 5
"""Names, or proposals, that are shown of many."""

WHY_OTHER = "no format that is read"


def describe_survey(inspection: Inspection) -> Iterator[str]:
    """Yield lines about the files: how many of which kind, and what is left out."""
    survey = inspection.survey
    yield f"{survey.root}: {_count(survey.total, 'file')}, {_format_size(survey.sizes.total())}"
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for ending, count in survey.counts.items():
        kinds[name_kind(ending if ending in KALDI_FILES else f"x{ending}")][ending] += count
    for kind in ("image", "audio", "text", "video", "page", "table", "transcript"):
        if counts := kinds.get(kind):
            size = sum(survey.sizes[ending] for ending in counts)
            endings = ", ".join(f"{ending} {count}" for ending, count in rank(counts))
            yield f"  {kind:<11}{counts.total():>9}  {_format_size(size):>10}  {endings}"
    if survey.archives:
        yield f"  in {_count(len(survey.archives), 'archive')}: {_list_some(survey.archives)}"
    if survey.is_sampled:
        yield f"  the names of {len(survey.names)} of them were looked at"
    if inspection.language:
        yield f"  texts are in the language {inspection.language}, by their letters and words"
    for ending, count in rank(kinds.get("other", Counter())):
        yield f"  left out: {count} {ending or NO_ENDING}: {WHY_OTHER}"
    for remark in survey.remarks:
        yield f"  left out: {remark}"


def describe_proposals(inspection: Inspection) -> Iterator[str]:
    """Yield lines about what the data was taken for, and what cannot be decided."""
    best = inspection.best
    yield f"taken for: {best.layout}: {best.reason}"
    if best.samples is not None:
        about = "" if not inspection.survey.is_sampled else " among those that were looked at"
        yield f"  {best.samples} samples{about}"
    for key, guess in best.keys.items():
        value = "" if isinstance(guess.value, dict | list) else f": {format_value(guess.value)}"
        if guess.why and key != "align.by":
            yield f"  {key}{value} ({guess.why})"
    if best.unused:
        endings = Counter(name_form(name) for name in best.unused)
        counted = ", ".join(f"{count} {ending}" for ending, count in rank(endings))
        yield f"  of no sample: {counted}: {_list_some(list(best.unused))}"
    for kind in ("page", "table", "transcript"):
        if unread := _list_unread(inspection, kind):
            yield f"  not used: {_count(len(unread), kind)}: {_list_some(unread)}"
    for question in best.questions:
        yield f"  not decided: {question}"
    for other in inspection.proposals[1:MAX_SHOWN]:
        if other.layout != FALLBACK:
            yield f"not taken: {other.layout} ({other.share:.0%} of the files): {other.reason}"


def _list_unread(inspection: Inspection, kind: str) -> list[str]:
    """Return the files of a kind that are of no modality and that the params do not name."""
    keys = inspection.best.keys
    if kind == "table" and not {"ingest.sources", "crawl.lists"}.isdisjoint(keys):
        return []
    tables = keys["ingest.tables"].value if "ingest.tables" in keys else []
    folders = [posixpath.dirname(table["path"]) for table in tables if table.get("kind") == "kaldi"]
    return [
        name
        for name in inspection.survey.list_kind(kind)
        if not any(fnmatch(f"/{name}", f"/{table['path'].replace('**/', '*')}") for table in tables)
        and not (posixpath.basename(name) in KALDI_FILES and posixpath.dirname(name) in folders)
    ]


def describe_outlook(inspection: Inspection, output: Path) -> Iterator[str]:
    """Yield lines about what to do next."""
    chosen = "make repro" if output == Path(FILE) else f"make repro PARAMS={output}"
    yield f"wrote {output}: look at it, edit it"
    if "align.label" in inspection.keys:
        yield f"`{chosen}` reads, checks and aligns the files, writes shards, trains and reports (data/7_report)"
    else:
        yield (
            f"`{chosen}` reads, checks and aligns the files, writes shards and reports (data/7_report); without a "
            "label it trains the parts of a sample to find each other, where samples have several"
        )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _list_some(names: list[str]) -> str:
    return ", ".join(names[:MAX_SHOWN]) + (", …" if len(names) > MAX_SHOWN else "")


def _format_size(size: int) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000  # type: ignore[assignment]
    return f"{size:.1f} TB"
