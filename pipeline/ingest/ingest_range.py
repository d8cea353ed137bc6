"""Read the files of a range of the listing, find their items, and store each different content of the range once."""

import hashlib
import os
from collections.abc import Collection, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pipeline.ingest.divide_file import GivenFacts
from pipeline.ingest.params import IngestParams
from pipeline.ingest.range_cache import RangeCache, RangeTables
from pipeline.ingest.read_ahead import ReadAhead, ReadData
from pipeline.ingest.read_contents import Content, Contents, read_contents
from pipeline.ingest.read_page import PageFacts
from pipeline.ingest.sources.source import ListedFile, ReadInputs
from pipeline.ingest.sources.table import SOURCES
from pipeline.runtime.sandbox.heartbeat import watch_items
from pipeline.tables.blob_store import TarWriter
from pipeline.tables.columns import Columns, build_batch, build_schema
from pipeline.tables.contracts import DROPPED, ITEMS
from pipeline.tables.dropped_rows import PART
from pipeline.tables.drops import Drop, Reason, Rejection

if TYPE_CHECKING:
    import pyarrow as pa

PAGES: Columns = {"url": "string", "label": "string?", "licence": "string?", "attribution": "string?"}
"""The facts of crawled pages, which apply to what they embed."""

SHOWN: Columns = {"page": "string", "image": "string"}
"""The images that crawled pages show, by URL."""

OWN = ""
"""Stands in `found` for the tar of the range, whose name is another when ranges before it come or go."""

FOUND = "found"
REJECTED = "rejected"
FACTS = "pages"
IMAGES = "shown"
RANGE_TABLES: Mapping[str, Columns] = {FOUND: ITEMS, REJECTED: DROPPED, FACTS: PAGES, IMAGES: SHOWN}
"""The tables that a range writes, those of them that have rows. `found` is without what a page says of others, and
the defaults of the params."""


_PASSING = (Reason.UNREADABLE, Reason.CHANGED_WHILE_READ)
"""Reasons that a file of the same hash may not have the next time."""


@dataclass(frozen=True)
class FileRange:
    """A task: the files of a range of the listing. `lost` are files that killed a process, by their index.

    Attributes:
        listing: the Arrow file of the listing, of which this is the record batch `number`.
        folder: where the tar and the tables go, under the name of the range.
        cache: of ranges, None where none is kept.
        estimated_bytes: the memory that it takes.
    """

    listing: Path
    folder: Path
    inputs: ReadInputs
    params: IngestParams
    cache: RangeCache | None = None
    number: int = 0
    files: int = 0
    estimated_bytes: int = 0
    lost: Mapping[int, Rejection] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of its tar and tables, without ending."""
        return f"items-{self.number:06d}"

    def count_items(self) -> int:
        """See `pipeline.runtime.sandbox.heartbeat.Divisible`."""
        return self.files

    def lose_items(self, lost: Mapping[int, Rejection]) -> Self:
        """See `pipeline.runtime.sandbox.heartbeat.Divisible`."""
        return replace(self, lost=lost)


def load_libraries() -> None:
    """Import what `ingest_range` needs, so that processes for it start with that. Not pyarrow, which starts threads: a
    process with threads cannot be forked from."""
    for name in SOURCES:
        SOURCES[name]


@dataclass(frozen=True)
class RangeResult:
    """The number of files with items, and of those without; the name of the range in the cache, if it has it, and
    whether it was there before."""

    kept: int
    dropped: int
    cached: str | None = None
    reused: bool = False


def ingest_range(task: FileRange) -> RangeResult:
    """Write the tar and the tables of a range, by rename.

    Raises:
        InputError: what an earlier stage stored is missing or damaged.
    """
    rows, origins, files = _read_listing(task)
    cache, tar = task.cache, task.folder / f"{task.name}.tar"
    name = None if cache is None or task.lost else cache.name(rows)
    found = None if cache is None or name is None else cache.read(name, tar)
    reused = found is not None
    if found is None:
        partial = task.folder / f".{task.name}-{os.getpid()}.tar"
        collected = _collect(task, partial, zip(files, origins, strict=True), {*origins})
        _publish(partial, tar)
        found = RangeTables(collected.build_tables(rows), collected.dropped)
        if not collected.lasting:
            name = None
        if cache is not None and name is not None:
            cache.store(name, tar, found)
    for table in RANGE_TABLES:
        partial = task.folder / f".{task.name}-{os.getpid()}.{table}"
        if table in found.tables:
            partial.write_bytes(found.tables[table])
        _publish(partial, task.folder / f"{task.name}.{table}.arrow")
    return RangeResult(task.files - found.dropped, found.dropped, name, reused)


def _collect(
    task: FileRange, path: Path, files: Iterable[tuple[ListedFile, str]], origins: Collection[str]
) -> "_Collector":
    """Write the tar of a range, and collect the rows of its files, each with its origin."""
    path.unlink(missing_ok=True)
    with ExitStack() as stack:
        collected = _Collector(stack.enter_context(TarWriter(path)))
        readers = {name: stack.enter_context(SOURCES[name].open_reader(task.inputs)) for name in sorted(origins)}
        ahead = stack.enter_context(ReadAhead())
        opened = ahead.open_files((file, readers[origin]) for file, origin in files)
        for number, (file, read) in enumerate(watch_items(opened)):
            verdict = task.lost.get(number) or _read_file(file, read, task.params)
            collected.add(number, file, verdict)
    return collected


def _read_listing(task: FileRange) -> "tuple[pa.RecordBatch, list[str], Iterable[ListedFile]]":
    """Return the rows of the range, the source that each is of, and what is needed of each to read it."""
    import pyarrow as pa

    with pa.memory_map(str(task.listing)) as file:
        rows = pa.ipc.open_file(file).get_batch(task.number)
    columns = (rows[name].to_pylist() for name in ListedFile._fields)
    return rows, rows["origin"].to_pylist(), map(ListedFile._make, zip(*columns, strict=True))


def _read_file(file: ListedFile, read: ReadData, params: IngestParams) -> Contents | Rejection:
    data = read()
    return data if isinstance(data, Rejection) else read_contents(data, file, params)


class _Collector:
    """Collects the rows of a range, and stores each different content once; crawled files that are one whole item stay
    where they are.

    Attributes:
        dropped: the number of files without items.
        lasting: whether no file was dropped for what may be otherwise the next time.
    """

    def __init__(self, tar: TarWriter) -> None:
        self.dropped = 0
        self.lasting = True
        self._tar = tar
        self._offsets: dict[bytes, int] = {}  # in the tar, by sha256
        self._items: list[tuple[Any, ...]] = []
        self._drops: list[dict[str, Any]] = []
        self._pages: list[dict[str, Any]] = []
        self._shown: list[dict[str, Any]] = []

    def add(self, number: int, file: ListedFile, found: Contents | Rejection) -> None:
        """Add what was found in the file whose row has that number."""
        if isinstance(found, Rejection):
            found = Contents(rejection=found)
        page = found.page
        if page is not None and file.url is not None:
            facts = {"label": page.label, "licence": page.licence, "attribution": page.attribution}
            self._pages.append({"url": file.url, **facts})
            shown = sorted({figure.image for figure in page.figures})
            self._shown += [{"page": file.url, "image": image} for image in shown]
        if found.rejection is not None:
            self._add_drop(found.rejection.drop(file.key, "ingest"), "file")
            self.dropped += 1
            self.lasting &= found.rejection.reason not in _PASSING
            return
        for left_out, count in found.left_out.items():
            self._add_drop(replace(left_out.drop(file.key, "ingest"), count=count), PART)
        places: dict[int, tuple[bytes, str, int]] = {}  # of contents, by identity: segments share theirs
        for item in found.items:
            if id(item.data) not in places:
                places[id(item.data)] = self._store(item, file)
            sha256, tar, offset = places[id(item.data)]
            identity = make_id(sha256.hex(), file.source, file.file, item.part)
            place = identity, sha256, tar, offset, len(item.data)
            self._items.append((number, *_describe(item), *place, *_describe_page(page), *item.facts))

    def _add_drop(self, drop: Drop, unit: str) -> None:
        self._drops.append({"stage": "ingest", "unit": unit, **asdict(drop), "reason": str(drop.reason)})

    def _store(self, item: Content, file: ListedFile) -> tuple[bytes, str, int]:
        """Store the bytes of an item; return their hash, and where they are."""
        known = file.sha256 if item.whole else None
        if known and file.tar is not None and file.offset is not None:
            return known, file.tar, file.offset
        sha256 = known or hashlib.sha256(item.data).digest()
        if sha256 not in self._offsets:
            self._offsets[sha256] = self._tar.write(sha256.hex(), item.data)
        return sha256, OWN, self._offsets[sha256]

    def build_tables(self, rows: "pa.RecordBatch") -> dict[str, bytes]:
        """Return those of `RANGE_TABLES` that have rows, as Arrow files; `rows` are those of the listing."""
        tables: dict[str, pa.Table] = {}
        if self._items:
            tables[FOUND] = _build_items(self._items, rows)
        if self._drops:
            tables[REJECTED] = build_batch(self._drops, DROPPED)
        if self._pages:
            tables[FACTS] = build_batch(self._pages, PAGES)
        if self._shown:
            tables[IMAGES] = build_batch(self._shown, SHOWN)
        return {name: _encode_table(table) for name, table in tables.items()}


_COLLECTED = (
    "row", "part", "modality", "media_type", "language", "about", "id", "sha256", "tar", "offset", "size", "page_label",
    "page_licence", "page_attribution", "is_page", *GivenFacts._fields,
)  # fmt: skip
"""The fields of an item that `_Collector` collects."""


def _describe(item: Content) -> tuple[str, str, str, str | None, str | None]:
    return item.part, item.modality, item.media_type, item.language, item.about


def _describe_page(page: PageFacts | None) -> tuple[str | None, str | None, str | None, bool]:
    return (None, None, None, False) if page is None else (page.label, page.licence, page.attribution, True)


def _build_items(items: list[tuple[Any, ...]], rows: "pa.RecordBatch") -> "pa.Table":
    """Return the table `found`: what was found in the files, and the columns of their rows."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = dict(zip(_COLLECTED, zip(*items, strict=True), strict=True))
    listed = rows.select(["source", "file", "url", "page"]).take(pa.array(found["row"]))
    schema = build_schema(ITEMS)
    columns = {
        field.name: pa.array(found[field.name], field.type) if field.name in found else listed.column(field.name)
        for field in schema
        if field.name in found or field.name in listed.schema.names
    }
    columns["pages"] = columns["all_pages"] = pa.nulls(len(items), pa.int64())  # known when all ranges are
    columns["page"] = pc.if_else(pa.array(found["is_page"]), listed["url"], listed["page"])
    for name in ("licence", "attribution"):
        columns[name] = pc.coalesce(columns[name], pa.array(found[f"page_{name}"], pa.string()))
    return pa.Table.from_arrays([columns[field.name].cast(field.type) for field in schema], schema=schema)


def _encode_table(table: "pa.Table") -> bytes:
    import pyarrow as pa

    with pa.BufferOutputStream() as stream:
        with pa.ipc.new_file(stream, table.schema) as writer:
            writer.write(table)
        return bytes(stream.getvalue())


def _publish(partial: Path, path: Path) -> None:
    """Rename a file that may not be there to its name; an earlier try at the range may have left one of that name."""
    if partial.exists():
        partial.rename(path)
    else:
        path.unlink(missing_ok=True)


def make_id(sha256: str, source: str, file: str, part: str) -> bytes:
    """Return an item's identity: sha256 over content (in hex), source, file and part, joined by NUL."""
    return hashlib.sha256("\0".join((sha256, source, file, part)).encode()).digest()
