"""List the files of all sources in the order of (source, file), and cut the list into ranges, a task each.

The ranges depend on the list alone, so that the tars do not depend on the number of workers; a new file changes few.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.ingest.annotate_files import annotate_files
from pipeline.ingest.sources.source import LISTED, Source, SourceInputs
from pipeline.inputs.cut_ranges import CUT, cut_ranges
from pipeline.tables.columns import Columns
from pipeline.tables.database import Database
from pipeline.tables.dropped_rows import DroppedRows
from pipeline.tables.drops import Drop, Reason
from pipeline.tables.item_names import name_file

if TYPE_CHECKING:
    import pyarrow as pa

RANGE_FILES = 10_000
"""Files of a range: a third of a second's work if they are small."""

RANGE_BYTES = 256 << 20
"""Bytes of the files of a range, and so about those of its tar, unless a single file has more."""

ORIGIN_COLUMN: Columns = {"origin": "string"}
"""The name of the `Source` that lists the file, beside its columns `LISTED`."""

_SORTED = f"""
    SELECT *, ('0x' || left(sha256(source || chr(0) || file), 8))::UINTEGER AS {CUT} FROM listed
    ORDER BY source, file, url IS NOT NULL, NOT starts_with(url, 'https:'), url,
        number, container NULLS FIRST, member DESC
"""
"""Files of one name follow each other, and the first is kept: of an archive the last, which replaces those before."""


@dataclass
class Listing:
    """The ranges of the listed files. The rows of range `number` are a record batch of the Arrow file `path`.

    Attributes:
        counts: files of each range.
        largest: bytes of the largest file of each range.
        size: bytes of all files.
    """

    path: Path
    counts: list[int] = field(default_factory=list)
    largest: list[int] = field(default_factory=list)
    size: int = 0


def list_files(
    sources: Mapping[str, Source], inputs: SourceInputs, database: Database, dropped: DroppedRows
) -> tuple[Listing, int]:
    """Write the listing of all sources to the work folder, with what was said of each file, and drop what was refused
    unopened, tables, and all but the first file of one name.

    The latter happens where a site is linked by http and by https: the same host and path are the same file, and the
    response by https is kept. It also happens where two paths differ only in escapes of `%`, `/` and `?`.

    Returns:
        The listing, and how many files came in.
    """
    database.create("listed", {**LISTED, **ORIGIN_COLUMN})
    seen = 0
    for origin, source in sources.items():
        for found in source.list_files(inputs):
            if isinstance(found, Drop) and found.reason in (Reason.IGNORED, Reason.USED_AS_TABLE):
                dropped.add_parts([found])
            elif isinstance(found, Drop):
                dropped.add([found])
                seen += found.count
            else:
                database.append("listed", found.append_column("origin", _repeat(origin, found.num_rows)))
                seen += found.num_rows
    annotate_files(sources, inputs, database, dropped)
    listing = Listing(inputs.workspace.work.resolve() / "listing.arrow")
    _write_ranges(listing, database, dropped)
    database.execute("DROP TABLE listed")
    return listing, seen


def _repeat(text: str, count: int) -> "pa.Array":
    import pyarrow as pa

    return pa.repeat(pa.scalar(text), count)


def _write_ranges(listing: Listing, database: Database, dropped: DroppedRows) -> None:
    import pyarrow as pa

    writer = None
    repeated: list[Drop] = []
    for rows in cut_ranges(_keep_first(database.read(_SORTED), repeated), RANGE_FILES, RANGE_BYTES):
        writer = writer or pa.ipc.new_file(listing.path, rows.schema)
        writer.write_batch(rows)
        listing.counts.append(rows.num_rows)
        sizes = rows["size"].to_numpy()
        listing.largest.append(int(sizes.max()))
        listing.size += int(sizes.sum())
    if writer is not None:
        writer.close()
    dropped.add(repeated)


def _keep_first(batches: "Iterator[pa.RecordBatch]", repeated: list[Drop]) -> "Iterator[pa.RecordBatch]":
    """Yield the first row of each file; append a drop for each of the others to `repeated`."""
    import pyarrow as pa

    first: dict[str, Any] = {}
    for batch in filter(len, batches):
        again = _find_repeated(batch, first)
        if not again.any():
            first = batch.slice(batch.num_rows - 1).to_pylist()[0]
            yield batch
            continue
        for row, is_repeated in zip(batch.to_pylist(), again, strict=True):
            if is_repeated:
                repeated.append(_drop_repeated(row, first))
            else:
                first = row
        yield batch.filter(pa.array(~again))


def _find_repeated(batch: "pa.RecordBatch", first: dict[str, Any]) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """Return whether each row has the name of the row before; `first` is the one before the batch, or empty."""
    import pyarrow.compute as pc

    again = np.zeros(batch.num_rows, bool)
    again[0] = bool(first) and all(batch[name][0].as_py() == first[name] for name in ("source", "file"))
    before, after = batch.slice(0, batch.num_rows - 1), batch.slice(1)
    same = pc.and_(pc.equal(before["file"], after["file"]), pc.equal(before["source"], after["source"]))
    again[1:] = same.to_numpy(zero_copy_only=False)
    return again


def _name_place(row: dict[str, Any]) -> str:
    """Return a name of a local file that no other has, though it has the same path in its source."""
    if row["container"] is None:
        return f"{row['file']}#source {row['number']}"
    return f"{row['container']}!{row['file']}#{row['member']}"


def _drop_repeated(row: dict[str, Any], first: dict[str, Any]) -> Drop:
    kept_key = name_file(first["source"], first["file"])
    key = row["url"] or name_file(row["source"], _name_place(row))
    return Drop(key, Reason.DUPLICATE, f"the same file name as {first['url'] or kept_key}", kept_key=kept_key)
