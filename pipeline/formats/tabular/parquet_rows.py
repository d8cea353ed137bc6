"""Read Parquet files as rows of text."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError
from pipeline.formats.tabular.rows import BadRow, RequestedColumns, TextRow, build_rows, check_columns
from pipeline.tables.drops import Reason

if TYPE_CHECKING:
    from pyarrow import RecordBatch


def read_parquet(path: Path, columns: RequestedColumns) -> Iterator[TextRow | BadRow]:
    """Yield the rows of a file.

    Raises:
        InputError: it is no Parquet file, is damaged, or lacks a required column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            names = list(file.schema_arrow.names)
            check_columns(path, names, columns)
            requested = [name for name in columns.names if name in names]
            line = 0
            for batch in file.iter_batches(columns=requested):
                for record in _list_records(batch):
                    line += 1
                    if record is None:
                        yield BadRow(line, Reason.UNREADABLE, "a value that cannot be read")
                    else:
                        yield from build_rows(line, record, columns)
    except (OSError, ValueError, pa.ArrowException) as error:  # ValueError: a column whose name is not UTF-8
        raise InputError(f"{path} is not a Parquet file, or is damaged") from error


def _list_records(batch: "RecordBatch") -> list[dict[str, Any] | None]:
    """Return the rows as Python values; None for one with a value that Python lacks: not UTF-8, a date after 9999."""
    try:
        records: list[dict[str, Any] | None] = batch.to_pylist()
    except (ValueError, OverflowError):
        half = batch.num_rows // 2
        return [*_list_records(batch.slice(0, half)), *_list_records(batch.slice(half))] if half else [None]
    return records
