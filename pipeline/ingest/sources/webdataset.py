"""Read the files in shards of WebDataset: tars in which files of one name, up to its first dot, are a sample.

As in webdataset the key is the path up to the first dot of the file's name. The label in a `.cls` and the fields of a
`.json` are annotations of the other files of their sample; everything else is a file.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from pipeline.formats.format_errors import FormatFault
from pipeline.formats.tar_entries import ReadAt, TarEntry, list_tar_entries
from pipeline.ingest.sources.build_annotations import build_annotations, build_facts
from pipeline.ingest.sources.containers import list_containers, make_reader
from pipeline.ingest.sources.source import Source, SourceInputs
from pipeline.ingest.sources.tar import list_tar, open_tars
from pipeline.tables.contracts import ANNOTATIONS
from pipeline.tables.drops import Drop, Reason, Rejection
from pipeline.tables.item_names import escape_name

if TYPE_CHECKING:
    import pyarrow as pa

FIELDS = (b"cls", b"json")
MAX_FIELD_BYTES = 1 << 20


def split_name(name: bytes) -> tuple[bytes, bytes]:
    """Return the key and the ending of a member: `a/b` and `seg.png` of `a/b.seg.png`."""
    folder, slash, base = name.removeprefix(b"./").rpartition(b"/")
    stem, _, ending = base.partition(b".")
    return folder + slash + stem, ending


def list_shards(inputs: SourceInputs) -> "Iterator[pa.Table | Drop]":
    """Yield the files of all shards; those that are fields of a sample are counted."""
    import pyarrow as pa

    for container in list_containers("webdataset", inputs):
        fields = 0
        for found in list_tar(container, inputs):
            if isinstance(found, Drop):
                yield found
                continue
            is_field = [split_name(name.encode())[1] in FIELDS for name in found["file"].to_pylist()]
            fields += sum(is_field)
            yield found.filter(pa.array([not each for each in is_field]))
        if fields:
            verdict = Rejection(Reason.USED_AS_TABLE, "fields of samples: .cls and .json")
            yield replace(container.drop(verdict), count=fields)


def annotate_shards(inputs: SourceInputs) -> "Iterator[pa.Table]":
    """Yield what the fields of each sample say of its files, and which sample they are of."""
    for container in list_containers("webdataset", inputs):
        columns = inputs.params.list_sources()[container.number].columns
        spooled = inputs.spool / f"{container.sha256.hex()}.tar"
        with (spooled if spooled.exists() else container.path).open("rb") as file:
            entries = _list_files(make_reader(file.fileno()), os.fstat(file.fileno()).st_size)
            yield from build_annotations(_annotate(entries, make_reader(file.fileno()), container.source, columns))


def _annotate(
    entries: Iterator[TarEntry], read_at: ReadAt, source: str, columns: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    for key, members in groupby(entries, lambda entry: split_name(entry.name)[0]):
        fields: dict[str, Any] = {}
        files = []
        for entry in members:
            ending = split_name(entry.name)[1]
            if ending in FIELDS:
                fields |= _read_fields(read_at(entry.offset, min(entry.size, MAX_FIELD_BYTES)), ending, columns)
            else:
                files.append(escape_name(entry.name.removeprefix(b"./")))
        facts = {"sample": escape_name(key), **fields}
        media = next((file for file in files if not file.endswith(".txt")), None)
        for file in files:
            said = facts if file == media else {name: value for name, value in facts.items() if name != "caption"}
            for row in build_facts(said):
                yield {"source": source, "file": file, **row}


def _list_files(read_at: ReadAt, size: int) -> Iterator[TarEntry]:
    """Yield the members that are files, up to where the shard is damaged."""
    try:
        yield from (entry for entry in list_tar_entries(read_at, size) if entry.fault is None)
    except FormatFault:
        return  # the shard has a dropped row


def _read_fields(content: bytes, ending: bytes, columns: Mapping[str, str]) -> dict[str, Any]:
    """Return what a field says: a label, or the annotations in an object; nothing if it cannot be read."""
    try:
        text = content.decode()
        if ending == b"cls":
            return {"label": text.strip()}
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(fields, dict):
        return {}
    wanted = {name: columns.get(name, name) for name in ANNOTATIONS if name != "caption" or name in columns}
    return {name: fields[key] for name, key in wanted.items() if fields.get(key) is not None}


WEBDATASET = Source(list_shards, open_tars, None, annotate_shards)
