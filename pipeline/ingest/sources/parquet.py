"""Read the files in the columns of Parquet and Arrow tables: bytes, or the structs of bytes and path of Hugging Face.

Rows lie in groups that are decompressed as a whole, and files are read in the order of their names, so the bytes are
first copied into a tar in the work folder.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.formats.format_errors import FormatFault
from pipeline.formats.tar_entries import ReadAt, find_member_fault
from pipeline.ingest.sources.build_annotations import build_annotations, build_facts
from pipeline.ingest.sources.containers import Container, Member, list_containers, list_members
from pipeline.ingest.sources.folder import open_folder
from pipeline.ingest.sources.source import ListedFile, ReadFile, ReadInputs, Source, SourceInputs, build_listing
from pipeline.ingest.sources.tar import open_tars
from pipeline.tables.blob_store import TarWriter
from pipeline.tables.contracts import ANNOTATIONS
from pipeline.tables.drops import Drop, Reason, Rejection
from pipeline.tables.item_names import escape_name

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 64
"""Rows whose bytes are in memory at a time."""

NO_BYTES = Rejection(Reason.EMPTY, "a cell without bytes")


@dataclass(frozen=True)
class TableColumns:
    """Which columns of a table are what.

    Attributes:
        files: those of bytes: binary, or structs with a field `bytes`.
        paths: the fields of those structs that have the files' names: `image.path`.
        name: that of the files' names; None: the structs have it, or it is the number of the row.
        facts: by name of an annotation, the column that has it.
        classes: by column, the names that its numbers stand for.
    """

    files: Sequence[str]
    paths: Sequence[str]
    name: str | None
    facts: Mapping[str, str]
    classes: Mapping[str, Sequence[str]]


def find_columns(schema: "pa.Schema", columns: Mapping[str, str]) -> TableColumns:
    """Return what the columns of a table are; `columns` has the table's own names of `file` and the annotations.

    Raises:
        FormatFault: it lacks a column that `columns` names.
    """
    import pyarrow as pa

    for key, given in columns.items():
        if given not in schema.names:
            raise FormatFault(f"it has no column {escape_name(given.encode())}, which `columns` names for {key}")
    files = [field.name for field in schema if _holds_bytes(field.type)]
    facts = {name: columns.get(name, name) for name in ANNOTATIONS if columns.get(name, name) in schema.names}
    name = columns.get("file") or ("file" if "file" in schema.names else None)
    facts = {key: column for key, column in facts.items() if column not in files}
    structs = [file for file in files if pa.types.is_struct(schema.field(file).type)]
    paths = [f"{file}.path" for file in structs if schema.field(file).type.get_field_index("path") >= 0]
    return TableColumns(files, paths, name, facts, _read_classes(schema))


def _holds_bytes(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        kind = kind.field("bytes").type if kind.get_field_index("bytes") >= 0 else pa.null()
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _read_classes(schema: "pa.Schema") -> dict[str, list[str]]:
    """Return the names of classes that `datasets` of Hugging Face keeps in the metadata."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        named = {name: feature["names"] for name, feature in features.items() if feature.get("_type") == "ClassLabel"}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}
    return {name: list(map(str, names)) for name, names in named.items() if isinstance(names, list)}


def read_records(path: Path, columns: Sequence[str] | None) -> Iterator[Any]:
    """Yield the schema of a table, then its batches, with these columns or all; `image.path` is a part of a struct.

    Raises:
        FormatFault: it is neither Parquet nor Arrow, or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with path.open("rb") as file:
            magic = file.read(6)
        if magic[:4] == b"PAR1":
            with pq.ParquetFile(path, page_checksum_verification=True) as table:
                yield table.schema_arrow
                yield from table.iter_batches(BATCH_ROWS, columns=columns, use_threads=False)
            return
        with pa.memory_map(str(path)) as source:
            reader = pa.ipc.open_file(source) if magic == b"ARROW1" else pa.ipc.open_stream(source)
            yield reader.schema
            batches = (map(reader.get_batch, range(reader.num_record_batches))) if magic == b"ARROW1" else reader
            for batch in batches:
                chosen = batch if columns is None else _select(batch, columns)
                yield from (chosen.slice(start, BATCH_ROWS) for start in range(0, chosen.num_rows, BATCH_ROWS))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise FormatFault("it is no table of Parquet or Arrow, or it is damaged") from error


def _select(batch: "pa.RecordBatch", columns: Sequence[str]) -> "pa.RecordBatch":
    """Return these columns, as Parquet does: of a struct those fields that are named."""
    import pyarrow as pa

    arrays = {}
    for name in columns:
        if name in batch.schema.names:
            arrays[name] = batch.column(name)
        else:
            struct, _, field = name.rpartition(".")
            arrays[struct] = pa.StructArray.from_arrays([pa.compute.struct_field(batch.column(struct), field)], [field])
    return pa.RecordBatch.from_arrays(list(arrays.values()), list(arrays))


def list_tables(inputs: SourceInputs) -> "Iterator[pa.Table | Drop]":
    """Yield the files in all tables. A table in a folder that has none is a file of its own, which may be one of
    `ingest.tables`."""
    for container in list_containers("parquet", inputs):
        columns = inputs.params.list_sources()[container.number].columns
        try:
            found = find_columns(next(read_records(container.path, None)), columns)
        except FormatFault as fault:
            yield container.drop(Rejection(Reason.UNREADABLE, str(fault)))
            continue
        if found.files:
            spooled = inputs.spool / f"{container.sha256.hex()}.tar"
            yield from list_members(container, inputs.params.ignore, partial(_spool, container.path, spooled, found))
        elif container.in_folder:
            names = ("source", "file", "size", "link", "number", "sha256", "version")
            yield build_listing({name: [getattr(container, name)] for name in names})
        else:
            yield container.drop(Rejection(Reason.NO_ITEMS, "a table without a column of bytes"))


def _spool(path: Path, target: Path, columns: TableColumns, read_at: ReadAt, size: int) -> Iterator[Member]:
    """Copy the bytes of a table into a tar, and yield where they are there."""
    target.unlink(missing_ok=True)
    records = read_records(path, [*columns.files, *([] if columns.name is None else [columns.name])])
    next(records)
    first = 0
    with TarWriter(target) as tar:
        for batch in records:
            for row, record in enumerate(batch.to_pylist(), start=first):
                for column in columns.files:
                    cell = record[column]
                    data: bytes = (cell.get("bytes") if isinstance(cell, dict) else cell) or b""
                    name = name_cell(row, record, column, columns)
                    fault = find_member_fault(name) if data else NO_BYTES
                    yield Member(name, 0 if fault else tar.write(f"{row}", data), len(data), fault)
            first += batch.num_rows


def name_cell(row: int, record: Mapping[str, Any], column: str, columns: TableColumns) -> bytes:
    """Return the name of the file in a cell: that of the row, of the struct, or the row's number; with the column's
    name where the row has several files."""
    cell = record.get(column)
    given = record[columns.name] if columns.name is not None else cell.get("path") if isinstance(cell, dict) else None
    if isinstance(given, str) and given:
        plain = given.removeprefix("./")
        return f"{plain}.{column}".encode() if columns.name is not None and len(columns.files) > 1 else plain.encode()
    return f"{row:09d}.{column}".encode()


def annotate_tables(inputs: SourceInputs) -> "Iterator[pa.Table]":
    """Yield what the other columns say of the files of each row."""
    for container in list_containers("parquet", inputs):
        columns = inputs.params.list_sources()[container.number].columns
        yield from build_annotations(_annotate(container, columns))


def _annotate(container: Container, given: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the annotations up to where the table is damaged, which is a dropped row."""
    with suppress(FormatFault):
        columns = find_columns(next(read_records(container.path, None)), given)
        if not (columns.files and columns.facts):
            return
        names = columns.paths if columns.name is None else [columns.name]
        records = read_records(container.path, [*dict.fromkeys([*names, *columns.facts.values()])])
        next(records)
        for row, record in enumerate(record for batch in records for record in batch.to_pylist()):
            facts = {key: _name_class(record[name], columns.classes.get(name)) for key, name in columns.facts.items()}
            files = [escape_name(name_cell(row, record, column, columns)) for column in columns.files]
            places = [f"{container.file}/{file}" if container.in_folder else file for file in files]
            for said in build_facts(facts):
                yield from ({"source": container.source, "file": place, **said} for place in places)


def _name_class(value: Any, names: Sequence[str] | None) -> Any:
    return names[value] if names and isinstance(value, int) and 0 <= value < len(names) else value


@contextmanager
def open_tables(inputs: ReadInputs) -> Iterator[ReadFile]:
    """Yield how a file is read."""
    with open_tars(inputs) as read_member, open_folder(inputs) as read_whole:

        def read(file: ListedFile) -> bytes | Rejection:
            return read_whole(file) if file.container is None else read_member(file)

        yield read


PARQUET = Source(list_tables, open_tables, None, annotate_tables)
