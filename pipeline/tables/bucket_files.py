"""Hand rows from tasks to other tasks, or to the driver: Arrow files, in which a record batch has the rows of a bucket.

A file gets its name when it is complete, so that a task that was killed, or runs twice, harms none.
"""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.tables.database import Database

if TYPE_CHECKING:
    import pyarrow as pa


def write_rows(database: Database, sql: str, path: Path) -> None:
    """Write a result. Raises what `Database.execute` raises."""
    batches = database.read(sql)
    first = next(batches)
    with _open_writer(path, first.schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def write_buckets(database: Database, sql: str, path: Path, buckets: int) -> None:
    """Write a result in the order of its column `bucket`, 0 to `buckets` - 1, without this column; as many batches.

    Raises what `Database.execute` raises.
    """
    rows = database.take(sql)
    ends = np.searchsorted(rows.column("bucket").to_numpy(), np.arange(buckets + 1))
    rows = rows.drop_columns("bucket").combine_chunks()
    with _open_writer(path, rows.schema) as writer:
        for start, end in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
            batches = rows.slice(start, end - start).to_batches()
            writer.write_batch(batches[0] if batches else _make_empty(rows.schema))


def read_rows_of(paths: Sequence[Path], bucket: int | None = None) -> "Iterator[pa.RecordBatch]":
    """Yield the rows of a bucket, all by default, of files of one schema; the first batch is empty."""
    import pyarrow as pa

    for number, path in enumerate(paths):
        with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as file:
            if number == 0:
                yield _make_empty(file.schema)
            for batch in range(file.num_record_batches) if bucket is None else [bucket]:
                yield file.get_batch(batch)


def _make_empty(schema: "pa.Schema") -> "pa.RecordBatch":
    import pyarrow as pa

    return pa.RecordBatch.from_pylist([], schema=schema)


@contextmanager
def _open_writer(path: Path, schema: "pa.Schema") -> Iterator[Any]:
    """Yield a writer of a file beside `path`, which gets that name at the end."""
    import pyarrow as pa

    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(str(draft), schema, options=options) as writer:
        yield writer
    draft.replace(path)
