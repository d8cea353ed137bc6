"""Collect the verdicts on all items in columns, from the records of their entries."""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.clean.check_entry import VERDICT
from pipeline.incremental.entry_reader import EntryReader
from pipeline.incremental.key_words import KEY, NAMES, join_words, view_words
from pipeline.incremental.lookup import EntryLookup
from pipeline.incremental.object_store import ObjectStore
from pipeline.incremental.pack_index import Array, DamagedError, Records
from pipeline.incremental.rejections import decode_rejection
from pipeline.modalities.perceptual_hash import SIDE
from pipeline.tables.columns import Columns, build_batch
from pipeline.tables.database import Database
from pipeline.tables.drops import Rejection

if TYPE_CHECKING:
    import pyarrow as pa

THUMBNAIL_BYTES = SIDE * SIDE

REJECTIONS: Columns = {
    **dict.fromkeys(NAMES, "uint64"),
    "modality": "string",
    "reason": "string",
    "detail": "string",
    "value": "string",
    "limit": "string",
    "setting": "string",
}
"""The table `rejections` of the database: a row per cache key whose item is unfit."""

WAITING_REJECTIONS = 10_000
"""Rejections that are entered at a time."""


class Findings:
    """What the checks found, by item. The columns are on disk: thumbnails alone take 256 bytes an item.

    Attributes:
        kept: bool (items,).
        verdicts: `VERDICT` (items,), of those that are kept.
        thumbnails: uint8 (items, 256), of those that are kept and have one.
    """

    def __init__(self, folder: Path, items: int) -> None:
        self._folder = folder
        self.kept = np.zeros(items, np.bool_)
        self.verdicts: Array = self.map_array("verdicts", VERDICT, (items,))
        self.thumbnails: NDArray[np.uint8] = self.map_array("thumbnails", np.dtype("u1"), (items, THUMBNAIL_BYTES))

    def map_array(self, name: str, dtype: "np.dtype[Any]", shape: tuple[int, ...]) -> Array:
        """Return a new array of zeros on disk, in place of an earlier one of this name."""
        if 0 in shape:
            return np.zeros(shape, dtype)
        (self._folder / name).unlink(missing_ok=True)  # an earlier array stays as long as it is used
        return np.memmap(self._folder / name, dtype, "w+", shape=shape)

    def add(self, items: NDArray[np.int64], records: Records) -> None:
        """Store the records of the entries of these items."""
        self.kept[items] = True
        self.verdicts[items] = np.ascontiguousarray(records[:, : VERDICT.itemsize]).view(VERDICT)[:, 0]
        if records.shape[1] > VERDICT.itemsize:
            self.thumbnails[items] = records[:, VERDICT.itemsize :]


def collect_findings(database: Database, lookup: EntryLookup, objects: ObjectStore, findings: Findings) -> set[str]:
    """Enter all verdicts into `findings`, and the rejections into the table `rejections`; return the damaged objects.

    There is none if every request has its entry.
    """
    damaged = set()
    rows = database.read(
        """
        SELECT item, object, "row" FROM located WHERE NOT rejected ORDER BY object, item
        """
    )
    for name, items, entries in _group_objects(rows, lookup):
        try:
            findings.add(items, objects.read_rows(name).records[entries])
        except DamagedError:
            damaged.add(name)
    database.execute("DROP TABLE IF EXISTS rejections")
    database.create("rejections", REJECTIONS)
    rejected = database.take(
        f"""
        SELECT DISTINCT {KEY}, modality, object, "row" FROM located WHERE rejected ORDER BY object, "row"
        """
    )
    with EntryReader(objects) as reader:
        for batch in join_words(rejected).to_batches(WAITING_REJECTIONS):
            found = []
            for row in batch.to_pylist():
                name = lookup.names[row["object"]]
                try:
                    rejection = decode_rejection(reader.read(name, row["row"], row["key"]))
                except DamagedError:
                    damaged.add(name)
                else:
                    found.append((row["key"], row["modality"], rejection))
            add_rejections(database, found)
    return damaged


def add_rejections(database: Database, rejections: Iterable[tuple[bytes, str, Rejection]]) -> None:
    """Enter the rejections of the items with these keys and modalities."""
    rows = [
        {
            **dict(zip(NAMES, view_words(np.frombuffer(key, np.uint8))[0].tolist(), strict=True)),
            "modality": modality,
            "reason": str(rejection.reason),
            "detail": rejection.detail,
            "value": rejection.value,
            "limit": rejection.limit,
            "setting": rejection.name_setting(f"clean.{modality}"),
        }
        for key, modality, rejection in rejections
    ]
    database.append("rejections", build_batch(rows, REJECTIONS))


def _group_objects(
    batches: "Iterator[pa.RecordBatch]", lookup: EntryLookup
) -> Iterator[tuple[str, NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the name of each object with the items and the rows of their entries, from rows ordered by object."""
    for batch in batches:
        items, numbers, rows = (batch.column(name).to_numpy().astype(np.int64) for name in batch.schema.names)
        edges = [*np.flatnonzero(np.diff(numbers, prepend=-1)).tolist(), len(numbers)]
        for start, stop in pairwise(edges):
            yield lookup.names[numbers[start]], items[start:stop], rows[start:stop]
