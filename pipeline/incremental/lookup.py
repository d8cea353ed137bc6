"""Find which requested entries the cache has: a join of two tables of keys.

A stage makes the table `requests` with the words of a key, in which a key may repeat. `located` then has its rows, and
for each where the cache has the entry: `object` (its index in `EntryLookup.names`; null if the cache lacks it), `row`
(of the entry there), `rejected`, and `pieces`, how many it has.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from pipeline.incremental.key_words import KEY, KEY_COLUMNS, NAMES, build_words, view_words
from pipeline.incremental.object_store import PACK, ObjectStore
from pipeline.incremental.pack_index import Array, DamagedError
from pipeline.tables.database import Database

if TYPE_CHECKING:
    import pyarrow as pa

WAITING_ENTRIES = 100_000
"""Entries that are handed to the database at a time."""


class EntryLookup:
    """The table `located` of a database, in place of `requests`.

    Attributes:
        names: of the objects that have requested entries, and others.
        damaged: the names of objects that cannot be used.
    """

    def __init__(self, database: Database, objects: ObjectStore) -> None:
        self._database = database
        self._objects = objects
        self._waiting: list[pa.Table] = []
        self._sizes: list[int] = []
        self.names: list[str] = []
        self.damaged: set[str] = set()
        columns = f'{KEY_COLUMNS}, object INTEGER, "row" INTEGER, rejected BOOLEAN, pieces USMALLINT'
        database.execute(f"CREATE OR REPLACE TABLE found ({columns})")

    def search(self, order: str) -> None:
        """Look in all objects, and make `located`, in this order. What a stage published comes before packs: their
        entries may be in both."""
        for name in sorted(self._objects.list_names(), key=lambda name: name.endswith(PACK)):
            self.add(name)
        self._store()
        self._remove_repeated()
        self._database.execute(
            f"""
            CREATE OR REPLACE TABLE located AS
            SELECT requests.*, object, "row", rejected, pieces FROM requests LEFT JOIN found USING ({KEY})
            ORDER BY {order};
            DROP TABLE requests; TRUNCATE found
            """
        )

    def _remove_repeated(self) -> None:
        """Keep of the entries with one key the first. They are few: those of items that several shards have."""
        self._database.execute(
            f"""
            CREATE OR REPLACE TABLE repeated AS
            SELECT {KEY}, min(object) AS first
            FROM found SEMI JOIN (SELECT key0 FROM found GROUP BY key0 HAVING count(*) > 1) USING (key0)
            GROUP BY {KEY};
            DELETE FROM found USING repeated WHERE {_equate("repeated")}
                AND found.object > repeated.first;
            DROP TABLE repeated
            """
        )

    def add(self, name: str) -> None:
        """Look in one object; `flush` enters what was found."""
        try:
            entries = self._objects.read_entries(name)
        except DamagedError:
            self.damaged.add(name)
            return
        self._waiting.append(_build_entries(entries, len(self.names)))
        self.names.append(name)
        self._sizes.append(len(entries))
        if sum(table.num_rows for table in self._waiting) > WAITING_ENTRIES:
            self._store()

    def _store(self) -> None:
        import pyarrow as pa

        if self._waiting:
            self._database.append("found", pa.concat_tables(self._waiting))
            self._waiting = []

    def flush(self) -> None:
        """Enter what was found in the objects that were added since the search: for requests without an entry."""
        self._enter("located.object IS NULL")

    def _enter(self, condition: str) -> None:
        self._store()
        self._database.execute(
            f"""
            UPDATE located SET object = found.object, "row" = found."row", rejected = found.rejected,
                pieces = found.pieces
            FROM found WHERE {condition} AND {_equate("located")};
            TRUNCATE found
            """
        )

    def forget(self, names: set[str]) -> None:
        """Take the entries of these objects, which are damaged, out of the table."""
        self.damaged |= names
        numbers = [number for number, name in enumerate(self.names) if name in names]
        self._database.execute(
            """
            UPDATE located SET object = NULL, "row" = NULL, rejected = NULL, pieces = NULL
            WHERE object IN (SELECT unnest($numbers))
            """,
            {"numbers": numbers},
        )

    def replace(self, names: Iterable[str]) -> None:
        """Take the entries of these objects in place of those with the same keys, which are damaged."""
        for name in names:
            self.add(name)
        self._enter("true")

    def count(self) -> int:
        """Return the number of distinct entries in the table."""
        return sum(map(np.count_nonzero, self._mark_used()))

    def list_used(self) -> set[str]:
        """Return the names of the objects whose entries are in the table."""
        return {name for name, used in zip(self.names, self._mark_used(), strict=True) if used.any()}

    def _mark_used(self) -> list[Array]:
        """Return for each object which of its entries are in the table."""
        sizes = np.array(self._sizes, np.int64)
        ends = np.cumsum(sizes)
        starts = ends - sizes
        used = np.zeros(ends[-1] if len(ends) else 0, np.bool_)
        for batch in self._database.read('SELECT object, "row" FROM located WHERE object IS NOT NULL'):
            used[starts[batch.column("object").to_numpy()] + batch.column("row").to_numpy()] = True
        return np.split(used, ends[:-1]) if len(ends) else []


def _equate(table: str) -> str:
    """Return the condition that a key is that of the entry in `found`."""
    return " AND ".join(f"{table}.{name} = found.{name}" for name in NAMES)


def _build_entries(entries: Array, number: int) -> "pa.Table":
    import pyarrow as pa

    count = len(entries)
    return pa.table(
        build_words(view_words(np.ascontiguousarray(entries["key"])))
        | {
            "object": pa.array(np.full(count, number, np.int32)),
            "row": pa.array(np.arange(count, dtype=np.int32)),
            "rejected": pa.array(np.ascontiguousarray(entries["rejected"])),
            "pieces": pa.array(np.ascontiguousarray(entries["count"])),
        }
    )
