"""Define what `why` finds out about a file, its items and its samples; names are those of the stage tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class DropFacts:
    """A row of a table `dropped`.

    Attributes:
        setting: the full key in `params.yaml` that decided, several joined by ", "; None where no setting did.
        limit: the value of the setting at that time, or another limit.
        kept_key: the key of what was kept in its place, None where nothing was.
    """

    stage: str
    reason: str
    detail: str
    value: str
    limit: str
    count: int
    setting: str | None
    kept_key: str | None


@dataclass(frozen=True)
class NameList:
    """The first of some names, and how many there are."""

    names: Sequence[str] = ()
    count: int = 0


@dataclass(frozen=True)
class LostPartner:
    """An item, file or URL that belongs to the same sample, and why it was dropped."""

    name: str
    dropped: DropFacts


@dataclass(frozen=True)
class ResponseFacts:
    """A row of the crawl; `dropped` is None where it was kept. `page` links or embeds it.

    `signal` is what the owner refused it by, `signal_line` the line that did, `signal_place` where that is and
    `signal_read` when it was read; None where no owner did.
    """

    url: str
    final_url: str | None
    status: int | None
    content_type: str | None
    page: str | None
    signal: str | None
    signal_line: str | None
    signal_place: str | None
    signal_read: str | None
    dropped: DropFacts | None


@dataclass(frozen=True)
class CleanFacts:
    """The result of clean for an item that it kept.

    Attributes:
        rewritten: whether its bytes were changed.
        sha256: of the cleaned bytes.
        redactions: the number of passages that were redacted.
        flaw: what is odd or damaged in it; None where nothing.
        facts: width, height and other columns of the cleaned table.
        same: other items with the same cleaned bytes.
        near: further items that look, sound or read the same.
    """

    rewritten: bool
    sha256: str
    redactions: int
    flaw: str | None
    facts: Mapping[str, int]
    same: NameList
    near: NameList


@dataclass(frozen=True)
class PartPlace:
    """Where an item is in its sample: number `number`, from 1, of the `count` items of the part `name`."""

    name: str
    number: int
    count: int


@dataclass(frozen=True)
class ItemFacts:
    """An item, as ingest made it.

    Attributes:
        clean: the result of clean, or why it was dropped; None where the stage has no row of it.
        align: why it is in no sample; None where it is in one, or the stage has no row of it.
        partners: where its sample lacks a part: what was dropped of it, as far as the stage tables know.
        sample: the key of its sample, or None.
        place: where it is in its sample, or None.
        kept_sample: the key of the sample that is kept in place of its own, if that is a duplicate.
    """

    name: str
    id: str
    modality: str
    media_type: str
    size: int
    sha256: str
    language: str | None
    licence: str | None
    attribution: str | None
    clean: CleanFacts | DropFacts | None
    align: DropFacts | None
    partners: Sequence[LostPartner]
    sample: str | None
    place: PartPlace | None
    kept_sample: str | None


@dataclass(frozen=True)
class FileFacts:
    """A file that was ingested, or a URL that gave no file.

    Attributes:
        name: of the file; None where the URL gave none.
        response: None for a local file, or where the crawl's table is missing.
        dropped: why ingest made no item of it, or None.
        left_out: parts of it that a setting leaves out, counted.
        items: the first of the requested items, of `count`.
    """

    name: str | None
    response: ResponseFacts | None
    dropped: DropFacts | None
    left_out: Sequence[DropFacts]
    items: Sequence[ItemFacts]
    count: int


@dataclass(frozen=True)
class MemberLocation:
    """A member of a sample: its name in the tar, the offset of its content in the shard, and its size, in bytes."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True)
class SampleLocation:
    """Where a sample is: at index `number` of its shard, which has `samples` samples."""

    split: str
    shard: str
    number: int
    samples: int
    members: Sequence[MemberLocation]


@dataclass(frozen=True)
class PartFacts:
    """What a sample uses of an item; `start` and `end` in seconds, None for the whole item."""

    item: str
    url: str | None
    start: float | None
    end: float | None


@dataclass(frozen=True)
class SampleFacts:
    """A sample, as align made it.

    Attributes:
        split, group: None where its table is missing.
        parts: the items of each part, in their order; empty where align's table refers to other items than ingest has.
        extract: None where neither the dataset nor the dropped table of extract has the sample.
    """

    key: str
    split: str | None
    label: str | None
    group: str | None
    parts: Mapping[str, Sequence[PartFacts]]
    extract: SampleLocation | DropFacts | None


@dataclass(frozen=True)
class WhyAnswer:
    """The answer to a query.

    Attributes:
        query: the text of the query.
        stages: the stages whose tables exist.
        outdated: those of them that refer to other items than ingest has now; they say nothing of items.
        dataset: the hash of the dataset, None where there is none.
        files: the files that match, or that the matching sample is made of.
        samples: the samples of their items, and those that are kept in place of them.
        rows: the dropped row of a matching row of a URL list that gave no URL.
        matches: the names of all matches, if there are several; all other fields are empty then.
        near: similar names, if nothing matches.
    """

    query: str
    stages: Sequence[str]
    outdated: Sequence[str]
    dataset: str | None
    files: Sequence[FileFacts] = ()
    samples: Sequence[SampleFacts] = ()
    rows: Sequence[DropFacts] = ()
    matches: NameList = NameList()
    near: Sequence[str] = ()

    @property
    def found(self) -> bool:
        """Return whether anything matches."""
        return bool(self.files or self.samples or self.rows or self.matches.count)
