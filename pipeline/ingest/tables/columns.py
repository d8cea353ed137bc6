"""Read tables whose columns have names: csv, tsv, JSON, Parquet."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.formats.tabular.delimited import Dialect
from pipeline.formats.tabular.read_rows import DIALECTS, read_rows
from pipeline.formats.tabular.rows import BadRow, RequestedColumns, TextRow
from pipeline.formats.tabular.table_encoding import UTF8
from pipeline.ingest.tables.annotation_table import NAMED_COLUMNS, AnnotationTable


def read_columns(path: Path, table: AnnotationTable) -> Iterator[TextRow | BadRow]:
    """Yield the rows of a table; a cell with a list of captions gives a row for each.

    Raises:
        InputError: the table is missing, damaged, or lacks the column `file` or one that `columns` names.
    """
    names = {name: table.columns.get(name, name) for name in NAMED_COLUMNS}
    required = ["file", *(name for name in table.columns if name != "file")]
    optional = [name for name in NAMED_COLUMNS if name not in required]
    columns = RequestedColumns(
        tuple(dict.fromkeys(names[name] for name in required)),
        tuple(names[name] for name in optional),
        names["caption"],
    )
    for row in read_rows(path, columns, table.find_kind(), _build_dialect(table), table.encoding or UTF8):
        if isinstance(row, BadRow):
            yield row
        else:
            yield TextRow(row.line, {name: row.values[column] for name, column in names.items()})


def _build_dialect(table: AnnotationTable) -> Dialect | None:
    known = DIALECTS.get(table.find_kind() or "")
    if known is None:
        return None
    delimiter = table.delimiter or known.delimiter
    quotes = delimiter == "," if table.quotes is None else table.quotes
    return Dialect(delimiter, quotes, table.header)
