"""Run SQL over tables in DuckDB, with a bound on memory, beyond which it goes to the work folder.

Tables come in through `pipeline.tables.table_files`, which verifies page checksums (DuckDB's own reader does not), and
results leave through it. Every result that is written has a total ORDER BY: then its bytes depend neither on threads
nor on memory.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import Parameter, Signature
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config.params import RunParams, parse_size
from pipeline.errors import PipelineError
from pipeline.tables.columns import Columns, build_schema
from pipeline.tables.table_files import GROUP_ROWS, TableWriter, read_batches

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

SETTINGS = {
    "preserve_insertion_order": False,  # it costs memory, and every result is ordered
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,
}


class Database:
    """A DuckDB database: tables in memory, and beyond its limit in the work folder."""

    def __init__(self, connection: "duckdb.DuckDBPyConnection") -> None:
        self.connection = connection

    def load(  # noqa: PLR0913 - what to read of a table
        self,
        table: str,
        folder: Path,
        columns: Columns,
        names: Sequence[str] | None = None,
        number: str | None = None,
        only: str | None = None,
    ) -> None:
        """Create the table `table`, in place of an earlier one, from a table of a stage.

        Args:
            table: name of the new table.
            folder: of the stage's table.
            columns: all that it has.
            names: the columns to read; all by default.
            number: name of a column to add, uint64: the number of the row.
            only: a table with the column `number`, whose rows to load; all by default.

        Raises:
            InputError: the table is missing, damaged, or has other columns.
        """
        condition = f"SEMI JOIN {only} USING ({number})" if only else ""
        self.insert(table, read_numbered(folder, columns, names, number), condition)

    def insert(self, table: str, batches: "Iterator[pa.RecordBatch]", condition: str = "", columns: str = "*") -> None:
        """Create the table `table`, in place of an earlier one, from batches, of which there is at least one."""
        self.connection.register("incoming", _make_reader(batches))
        self.execute(f"CREATE OR REPLACE TABLE {table} AS SELECT {columns} FROM incoming {condition}")
        self.connection.unregister("incoming")

    def create(self, table: str, columns: Columns) -> None:
        """Create an empty table."""
        self.connection.register("incoming", build_schema(columns).empty_table())
        self.execute(f"CREATE TABLE {table} AS SELECT * FROM incoming")
        self.connection.unregister("incoming")

    def append(self, table: str, rows: "pa.Table | Iterator[pa.RecordBatch]") -> None:
        """Add rows, or batches of which there is at least one, to the table `table`, by the names of their columns."""
        import pyarrow as pa

        self.connection.register("incoming", rows if isinstance(rows, pa.Table) else _make_reader(rows))
        self.execute(f"INSERT INTO {table} BY NAME SELECT * FROM incoming")
        self.connection.unregister("incoming")

    def add_function(
        self, name: str, function: "Callable[..., pa.Array]", parameters: Sequence[str], result: str
    ) -> None:
        """Make a function over Arrow columns callable in SQL; its types are names of SQL types. Nulls are passed on."""

        def call(*columns):  # type: ignore[no-untyped-def] # DuckDB evaluates annotations, and counts parameters
            return function(*columns)

        names = (f"column_{number}" for number in range(len(parameters)))
        call.__signature__ = Signature([Parameter(name, Parameter.POSITIONAL_ONLY) for name in names])  # type: ignore[attr-defined]
        self.connection.create_function(
            name, call, list(parameters), result, type="arrow", null_handling="special", side_effects=False
        )

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement; `$name` stands for a parameter.

        Raises:
            PipelineError: `run.table_memory` is too small for it, or the disk is full.
        """
        with explain_memory():
            self.connection.execute(sql, dict(parameters or {}))

    def fetch(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Return all rows of a small result. Raises what `execute` raises."""
        with explain_memory():
            rows: list[tuple[Any, ...]] = self.connection.execute(sql, dict(parameters or {})).fetchall()
            return rows

    def take(self, sql: str, parameters: Mapping[str, Any] | None = None) -> "pa.Table":
        """Return a small result as an Arrow table. Raises what `execute` raises."""
        with explain_memory():
            return self.connection.sql(sql, params=dict(parameters or {})).to_arrow_table()

    def read(self, sql: str, parameters: Mapping[str, Any] | None = None) -> "Iterator[pa.RecordBatch]":
        """Yield a result in batches, the first of which may be empty. Raises what `execute` raises."""
        import pyarrow as pa

        with explain_memory():
            reader = self.connection.sql(sql, params=dict(parameters or {})).to_arrow_reader(GROUP_ROWS)
            yield pa.RecordBatch.from_pylist([], schema=reader.schema)
            yield from reader

    def write(
        self,
        sql: str,
        folder: Path,
        columns: Columns,
        refers: Mapping[str, str] | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        """Write a result with a total order as a table, see `TableWriter`. Raises what `execute` raises."""
        assert "ORDER BY" in sql, "a result that is written has a total order"
        schema = build_schema(columns)
        with TableWriter(folder, columns, refers) as writer:
            for batch in self.read(sql, parameters):
                writer.write(batch.cast(schema))


def _make_reader(batches: "Iterator[pa.RecordBatch]") -> "pa.RecordBatchReader":
    import pyarrow as pa

    first = next(batches)
    return pa.RecordBatchReader.from_batches(first.schema, chain([first], batches))


def read_numbered(
    folder: Path, columns: Columns, names: Sequence[str] | None = None, number: str | None = None
) -> "Iterator[pa.RecordBatch]":
    """Yield a table of a stage in batches, the first of them empty. See `Database.load`."""
    import pyarrow as pa

    chosen = list(columns) if names is None else list(names)
    schema = pa.schema([build_schema(columns).field(name) for name in chosen])
    empty = [pa.RecordBatch.from_pylist([], schema=schema)]
    batches = chain(empty, (batch.cast(schema) for batch in read_batches(folder, columns, chosen)))
    yield from batches if number is None else number_rows(batches, number)


def number_rows(batches: "Iterable[pa.RecordBatch]", name: str) -> "Iterator[pa.RecordBatch]":
    """Yield batches with a further column, uint64: the number of the row over all of them."""
    import numpy as np
    import pyarrow as pa

    start = 0
    for batch in batches:
        numbers = pa.array(np.arange(start, start + batch.num_rows, dtype=np.uint64))
        yield batch.append_column(pa.field(name, pa.uint64(), nullable=False), numbers)
        start += batch.num_rows


@contextmanager
def open_database(work: Path, run: RunParams) -> Iterator[Database]:
    """Yield an empty database; its files are in `work`, and removed at the end."""
    import duckdb

    folder = work / "tables"  # not created before it is needed
    work.mkdir(parents=True, exist_ok=True)
    settings = {
        "memory_limit": f"{parse_size(run.table_memory)}B",
        "temp_directory": str(folder),
        "threads": max(1, run.workers),
    }
    connection = duckdb.connect(config={**SETTINGS, **settings})  # in memory: a file would be synced at each statement
    connection.execute("SET enable_progress_bar = false")  # it would draw in worker processes
    try:
        yield Database(connection)
    finally:
        connection.close()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def explain_memory() -> Iterator[None]:
    """Turn DuckDB's lack of memory, or of space on the disk for what does not fit, into one message.

    Raises:
        PipelineError: with the settings to change.
    """
    import duckdb

    try:
        yield
    except (duckdb.OutOfMemoryException, duckdb.IOException, OSError) as error:
        if isinstance(error, OSError) and "Out of Memory" not in str(error):  # Arrow turns the one into the other
            raise
        if isinstance(error, duckdb.IOException) or "max_temp_directory_size" in str(error):
            raise PipelineError(
                "there is no space for the tables in the work folder: free some, let run.cache name a folder on a "
                "larger disk, or raise run.table_memory in params.yaml"
            ) from error
        raise PipelineError(
            "the tables need more memory than run.table_memory allows, or half of run.memory in a worker: raise it in "
            "params.yaml"
        ) from error
