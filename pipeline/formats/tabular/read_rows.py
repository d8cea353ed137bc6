"""Read a table that people bring, in any format. A bad row is a `BadRow` with its line, and the rest is read."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from pipeline.errors import InputError
from pipeline.formats.tabular.delimited import Dialect, read_delimited
from pipeline.formats.tabular.json_rows import read_json, read_json_lines
from pipeline.formats.tabular.parquet_rows import read_parquet
from pipeline.formats.tabular.rows import BadRow, RequestedColumns, TextRow
from pipeline.formats.tabular.table_encoding import UTF8

Reader = Callable[[Path, RequestedColumns, str], Iterator[TextRow | BadRow]]

DIALECTS: Mapping[str, Dialect] = {"csv": Dialect(), "tsv": Dialect("\t", quotes=False)}
READERS: Mapping[str, Reader] = {"jsonl": read_json_lines, "json": read_json}
PARQUET = "parquet"

TABLE_FORMATS = (*DIALECTS, *READERS, PARQUET)
"""Also the endings of file names."""


def read_rows(
    path: Path,
    columns: RequestedColumns,
    table_format: str | None = None,
    dialect: Dialect | None = None,
    encoding: str = UTF8,
) -> Iterator[TextRow | BadRow]:
    """Yield the rows of a table in its order; a list of texts in the column `repeated` gives a row for each.

    Args:
        path: of the table.
        columns: to read.
        table_format: one of `TABLE_FORMATS`; by default the file name's ending.
        dialect: of a csv or tsv file; by default that of `DIALECTS`.
        encoding: of a text, as a codec of Python; see `pipeline.formats.tabular.table_encoding.find_encoding`.

    Raises:
        InputError: the file is missing, has another ending, is damaged as a whole, or lacks a required column.
    """
    name = table_format or path.suffix[1:].lower()
    if name not in TABLE_FORMATS:
        raise InputError(f"{path} is no table: its name must end in .{', .'.join(TABLE_FORMATS)}")
    if not path.is_file():
        raise InputError(f"{path} is missing, or not a file")
    if name == PARQUET:
        return read_parquet(path, columns)
    read: Reader = READERS.get(name) or partial(read_delimited, dialect=dialect or DIALECTS[name])
    return read(path, columns, encoding)
