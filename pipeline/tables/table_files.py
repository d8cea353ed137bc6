"""Read and write the tables between stages: folders of Parquet files with a declared schema and with page checksums.

Without page checksums Parquet misses most bit flips (measured: 75 to 89 %). A table is a folder of parts of at most
`PART_ROWS` rows, `part-000000.parquet`, `part-000001.parquet`, …, in a total order; the number of a row counts over all
parts. Beside them `_table.json` lists the rows of each part and the sha256 of its footer, which has no checksum of its
own: so a part that is missing or damaged is noticed.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError
from pipeline.tables.columns import ColumnBatch, Columns, Row, build_batch, build_schema, read_rows
from shardwright.errors import FormatError
from shardwright.format.canonical_json import decode_json, encode_canonical

if TYPE_CHECKING:
    import pyarrow as pa

PARQUET = {
    "compression": "zstd",
    "write_page_checksum": True,
    "data_page_size": 1 << 17,
    "dictionary_pagesize_limit": 1 << 17,
}
"""Options of the writer. A reader has the pages and dictionaries of all columns in memory: 66 MB for the ingested table
with Arrow's page sizes of 1 MB, 57 MB with these, and the file is smaller."""

PRIVATE = 0o600
"""Mode of the parts: tables have names of files and URLs, which may be those of persons."""

PART_ROWS = 1_000_000

GROUP_ROWS = 50_000
"""Rows of a row group; it divides `PART_ROWS`, so that the bytes of a table depend on its rows alone."""

BATCH_ROWS = 16384
"""Rows of a batch: some 8 MB of the ingested table. Taking a shard's rows is twice as fast from few batches."""

BUFFER_BYTES = 1 << 16
"""Bytes of a column that are read at a time: without it whole row groups are in memory."""

LIST_NAME = "_table.json"
"""The file that lists the parts: `columns`; `refers`, the identity of each table that this one has row numbers of;
`parts`, each with the rows of its row groups and the sha256 of its footer."""


class TableWriter:
    """Writes a table, in batches of any size; a context manager, at whose end the table is complete.

    Args:
        folder: of the table; created.
        columns: of every row.
        refers: the identity (`identify_table`) of each table whose row numbers this one holds, by its name.
    """

    def __init__(self, folder: Path, columns: Columns, refers: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        self._schema = build_schema(columns)
        self._about = {"columns": dict(columns), "refers": dict(refers or {})}
        self._listed: list[dict[str, Any]] = []
        self._waiting: list[pa.Table] = []
        self._writer: Any = None
        self._rows = self._parts = 0
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, rows: "pa.Table | pa.RecordBatch | Mapping[str, pa.Array]") -> None:
        """Append rows that have all columns.

        Raises:
            ValueError: a column has a null that is not allowed.
            KeyError: a column is missing.
        """
        import pyarrow as pa

        given = rows if isinstance(rows, Mapping) else {name: rows.column(name) for name in rows.schema.names}
        arrays = [given[field.name] for field in self._schema]
        for field, array in zip(self._schema, arrays, strict=True):
            if array.null_count and not field.nullable:
                raise ValueError(f"column {field.name!r} may not be null")
        typed = [array.cast(field.type) for field, array in zip(self._schema, arrays, strict=True)]
        self._waiting.append(pa.Table.from_arrays(typed, schema=self._schema))
        self._write_groups(GROUP_ROWS)

    def _write_groups(self, least: int) -> None:
        """Write what waits in groups of `GROUP_ROWS`, the last of at least so many."""
        import pyarrow as pa

        if sum(table.num_rows for table in self._waiting) < least:
            return
        joined = pa.concat_tables(self._waiting)
        start = 0
        while joined.num_rows - start >= least:
            group = joined.slice(start, GROUP_ROWS).combine_chunks()  # the pages depend on how it is cut
            self._find_writer().write_table(group, row_group_size=GROUP_ROWS)
            self._listed[-1]["rows"].append(group.num_rows)
            self._rows += group.num_rows
            start += group.num_rows
        self._waiting = [joined.slice(start)] if start < joined.num_rows else []

    def _find_writer(self) -> Any:
        """Return the writer of the current part: a new one where that has all its rows."""
        import pyarrow.parquet as pq

        if self._writer is not None and self._rows == self._parts * PART_ROWS:
            self._close_part()
        if self._writer is None:
            path = _name_part(self._folder, self._parts)
            path.touch(PRIVATE)
            self._writer = pq.ParquetWriter(path, self._schema, **PARQUET)
            self._listed.append({"rows": []})
            self._parts += 1
        return self._writer

    def _close_part(self) -> None:
        self._writer.close()
        self._writer = None
        self._listed[-1]["footer"] = _hash_footer(_name_part(self._folder, self._parts - 1))

    def __enter__(self) -> "TableWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is None:
            if self._waiting:
                self._write_groups(1)
            if self._writer is None:
                self._find_writer()  # a table without rows has a part too
            self._close_part()
            content = encode_canonical({**self._about, "parts": self._listed}, indent=1) + b"\n"
            (self._folder / LIST_NAME).write_bytes(content)
        elif self._writer is not None:
            self._writer.close()


def write_table(folder: Path, rows: Iterable[Row], columns: Columns, refers: Mapping[str, str] | None = None) -> None:
    """Write `rows` with exactly these `columns`; the same rows give the same bytes.

    Raises:
        ValueError: a row lacks a column, has an extra one, or a null that is not allowed; the message names both.
    """
    remaining = iter(rows)
    with TableWriter(folder, columns, refers) as writer:
        while chunk := list(islice(remaining, GROUP_ROWS)):
            try:
                writer.write(build_batch(chunk, columns))
            except ValueError as error:
                raise ValueError(f"{folder.name}: {error}") from None


def write_batches(folder: Path, batches: Iterable[ColumnBatch], columns: Columns) -> None:
    """Write rows that are columns already, as `write_table` does.

    Raises:
        ValueError: a batch lacks a column, has an extra one, or a null that is not allowed; the message names both.
    """
    import pyarrow as pa

    schema = build_schema(columns)
    with TableWriter(folder, columns) as writer:
        for batch in batches:
            if batch.keys() != columns.keys():
                wrong = sorted(batch.keys() ^ columns.keys())
                raise ValueError(f"{folder.name}: a batch does not have the table's columns; they differ in {wrong}")
            writer.write({field.name: pa.array(batch[field.name], field.type) for field in schema})


@dataclass(frozen=True)
class TablePart:
    """A part of a table: its file, the number of its first row, the rows of its row groups."""

    path: Path
    first: int
    groups: tuple[int, ...]

    @property
    def rows(self) -> int:
        """Return the number of rows."""
        return sum(self.groups)


def list_parts(folder: Path, columns: Columns | None = None) -> list[TablePart]:
    """Return the parts of a table, whose footers are checked.

    Args:
        folder: of the table.
        columns: that it must have; None: any.

    Raises:
        InputError: the table is missing, a part is missing or damaged, or it has other columns.
    """
    about = _read_list(folder)
    if columns is not None and list(about["columns"].items()) != sorted(columns.items()):
        raise InputError(f"{folder} has other columns than this version writes: run `dvc repro` again")
    parts: list[TablePart] = []
    first = 0
    for number, listed in enumerate(about["parts"]):
        path = _name_part(folder, number)
        with _explain_faults(path):
            if _hash_footer(path) != listed["footer"]:
                raise InputError(_describe_damage(path))
        parts.append(TablePart(path, first, tuple(listed["rows"])))
        first += parts[-1].rows
    if len(list(folder.glob("part-*.parquet"))) != len(parts):
        raise InputError(f"{folder} has parts that {LIST_NAME} does not list: remove it and run `dvc repro` again")
    return parts


def _name_part(folder: Path, number: int) -> Path:
    return folder / f"part-{number:06d}.parquet"


def _read_list(folder: Path) -> dict[str, Any]:
    """Return what `LIST_NAME` says."""
    path = folder / LIST_NAME
    with _explain_faults(folder):
        content = path.read_bytes()
    try:
        about: dict[str, Any] = decode_json(content)
        for key, kind in (("columns", dict), ("refers", dict), ("parts", list)):
            if not isinstance(about[key], kind):
                raise TypeError
        for part in about["parts"]:
            sum(part["rows"]), part["footer"]
    except (FormatError, KeyError, TypeError) as error:
        raise InputError(_describe_damage(path)) from error
    return about


def _hash_footer(path: Path) -> str:
    """Return the sha256 of a part's footer: the metadata of Parquet, their length, and the magic at the end."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(size - 8, 0))
        length = int.from_bytes(file.read(4), "little")
        file.seek(max(size - 8 - length, 0))
        return hashlib.sha256(file.read()).hexdigest()


def read_batches(
    folder: Path,
    columns: Columns,
    names: Sequence[str] | None = None,
    groups: Mapping[int, Sequence[int]] | None = None,
) -> "Iterator[pa.RecordBatch]":
    """Yield a table that was written with the same columns, in batches of at most `BATCH_ROWS` rows.

    Args:
        folder: of the table.
        columns: all that it has.
        names: the columns to read; all by default.
        groups: the row groups to read, by the number of the part; all by default.

    Raises:
        InputError: the table is missing, damaged, or has other columns.
    """
    chosen = None if names is None else list(names)
    for number, part in enumerate(list_parts(folder, columns)):
        if groups is None:
            yield from read_part(part.path, chosen)
        elif number in groups:
            yield from read_part(part.path, chosen, groups[number])
    release_arrow_memory()


def read_part(
    path: Path, names: Sequence[str] | None = None, groups: Sequence[int] | None = None
) -> "Iterator[pa.RecordBatch]":
    """Yield these columns of these row groups of a part, all by default, in batches of at most `BATCH_ROWS` rows.

    Raises:
        InputError: the part is missing or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _explain_faults(path), pq.ParquetFile(path, buffer_size=BUFFER_BYTES, page_checksum_verification=True) as file:
        chosen = range(file.num_row_groups) if groups is None else groups
        missing = sum(file.metadata.row_group(number).num_rows for number in chosen)
        batches = file.iter_batches(BATCH_ROWS, row_groups=chosen, columns=names, use_threads=False)
        while True:
            try:
                batch = next(batches, None)
            except (OSError, pa.ArrowException) as error:
                raise InputError(_describe_damage(path)) from error
            if batch is None:
                if missing:  # a bit of a page's header can make Arrow end early
                    raise InputError(_describe_damage(path))
                return
            missing -= batch.num_rows
            yield batch


def read_table(folder: Path, columns: Columns, names: Sequence[str] | None = None) -> list[Row]:
    """Return all rows of a table, with all columns or those of these names.

    Raises:
        InputError: the table is missing, damaged, or has other columns.
    """
    return [row for batch in read_batches(folder, columns, names) for row in read_rows(batch)]


def count_rows(folder: Path) -> int:
    """Return the number of rows of a table, from the footers.

    Raises:
        InputError: the table is missing or damaged.
    """
    return sum(part.rows for part in list_parts(folder))


def identify_table(folder: Path) -> str:
    """Return the identity of a table: sha256 of its list of parts, whose footers hold the size and the range of values
    of every column of every row group. Tables that hold row numbers of another one state it.

    Raises:
        InputError: the table is missing or damaged.
    """
    list_parts(folder)
    return hashlib.sha256((folder / LIST_NAME).read_bytes()).hexdigest()


def check_reference(folder: Path, name: str, target: Path) -> None:
    """Check that the row numbers in a table are those of the table `target`, as it is now.

    Args:
        folder: of the table that holds row numbers.
        name: of the other table in `refers`, such as `2_ingested/items`.
        target: folder of the other table.

    Raises:
        InputError: one of them is missing or damaged, or `target` was written again since.
    """
    if not is_reference_current(folder, name, target):
        raise InputError(f"{target} changed since {folder} was written: run `dvc repro`")


def is_reference_current(folder: Path, name: str, target: Path) -> bool:
    """Return whether the row numbers in a table are those of the table `target` as it is now, see `check_reference`.

    Raises:
        InputError: one of them is missing or damaged.
    """
    return bool(_read_list(folder)["refers"].get(name) == identify_table(target))


def release_arrow_memory() -> None:
    """Return the memory of tables that are no longer used to the system; Arrow keeps it otherwise."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()


@contextmanager
def _explain_faults(path: Path) -> Iterator[None]:
    """Turn errors of opening a table into `InputError`. Errors while its batches are used are not the table's."""
    import pyarrow as pa

    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path} is missing: run the stage that writes it (`dvc repro`)") from None
    except (OSError, pa.ArrowException) as error:
        raise InputError(_describe_damage(path)) from error


def _describe_damage(path: Path) -> str:
    return f"{path} is damaged: remove it and run `dvc repro` again"
