"""What is known of one thing on its way through the stages; names are those of the ledgers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class DropFacts:
    """A row of a `dropped.parquet`. `setting` is the key of `params.yaml` that decided, None where none did."""

    stage: str
    reason: str
    detail: str
    value: str
    limit: str
    count: int
    setting: str | None


@dataclass(frozen=True)
class NameList:
    """The first of some names, and how many there are."""

    names: Sequence[str] = ()
    count: int = 0


@dataclass(frozen=True)
class LostPartner:
    """A thing that belongs together with another, and why there is none."""

    name: str
    dropped: DropFacts


@dataclass(frozen=True)
class ResponseFacts:
    """A row of the crawl; `dropped` is None where it was kept. `page` links or embeds it."""

    url: str
    final_url: str | None
    status: int | None
    content_type: str | None
    page: str | None
    dropped: DropFacts | None


@dataclass(frozen=True)
class CleanFacts:
    """What clean found of an item that it kept.

    Attributes:
        rewritten: whether its bytes are others than those that came in.
        sha256: of the cleaned bytes.
        redactions: passages that were taken out.
        facts: width, height and the like, as the cleaned table has them.
        same: other items with the same cleaned bytes.
        near: further ones that look, sound or read the same.
    """

    rewritten: bool
    sha256: str
    redactions: int
    facts: Mapping[str, int]
    same: NameList
    near: NameList


@dataclass(frozen=True)
class ItemFacts:
    """An item, as ingest made it.

    Attributes:
        clean: what was found of it, or why it was dropped; None where the stage says nothing.
        align: why it is in no sample; None where it is in one, or the stage says nothing.
        partners: where its sample lacks something: what of it was dropped, as far as the ledgers tell.
        sample: the key of the sample that it is in, or None.
        twin: the key of the sample that is kept in place of its own, where that is a duplicate.
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
    twin: str | None


@dataclass(frozen=True)
class FileFacts:
    """A file that came in, or a URL that did not.

    Attributes:
        name: of the file; None where no file came of the URL.
        response: None for a local file, or where the crawl's table is not there.
        dropped: why ingest made no item of it, or None.
        left_out: parts of it that a setting leaves out, counted.
        items: the first of those that were asked for, of `count`.
    """

    name: str | None
    response: ResponseFacts | None
    dropped: DropFacts | None
    left_out: Sequence[DropFacts]
    items: Sequence[ItemFacts]
    count: int


@dataclass(frozen=True)
class MemberLocation:
    """A member of a sample: its name in the tar, where its content starts in the shard, and its size, in bytes."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True)
class SampleLocation:
    """Where a sample is: the `number`-th of its shard, from 0, among `samples`."""

    split: str
    shard: str
    number: int
    samples: int
    members: Sequence[MemberLocation]


@dataclass(frozen=True)
class PartFacts:
    """What a sample takes from one item; `start` and `end` in seconds, None for the whole."""

    item: str
    url: str | None
    start: float | None
    end: float | None


@dataclass(frozen=True)
class SampleFacts:
    """A sample, as align made it; None where that table is not there. `extract` is None where extract says nothing."""

    key: str
    split: str | None
    label: str | None
    group: str | None
    parts: Mapping[str, PartFacts]
    extract: SampleLocation | DropFacts | None


@dataclass(frozen=True)
class WhyAnswer:
    """What is known of what was asked for.

    Attributes:
        query: what was asked for.
        stages: the stages whose tables are there.
        dataset: the hash of the dataset, None where there is none.
        files: the files that it is, or that it is made of.
        samples: those that their items are in, and those that are kept in place of theirs.
        rows: for a row of a URL list that gave no URL.
        matches: where it may mean several things: their names, and then there is nothing else.
        near: names that are like it, where there is no such thing.
    """

    query: str
    stages: Sequence[str]
    dataset: str | None
    files: Sequence[FileFacts] = ()
    samples: Sequence[SampleFacts] = ()
    rows: Sequence[DropFacts] = ()
    matches: NameList = NameList()
    near: Sequence[str] = ()

    @property
    def found(self) -> bool:
        """Whether there is anything of that name."""
        return bool(self.files or self.samples or self.rows or self.matches.count)
