"""Run the stage: turn every file that came in into items with an identity, or drop it with a reason."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any

from pipeline.errors import InputError
from pipeline.formats.format_errors import FormatFault
from pipeline.formats.media_type import HEAD_BYTES, find_media_type, is_binary
from pipeline.ingest.params import IngestParams
from pipeline.ingest.read_contents import Content, Contents, read_contents
from pipeline.ingest.read_page import PageFacts, check_selectors, read_page
from pipeline.ingest.sources.source import SourceFile, SourceInputs
from pipeline.ingest.sources.table import SOURCES
from pipeline.runtime.progress import show_progress
from pipeline.runtime.run_stage import Workspace
from pipeline.tables.blob_store import BlobLocation, TarReader, TarStore
from pipeline.tables.contracts import INGESTED_FOLDER, ITEMS
from pipeline.tables.database import open_database
from pipeline.tables.dropped_rows import DroppedRows
from pipeline.tables.drops import Drop, Outcome, Reason, Rejection, check_drop_share
from pipeline.tables.table_files import write_table


def ingest(params: IngestParams, workspace: Workspace) -> Outcome:
    """Read the files of all sources and write `2_ingested/`. Unit: the file.

    Raises:
        InputError: no source has a file, the folder is missing, or the user's table cannot be used.
        ParamsError: a selector is not valid CSS.
        TooManyDrops: more files were dropped than `params.max_dropped` allows.
    """
    check_selectors(params)
    folder = workspace.work / INGESTED_FOLDER
    with ExitStack() as stack:
        inputs = SourceInputs(params, workspace, stack.enter_context(TarReader(workspace.data)))
        files, drops = _list_files(inputs)
        seen = len(files) + len(drops)
        if not seen:
            raise InputError("; ".join(["no input", *(source.explain_nothing(inputs) for source in SOURCES.values())]))
        store = stack.enter_context(TarStore(folder, INGESTED_FOLDER, "items"))
        ingester = Ingester(params, store, _read_pages(files, params, inputs.reader))
        rows = ingester.read_all(show_progress(files, len(files), "files", workspace.run))
        write_table(folder / "items", sorted(rows, key=lambda row: str(row["id"])), ITEMS)
    drops += ingester.drops
    with open_database(workspace.work, workspace.run) as database:
        dropped = DroppedRows(database, "ingest", "file")
        dropped.add(drops)
        dropped.add_parts(ingester.parts)
        counts = dropped.write(folder)
    outcome = Outcome("file", seen, seen - len(drops), counts, ingester.describe())
    check_drop_share(outcome, params.max_dropped, "ingest.max_dropped")
    return outcome


def _list_files(inputs: SourceInputs) -> tuple[list[SourceFile], list[Drop]]:
    """Return the files of all sources in the order of (source, file), and what was dropped unopened."""
    files: list[SourceFile] = []
    drops: list[Drop] = []
    for source in SOURCES.values():
        for found in source.list_files(inputs):
            if isinstance(found, Drop):
                drops.append(found)
            else:
                files.append(found)
    return sorted(files, key=lambda file: (file.source, file.file)), drops


def _read_pages(files: Sequence[SourceFile], params: IngestParams, reader: TarReader) -> dict[str, PageFacts]:
    """Return the facts of each crawled page that embeds something, by its URL, without its text, which is long.

    A listed URL counts as embedding itself, so most of these are images, which their first bytes show.
    """
    embedding = {file.page for file in files if file.page is not None}
    pages = {}
    for file in files:
        if file.url is None or file.location is None or file.url not in embedding:
            continue
        if is_binary(reader.read(replace(file.location, size=min(HEAD_BYTES, file.location.size)))):
            continue
        content = file.read()
        if isinstance(content, bytes) and find_media_type(content) == "text/html":
            with suppress(FormatFault):  # it has no facts then, and is dropped when it is read for its items
                pages[file.url] = replace(read_page(content, params), text=None)
    return pages


class Ingester:
    """Builds the rows of the items of files. Stores each different content once.

    Crawled files that are one whole item stay in the crawl's tars.

    Attributes:
        drops: A row for each file without items.
        parts: Counted rows for the texts that were left out of files with items.
    """

    def __init__(self, params: IngestParams, store: TarStore, pages: dict[str, PageFacts]) -> None:
        self.drops: list[Drop] = []
        self.parts: list[Drop] = []
        self._params = params
        self._store = store
        self._pages = pages
        self._locations: dict[str, BlobLocation] = {}  # by sha256
        self._counts: Counter[str] = Counter()  # items by modality

    def read_all(self, files: Iterator[SourceFile]) -> Iterator[dict[str, Any]]:
        """Yield a row for each item, ordered by (source, file, part) if the files are ordered by (source, file)."""
        for file in files:
            verdict = self._read(file)
            if isinstance(verdict, Rejection):
                self.drops.append(verdict.drop(file.key, "ingest"))
                continue
            for left_out, count in sorted(verdict.left_out.items(), key=lambda rc: (rc[0].reason, rc[0].detail)):
                self.parts.append(replace(left_out.drop(file.key, "ingest"), count=count))
            page = verdict.page or self._pages.get(file.page or "")
            for item in sorted(verdict.items, key=lambda item: item.part):
                self._counts[item.modality] += 1
                yield self._build_row(file, item, verdict, page or PageFacts())

    def _read(self, file: SourceFile) -> Contents | Rejection:
        data = file.read()
        if isinstance(data, Rejection):
            return data
        contents = read_contents(data, file, self._params)
        if isinstance(contents, Rejection) or self._params.licences is None:
            return contents
        page = contents.page or self._pages.get(file.page or "", PageFacts())
        licence = file.annotations.licence or page.licence or self._params.licence
        if licence in self._params.licences:
            return contents
        return Rejection(Reason.LICENCE_REFUSED, "not an allowed licence", licence or "none", setting="licences")

    def _build_row(self, file: SourceFile, item: Content, contents: Contents, page: PageFacts) -> dict[str, Any]:
        annotations = file.annotations
        sha256 = (file.sha256 if item.whole else None) or hashlib.sha256(item.data).hexdigest()
        location = self._locations.get(sha256)
        if location is None:
            stored = file.location if item.whole else None
            location = self._locations[sha256] = stored or self._store.write(sha256, item.data)
        return {
            "id": make_id(sha256, file.source, file.file, item.part),
            "source": file.source,
            "file": file.file,
            "part": item.part,
            "modality": item.modality,
            "media_type": item.media_type,
            "url": file.url,
            "page": file.url if contents.page else file.page,
            "label": annotations.label,
            "page_label": page.label,
            "sample": annotations.sample,
            "start": annotations.start,
            "end": annotations.end,
            "group": annotations.group,
            "split": annotations.split,
            "language": item.language,
            "licence": annotations.licence or page.licence or self._params.licence,
            "attribution": annotations.attribution or page.attribution or self._params.attribution,
            "sha256": sha256,
            "tar": location.tar,
            "offset": location.offset,
            "size": location.size,
        }

    def describe(self) -> list[str]:
        """Return `1,800 items: 600 audio, 600 image, 600 text` and `61,298 parts left out: part_not_selected`."""
        notes = []
        if self._counts:
            counts = ", ".join(f"{count:,} {modality}" for modality, count in sorted(self._counts.items()))
            notes.append(f"{self._counts.total():,} items: {counts}")
        if self.parts:
            reasons = ", ".join(sorted({str(part.reason) for part in self.parts}))
            notes.append(f"{sum(part.count for part in self.parts):,} parts left out: {reasons}")
        return notes


def make_id(sha256: str, source: str, file: str, part: str) -> str:
    """Return an item's identity: sha256 over content, source, file and part, joined by NUL."""
    return hashlib.sha256("\0".join((sha256, source, file, part)).encode()).hexdigest()
