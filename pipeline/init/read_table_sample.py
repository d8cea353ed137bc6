"""Read the first rows of a table to tell what its columns are."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from pipeline.formats.tabular.table_encoding import find_encoding
from pipeline.init.file_kinds import find_ending

MAX_ROWS = 2_000
FIRST_ROWS = 8
MAX_HEAD_BYTES = 4 << 20
MAX_JSON_BYTES = 256 << 20
DELIMITERS = ",\t|;"


@dataclass(frozen=True)
class TableSample:
    """The first rows of a table.

    Attributes:
        columns: their names.
        rows: of each row the values by name of a column, as the table has them.
        delimiter: of a csv or tsv file that has another than its ending says; None: it has not.
        headless: the first line may be no header.
    """

    columns: Sequence[str]
    rows: Sequence[Mapping[str, Any]]
    delimiter: str | None = None
    headless: bool = False

    def list_values(self, column: str) -> list[Any]:
        """Return the values of a column that are not empty."""
        return [value for value in self.list_column(column) if value not in (None, "", [])]

    def list_column(self, column: str) -> list[Any]:
        """Return the values of a column in each row."""
        return [row.get(column) for row in self.rows]


def read_table_sample(path: Path) -> TableSample | None:
    """Return the first rows of a table by the ending of its name; None where it cannot be read as that."""
    ending = find_ending(path.name)
    try:
        if ending in ("csv", "tsv"):
            return _read_delimited(path, "," if ending == "csv" else "\t")
        if ending == "parquet":
            return _read_parquet(path)
        rows = list(islice(_read_lines(path) if ending == "jsonl" else _read_json(path), MAX_ROWS))
    except (OSError, ValueError, csv.Error, RecursionError):
        return None
    return TableSample(list(dict.fromkeys(name for row in rows for name in row)), rows) if rows else None


def _read_delimited(path: Path, usual: str) -> TableSample | None:
    codec = find_encoding(path, None, "en").codec
    with path.open("rb") as file:
        head = file.read(MAX_HEAD_BYTES).decode(codec, "replace")
    first = head.split("\n", 1)[0]
    counts = {each: first.count(each) for each in DELIMITERS}
    delimiter = usual if counts[usual] else max(counts, key=lambda each: counts[each])
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE
    reader = csv.reader(io.StringIO(head, newline=""), delimiter=delimiter, quoting=quoting)
    records = list(islice(reader, MAX_ROWS + 1))
    if not records or len(records[0]) < 2:
        return None
    names = [name.strip() for name in records[0]]
    rows = [dict(zip(names, record, strict=True)) for record in records[1:] if len(record) == len(names)]
    return TableSample(names, rows, None if delimiter == usual else delimiter, len(set(names)) == len(names))


def _read_lines(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open("rb") as file:
        for line in file:
            if line.strip() and isinstance(row := json.loads(line), dict):
                yield row


def _read_json(path: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the objects of an array, or the annotations of COCO's captions with what it says of their images."""
    if path.stat().st_size > MAX_JSON_BYTES:
        return
    content = json.loads(path.read_bytes())
    if isinstance(content, dict):
        images, annotations = content.get("images"), content.get("annotations")
        if not isinstance(images, list) or not isinstance(annotations, list):
            return
        by_id = {image["id"]: image for image in images if isinstance(image, dict) and "id" in image}
        content = [{**by_id.get(each.get("image_id"), {}), **each} for each in annotations if isinstance(each, dict)]
    yield from (row for row in content if isinstance(row, dict))


def _read_parquet(path: Path) -> TableSample | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as table:
            names = [field.name for field in table.schema_arrow if not _is_bytes(field.type)]
            batch = next(table.iter_batches(MAX_ROWS, columns=names, use_threads=False), None)
    except pa.ArrowException:
        return None
    return None if batch is None or not names else TableSample(names, batch.to_pylist())


def read_file_columns(path: Path) -> dict[str, bytes]:
    """Return the columns of a Parquet table that hold files, each with the first file; empty for other files."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as table:
            names = [field.name for field in table.schema_arrow if _is_bytes(field.type)]
            batch = next(table.iter_batches(FIRST_ROWS, columns=names, use_threads=False), None) if names else None
    except (OSError, pa.ArrowException):
        return {}
    found: dict[str, bytes] = {}
    if batch is None:
        return found
    for name in names:
        cells = (cell["bytes"] if isinstance(cell, dict) else cell for cell in batch.column(name).to_pylist())
        found[name] = next((cell for cell in cells if cell), b"")
    return found


def has_files(path: Path) -> bool:
    """Return whether a file is a Parquet table with files in its columns."""
    return path.suffix.lower() == ".parquet" and bool(read_file_columns(path))


def _is_bytes(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return bool(kind.get_field_index("bytes") >= 0)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
