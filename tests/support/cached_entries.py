"""Find entries in a cache as the stages do: by the join of `EntryLookup`."""

import atexit
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.config.params import RunParams
from pipeline.incremental.entry_reader import EntryReader
from pipeline.incremental.evict import split_keys
from pipeline.incremental.key_words import KEY, build_words, join_words, view_words
from pipeline.incremental.lookup import EntryLookup
from pipeline.incremental.object_store import ObjectStore
from pipeline.incremental.pack_index import DamagedError, Entry
from pipeline.tables.database import Database, open_database

Found = dict[bytes, tuple[str, int]]
"""The object and the row of each entry, by its key."""


def find_entries(objects: ObjectStore, cache_keys: Sequence[bytes]) -> Found:
    """Return where the entries with these keys are, for those that are in an object."""
    requests = pa.table(build_words(view_words(np.array(cache_keys, "S32"))))
    database = _open_shared()
    database.insert("requests", iter(requests.to_batches()))
    lookup = EntryLookup(database, objects)
    lookup.search(KEY)
    rows = join_words(database.take(f'SELECT DISTINCT {KEY}, object, "row" FROM located WHERE object IS NOT NULL'))
    return {row["key"]: (lookup.names[row["object"]], row["row"]) for row in rows.to_pylist()}


@cache
def _open_shared() -> Database:
    """Return one database for all tests of a process: to open one takes twice as long as a lookup."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        database = stack.enter_context(open_database(Path(folder), RunParams()))
        atexit.register(stack.pop_all().close)
    return database


def read_found(objects: ObjectStore, cache_keys: Sequence[bytes]) -> dict[bytes, list[bytes] | None]:
    """Return the pieces of each entry; None where there is none, or a damaged one."""
    found, read = find_entries(objects, cache_keys), dict[bytes, list[bytes] | None]()
    with EntryReader(objects) as reader:
        for key in cache_keys:
            read[key] = None
            if key in found:
                with suppress(DamagedError):
                    read[key] = list(reader.read(*found[key], key).pieces)
    return read


def read_pack(objects: ObjectStore, name: str | None) -> dict[bytes, Entry]:
    """Return all entries of a pack."""
    assert name is not None
    keys = split_keys(np.ascontiguousarray(objects.read_rows(name).entries["key"]))
    with EntryReader(objects) as reader:
        return {key: reader.read(name, row, key) for row, key in enumerate(keys)}
