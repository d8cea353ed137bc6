"""The stage: every file that came in becomes items with an identity, or a row that says why not."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.formats.format_errors import FormatFault
from pipeline.formats.media_type import HEAD_BYTES, find_media_type, is_binary
from pipeline.ingest.params import IngestParams
from pipeline.ingest.read_contents import Content, Contents, read_contents
from pipeline.ingest.read_page import PageFacts, check_selectors, read_page
from pipeline.ingest.source_file import SourceFile
from pipeline.ingest.sources.crawl import read_crawled
from pipeline.ingest.sources.folder import SOURCE, list_folder
from pipeline.ingest.user_table import read_said
from pipeline.runtime.progress import show_progress
from pipeline.runtime.run_stage import Workspace
from pipeline.tables.blob_store import BlobLocation, TarReader, TarStore
from pipeline.tables.contracts import CRAWLED, CRAWLED_FOLDER, INGESTED_FOLDER, ITEMS
from pipeline.tables.drops import Drop, Outcome, Reason, Rejection, check_drop_share
from pipeline.tables.item_names import name_file
from pipeline.tables.parquet import read_table, write_dropped, write_table


def ingest(params: IngestParams, workspace: Workspace) -> Outcome:
    """Read the crawl's responses and the folder `params.root`; writes `2_ingested/`. Unit: the file.

    Raises:
        InputError: nothing came in, the folder is missing, or the user's table cannot be used.
        ParamsError: a selector is not one.
        TooManyDrops: more files were dropped than `params.max_dropped` allows.
    """
    check_selectors(params)
    folder = workspace.work / INGESTED_FOLDER
    with ExitStack() as stack:
        reader = stack.enter_context(TarReader(workspace.data))
        files, drops = _gather(params, workspace, reader)
        seen = len(files) + len(drops)
        if not seen:
            raise InputError(_explain_nothing(params, workspace))
        store = stack.enter_context(TarStore(folder, INGESTED_FOLDER, "items"))
        ingester = Ingester(params, store, _read_pages(files, params, reader))
        rows = ingester.read_all(show_progress(files, len(files), "files", workspace.run))
        write_table(folder / "items.parquet", rows, ITEMS)
    drops += ingester.drops
    outcome = Outcome("file", seen, seen - len(drops), drops, ingester.parts, ingester.describe())
    write_dropped(folder / "dropped.parquet", "ingest", outcome.unit, outcome.dropped, outcome.parts)
    check_drop_share(outcome, params.max_dropped, "ingest.max_dropped")
    return outcome


def _gather(params: IngestParams, workspace: Workspace, reader: TarReader) -> tuple[list[SourceFile], list[Drop]]:
    """All files that came in, in the order of (source, file), and what was dropped unopened."""
    crawled, repeated = read_crawled(workspace, reader)
    local, refused = list_folder(Path(params.root), params.ignore)
    drops = [*repeated, *refused]
    if params.table is not None:
        local = _apply_table(local, params.root, params.table)
        drops.append(Drop(name_file(SOURCE, params.table), Reason.USED_AS_TABLE, "the table that ingest.table names"))
    return sorted([*crawled, *local], key=lambda incoming: (incoming.source, incoming.file)), drops


def _apply_table(local: Sequence[SourceFile], root: str, table: str) -> list[SourceFile]:
    others = [incoming for incoming in local if incoming.file != table]
    said = read_said(Path(root), table, {incoming.file for incoming in others})
    return [replace(incoming, said=said[incoming.file]) if incoming.file in said else incoming for incoming in others]


def _explain_nothing(params: IngestParams, workspace: Workspace) -> str:
    crawled = read_table(workspace.data / CRAWLED_FOLDER / "crawl.parquet", CRAWLED)
    counts = Counter(str(row["reason"]) for row in crawled)
    if not counts:
        return f"no input: list pages in crawl.start, or put files into {params.root}"
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
    return (
        f"no input: {params.root} has no files, and the crawl kept none of {counts.total()} URLs: {reasons}; "
        "raise crawl.refresh to ask for them again"
    )


def _read_pages(files: Sequence[SourceFile], params: IngestParams, reader: TarReader) -> dict[str, PageFacts]:
    """What each crawled page says about the things that it embeds, by its URL. Its text is not kept: it is long.

    A URL of a list embeds itself, so most that may be pages are pictures: a look at their first bytes is enough.
    """
    embedding = {incoming.page for incoming in files if incoming.page is not None}
    pages = {}
    for incoming in files:
        if incoming.url is None or incoming.place is None or incoming.url not in embedding:
            continue
        if is_binary(reader.read(replace(incoming.place, size=min(HEAD_BYTES, incoming.place.size)))):
            continue
        content = incoming.read()
        if isinstance(content, bytes) and find_media_type(content) == "text/html":
            with suppress(FormatFault):  # it says nothing then, and is dropped when its turn comes
                pages[incoming.url] = replace(read_page(content, params), text=None)
    return pages


class Ingester:
    """Turns files into rows; the items' bytes go to `store`, each once, and the ledger to `drops` and `parts`.

    Crawled files that are items as they are stay where the crawl put them.
    """

    def __init__(self, params: IngestParams, store: TarStore, pages: dict[str, PageFacts]) -> None:
        self.drops: list[Drop] = []
        self.parts: list[Drop] = []
        self._params = params
        self._store = store
        self._pages = pages
        self._places: dict[str, BlobLocation] = {}
        self._counts: Counter[str] = Counter()

    def read_all(self, files: Iterator[SourceFile]) -> Iterator[dict[str, Any]]:
        """A row for each item, in the order of (source, file, part) if the files come in that of (source, file)."""
        for incoming in files:
            verdict = self._read(incoming)
            if isinstance(verdict, Rejection):
                self.drops.append(verdict.drop(incoming.key))
                continue
            for (reason, detail), count in sorted(verdict.left_out.items()):
                self.parts.append(Drop(incoming.key, reason, detail, count=count))
            page = verdict.page or self._pages.get(incoming.page or "")
            for item in sorted(verdict.items, key=lambda item: item.part):
                self._counts[item.modality] += 1
                yield self._build_row(incoming, item, verdict, page or PageFacts())

    def _read(self, incoming: SourceFile) -> Contents | Rejection:
        data = incoming.read()
        if isinstance(data, Rejection):
            return data
        contents = read_contents(data, incoming, self._params)
        if isinstance(contents, Rejection) or self._params.licences is None:
            return contents
        page = contents.page or self._pages.get(incoming.page or "", PageFacts())
        licence = incoming.said.licence or page.licence or self._params.licence
        if licence in self._params.licences:
            return contents
        return Rejection(Reason.LICENCE_REFUSED, "not among ingest.licences", licence or "none")

    def _build_row(self, incoming: SourceFile, item: Content, contents: Contents, page: PageFacts) -> dict[str, Any]:
        said = incoming.said
        sha256 = (incoming.sha256 if item.whole else None) or hashlib.sha256(item.data).hexdigest()
        place = self._places.get(sha256)
        if place is None:
            there = incoming.place if item.whole else None
            place = self._places[sha256] = there or self._store.write(sha256, item.data)
        return {
            "id": make_id(sha256, incoming.source, incoming.file, item.part),
            "source": incoming.source,
            "file": incoming.file,
            "part": item.part,
            "modality": item.modality,
            "media_type": item.media_type,
            "url": incoming.url,
            "page": incoming.url if contents.page else incoming.page,
            "label": said.label,
            "page_label": page.label,
            "sample": said.sample,
            "start": said.start,
            "end": said.end,
            "group": said.group,
            "split": said.split,
            "language": item.language,
            "licence": said.licence or page.licence or self._params.licence,
            "attribution": said.attribution or page.attribution or self._params.attribution,
            "sha256": sha256,
            "tar": place.tar,
            "offset": place.offset,
            "size": place.size,
        }

    def describe(self) -> list[str]:
        """`1,800 items: 600 audio, 600 image, 600 text`, and `61,298 parts left out: part_not_selected`."""
        notes = []
        if self._counts:
            counts = ", ".join(f"{count:,} {modality}" for modality, count in sorted(self._counts.items()))
            notes.append(f"{self._counts.total():,} items: {counts}")
        if self.parts:
            reasons = ", ".join(sorted({str(part.reason) for part in self.parts}))
            notes.append(f"{sum(part.count for part in self.parts):,} parts left out: {reasons}")
        return notes


def make_id(sha256: str, source: str, file: str, part: str) -> str:
    """An item's identity: what it is and where it comes from. sha256 over the four, joined by NUL."""
    return hashlib.sha256("\0".join((sha256, source, file, part)).encode()).hexdigest()
