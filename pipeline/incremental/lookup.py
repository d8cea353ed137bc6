"""Find which requested entries the cache has: a join of two tables of keys.

A stage makes the table `requests` with a column `key`, in which a key may repeat. `entries` then has, for each of these
keys that is in an object of the cache: `object` (its index in `EntryLookup.names`), `row` (of the entry there),
`rejected`, and `pieces`, how many it has.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from pipeline.incremental.object_store import PACK, ObjectStore
from pipeline.incremental.pack_index import Array, DamagedError
from pipeline.tables.columns import build_hashes
from pipeline.tables.database import Database

if TYPE_CHECKING:
    import pyarrow as pa

WAITING_ENTRIES = 100_000
"""Entries that are handed to the database at a time."""


class EntryLookup:
    """The tables `requests` and `entries` of a database.

    Attributes:
        names: of the objects that have requested entries, and others.
        damaged: the names of objects that cannot be used.
    """

    def __init__(self, database: Database, objects: ObjectStore) -> None:
        self._database = database
        self._objects = objects
        self._waiting: list[pa.Table] = []
        self.names: list[str] = []
        self.damaged: set[str] = set()
        columns = '(key BLOB, object INTEGER, "row" INTEGER, rejected BOOLEAN, pieces USMALLINT)'
        database.execute(f"CREATE TABLE entries {columns}; CREATE OR REPLACE TABLE found {columns}")

    def search(self) -> None:
        """Look in all objects. What a stage published comes before packs: their entries may be in both."""
        for name in sorted(self._objects.list_names(), key=lambda name: name.endswith(PACK)):
            self.add(name)
        self.flush()

    def add(self, name: str) -> None:
        """Look in one object; `flush` enters what was found."""
        try:
            entries = self._objects.read_entries(name)
        except DamagedError:
            self.damaged.add(name)
            return
        self._waiting.append(_build_entries(entries, len(self.names)))
        self.names.append(name)
        if sum(table.num_rows for table in self._waiting) > WAITING_ENTRIES:
            self._store()

    def _store(self) -> None:
        import pyarrow as pa

        if self._waiting:
            self._database.append("found", pa.concat_tables(self._waiting))
            self._waiting = []

    def flush(self) -> None:
        """Put what was found into the table; of entries with one key the first."""
        self._store()
        self._database.execute(
            """
            INSERT INTO entries
            SELECT key, min(object), arg_min("row", object), arg_min(rejected, object), arg_min(pieces, object)
            FROM found SEMI JOIN requests USING (key) ANTI JOIN entries USING (key)
            GROUP BY key;
            TRUNCATE found
            """
        )

    def forget(self, names: set[str]) -> None:
        """Take the entries of these objects, which are damaged, out of the table."""
        self.damaged |= names
        numbers = [number for number, name in enumerate(self.names) if name in names]
        self._database.execute("DELETE FROM entries WHERE object IN (SELECT unnest($numbers))", {"numbers": numbers})

    def replace(self, names: Iterable[str]) -> None:
        """Take the entries of these objects in place of those with the same keys, which are damaged."""
        for name in names:
            self.add(name)
        self._store()
        self._database.execute("DELETE FROM entries WHERE key IN (SELECT key FROM found)")
        self.flush()

    def count(self) -> int:
        """Return the number of entries in the table: of distinct keys that are requested."""
        return int(self._database.fetch("SELECT count(*) FROM entries")[0][0])

    def list_used(self) -> set[str]:
        """Return the names of the objects whose entries are in the table."""
        return {self.names[number] for (number,) in self._database.fetch("SELECT DISTINCT object FROM entries")}


def _build_entries(entries: Array, number: int) -> "pa.Table":
    import pyarrow as pa

    count = len(entries)
    return pa.table(
        {
            "key": build_hashes(np.ascontiguousarray(entries["key"])),
            "object": pa.array(np.full(count, number, np.int32)),
            "row": pa.array(np.arange(count, dtype=np.int32)),
            "rejected": pa.array(np.ascontiguousarray(entries["rejected"])),
            "pieces": pa.array(np.ascontiguousarray(entries["count"])),
        }
    )
