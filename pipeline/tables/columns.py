"""Declare the columns of tables, and convert rows to and from Arrow."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

ColumnType = Literal[
    "string", "int64", "uint64", "float64", "bool", "hash", "string?", "int64?", "uint64?", "float64?", "bool?", "hash?"
]
"""`?` marks a column that may be null. `hash` is 32 bytes in a file and in SQL, 64 hex digits in a `Row`."""

Columns = Mapping[str, ColumnType]
Row = dict[str, Any]
ColumnBatch = Mapping[str, Any]
"""The values of some rows by column: lists or NumPy arrays of one length."""

HASH_BYTES = 32


def build_schema(columns: Columns) -> "pa.Schema":
    """Return the Arrow schema of `columns`, in their order."""
    import pyarrow as pa

    types = {
        "string": pa.string(),
        "int64": pa.int64(),
        "uint64": pa.uint64(),
        "float64": pa.float64(),
        "bool": pa.bool_(),
        "hash": pa.binary(HASH_BYTES),
    }
    return pa.schema(
        [pa.field(name, types[kind.rstrip("?")], nullable=kind.endswith("?")) for name, kind in columns.items()]
    )


def find_hashes(schema: "pa.Schema") -> list[str]:
    """Return the names of the columns that hold hashes; a result of SQL does not say how long they are."""
    import pyarrow as pa

    return [field.name for field in schema if field.type in (pa.binary(HASH_BYTES), pa.binary())]


def build_batch(rows: Sequence[Row], columns: Columns) -> "pa.Table":
    """Return rows with exactly these columns as an Arrow table.

    Raises:
        ValueError: a row lacks a column, has an extra one, or a null that is not allowed; the message names it.
    """
    import pyarrow as pa

    for row in rows:
        _check_row(row, columns)
    schema = build_schema(columns)
    arrays = []
    for field in schema:
        values = [row[field.name] for row in rows]
        if field.type == pa.binary(HASH_BYTES):
            values = [None if value is None else bytes.fromhex(value) for value in values]
        arrays.append(pa.array(values, field.type))
    return pa.Table.from_arrays(arrays, schema=schema)


def _check_row(row: Row, columns: Columns) -> None:
    if row.keys() != columns.keys():
        wrong = sorted(row.keys() ^ columns.keys())
        raise ValueError(f"a row does not have the table's columns; they differ in {wrong}")
    for name, kind in columns.items():
        if row[name] is None and not kind.endswith("?"):
            raise ValueError(f"column {name!r} may not be null, in row {row!r}")


def read_rows(table: "pa.Table | pa.RecordBatch") -> list[Row]:
    """Return an Arrow table as rows."""
    rows: list[Row] = table.to_pylist()
    for name in find_hashes(table.schema):
        for row in rows:
            if row[name] is not None:
                row[name] = row[name].hex()
    return rows


def read_strings(batch: "pa.RecordBatch", column: str) -> list[Any]:
    """Return the values of one column: strings, or None."""
    values: list[Any] = batch.column(column).to_pylist()
    return values


def read_hashes(batch: "pa.RecordBatch", column: str) -> NDArray[np.bytes_]:
    """Return a column of hashes without nulls as S32."""
    import pyarrow as pa

    array = batch.column(column).cast(pa.binary(HASH_BYTES))
    raw = np.frombuffer(array.buffers()[1], np.uint8)
    start = array.offset * HASH_BYTES
    return raw[start : start + len(array) * HASH_BYTES].view(f"S{HASH_BYTES}")


def build_hashes(hashes: NDArray[np.bytes_]) -> "pa.Array":
    """Return S32 (n,) as a column of hashes."""
    import pyarrow as pa

    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(HASH_BYTES), len(hashes), [None, pa.py_buffer(np.ascontiguousarray(hashes).tobytes())]
    )


def number_distinct(batch: "pa.RecordBatch", names: Sequence[str]) -> tuple[list[tuple[Any, ...]], NDArray[np.int32]]:
    """Return the distinct values of these columns together, of which there are few, and for each row, int32 (n,), which
    of them it has."""
    import pyarrow as pa

    codes, known = np.zeros(batch.num_rows, np.int64), []
    for name in names:
        encoded = batch.column(name).dictionary_encode(null_encoding="encode")
        known.append(encoded.dictionary.to_pylist())
        codes = codes * len(known[-1]) + encoded.indices.to_numpy()
    distinct = pa.array(codes).dictionary_encode()
    at = np.unravel_index(distinct.dictionary.to_numpy(), [max(1, len(values)) for values in known])
    columns = [[values[number] for number in numbers.tolist()] for values, numbers in zip(known, at, strict=True)]
    return list(zip(*columns, strict=True)), distinct.indices.to_numpy()
