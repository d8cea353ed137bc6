"""Look at paths, and choose among what they may be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import InputError
from pipeline.init.detectors.table import list_proposals
from pipeline.init.detectors.tables import read_tables
from pipeline.init.file_kinds import rank, split_stem
from pipeline.init.guess_language import NO_WORDS, guess_language
from pipeline.init.proposal import Guess, Proposal
from pipeline.init.survey import Survey, survey
from pipeline.inputs.kinds import find_kind

NO_ENDING = "without an ending"

MAX_TEXTS = 200

DIFFERENT = 0.9
"""The share of the texts that must be different, for equal ones to be duplicates."""

MAX_TEXT_BYTES = 2_000


@dataclass(frozen=True)
class Inspection:
    """What was found at the paths.

    Attributes:
        survey: of all of them.
        proposals: best first.
        keys: of the params file.
        language: of the texts, if it was found.
    """

    survey: Survey
    proposals: Sequence[Proposal]
    keys: Mapping[str, Guess] = field(default_factory=dict)
    language: str | None = None

    @property
    def best(self) -> Proposal:
        """Return the proposal that is taken."""
        return self.proposals[0]


def propose(paths: Sequence[Path]) -> Inspection:
    """Return what is at the paths and what it may be.

    Raises:
        InputError: a path is missing or cannot be read, or nothing there can be used; the message names it.
    """
    surveys = [survey(path) for path in paths]
    found = _join(surveys)
    proposals = list_proposals(found)
    if not proposals:
        seen = ", ".join(f"{count} {ending or NO_ENDING}" for ending, count in rank(found.counts)[:5])
        raise InputError(
            f"{paths[0]} has no images, audio, texts or video, nor a table or list of URLs that says where they are"
            + (f": it has {seen}" if seen else "")
        )
    best = proposals[0]
    keys = {**({} if "ingest.sources" in best.keys else _name_sources(surveys)), **best.keys}
    texts = _read_texts(found) if _uses_text(best) else []
    language = guess_language(texts)
    if texts and len(set(texts)) < DIFFERENT * len(texts):
        keys["align.duplicates.share_split"] = Guess(
            "all", "texts repeat, which would else put all samples into one split"
        )
    if language not in (None, "en"):
        keys["ingest.default_language"] = Guess(language, "of the texts that were looked at")
        if language in NO_WORDS:
            keys["extract.text.tokenizer"] = Guess("bpe", f"needs no package for {language}; `words` does")
        else:
            keys["extract.text.language"] = Guess(language)
    return Inspection(found, proposals, keys, language)


def _join(surveys: Sequence[Survey]) -> Survey:
    """Return several surveys as one: their names are relative to each root."""
    joined = surveys[0]
    if len(surveys) > 1 and any(each.only for each in surveys):
        raise InputError("several paths must be folders or archives: put a table into the folder of its files")
    for each in surveys[1:]:
        joined.names = sorted({*joined.names, *each.names})
        joined.counts += each.counts
        joined.sizes += each.sizes
        joined.archives += each.archives
        joined.remarks += each.remarks
    return joined


def _name_sources(surveys: Sequence[Survey]) -> dict[str, Guess]:
    if len(surveys) == 1:
        return {"ingest.root": Guess(str(surveys[0].root))}
    sources = []
    for number, each in enumerate(surveys):
        kind = "folder" if each.is_folder else find_kind(each.root.name)
        named = {} if number == 0 else {"name": f"source-{number + 1}"}
        sources.append({"kind": kind, "path": str(each.root), **named})
    return {"ingest.sources": Guess(sources)}


def _uses_text(proposal: Proposal) -> bool:
    return any(
        name in ("align.modalities.text.pattern", "align.parts.caption", "align.parts.text") for name in proposal.keys
    )


def _read_texts(found: Survey) -> list[str]:
    """Return some of the texts: of tables' captions, and of text files."""
    texts: list[str] = []
    for table in read_tables(found):
        for value in table.list_values("caption")[:MAX_TEXTS]:
            texts += value if isinstance(value, list) else [str(value)]
    for name in found.list_kind("text")[:MAX_TEXTS] if found.is_folder and not texts else ():
        path = found.root / name
        if path.is_file() and split_stem(name)[0].rpartition("/")[2].lower() not in ("readme", "license", "licence"):
            with path.open("rb") as file:
                texts.append(file.read(MAX_TEXT_BYTES).decode("utf-8", "replace"))
    return texts
