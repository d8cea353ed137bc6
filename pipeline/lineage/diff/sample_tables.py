"""Load what the stage tables say of some samples into a database: their groups, and the items of their parts."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.config.params import RunParams
from pipeline.lineage.stage_tables import StageTables
from pipeline.tables.database import Database, open_database

NAME = "source || ':' || file || if(part = '', '', '#' || part)"
"""`pipeline.tables.item_names.name_item` in SQL."""

Mask = NDArray[np.bool_]


@contextmanager
def open_samples(keys: NDArray[np.bytes_], **sides: StageTables) -> Iterator[Database]:
    """Yield a database with the table `requested` (row, key) of the samples `keys`, and for each side, such as `old`:

    - `old_samples`: row, sample, group
    - `old_parts`: row, sample, place (the number of the row in the table of parts), part, position, item

    Raises:
        InputError: a table is missing or damaged.
    """
    import pyarrow as pa

    with tempfile.TemporaryDirectory() as work, open_database(Path(work), RunParams()) as database:
        rows = pa.record_batch({"row": np.arange(len(keys)), "key": pa.array(keys.astype("U64").tolist(), pa.string())})
        database.insert("requested", iter([rows]))
        for side, tables in sides.items():
            tables.load(database, "align", ["key", "group"], "found", "SEMI JOIN requested USING (key)")
            columns = ["sample", "part", "position", "item"]
            tables.load(database, "parts", columns, "items", "SEMI JOIN found ON sample = found.number")
            database.execute(
                f"""
                CREATE TABLE {side}_samples AS
                SELECT row, number AS sample, "group" FROM found JOIN requested USING (key);
                CREATE TABLE {side}_parts AS
                SELECT row, items.* RENAME (number AS place) FROM items JOIN {side}_samples USING (sample)
                """
            )
        yield database


@dataclass(frozen=True)
class InputChanges:
    """Which of some samples that are in both datasets were made from different items.

    Attributes:
        items: the samples with any item of another id, that is of other ingested bytes or another name.
        contents: by part, those with an item whose cleaned bytes differ; empty without stage tables.
    """

    items: Mask
    contents: Mapping[str, Mask]


def compare_items(keys: NDArray[np.bytes_], old: StageTables, new: StageTables) -> InputChanges:
    """Return which samples have other items.

    Args:
        keys: of samples of both datasets.
        old: the stage tables of one.
        new: those of the other.

    Raises:
        InputError: a table is missing or damaged.
    """
    with open_samples(keys, old=old, new=new) as database:
        for side, tables in (("old", old), ("new", new)):
            tables.load(database, "ingest", ["id"], f"{side}_ids", f"SEMI JOIN {side}_parts ON number = item")
            tables.load(database, "clean", ["item", "sha256"], f"{side}_bytes", f"SEMI JOIN {side}_parts USING (item)")
            database.execute(
                f"""
                CREATE TABLE {side}_lists AS
                SELECT row, part, list(id ORDER BY position) AS ids, list(sha256 ORDER BY position) AS contents
                FROM {side}_parts JOIN {side}_ids ON {side}_ids.number = item
                LEFT JOIN {side}_bytes USING (item) GROUP BY row, part
                """
            )
        different = database.fetch(
            """
            SELECT row, part, old_lists.contents IS DISTINCT FROM new_lists.contents
            FROM old_lists FULL JOIN new_lists USING (row, part) WHERE old_lists.ids IS DISTINCT FROM new_lists.ids
            """
        )
        parts = [part for (part,) in database.fetch("SELECT DISTINCT part FROM old_parts ORDER BY part")]
    others = np.zeros(len(keys), bool)
    contents = {part: np.zeros(len(keys), bool) for part in parts}
    for row, part, changed in different:
        others[row] = True
        contents.setdefault(part, np.zeros(len(keys), bool))[row] = changed
    return InputChanges(others, contents)


def compare_groups(keys: NDArray[np.bytes_], old: StageTables, new: StageTables) -> Mask:
    """Return which samples have the same group in both datasets. Raises what `compare_items` raises."""
    with open_samples(keys, old=old, new=new) as database:
        query = (
            'SELECT row FROM old_samples JOIN new_samples USING (row) WHERE old_samples."group" = new_samples."group"'
        )
        rows = [row for (row,) in database.fetch(query)]
    same = np.zeros(len(keys), bool)
    same[rows] = True
    return same
