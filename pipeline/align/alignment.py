"""Hold what the steps of `align` share: the database with their tables, the params, and what is dropped.

Each step is one file: SQL that reads the tables of earlier steps and makes its own, and Python functions that the SQL
calls for what SQL has no words for. Two tables change from step to step:

    samples  sample, and what is known of it; a step deletes the samples that it drops
    members  sample, part, position, item, …: the items that each sample uses, also those of dropped samples

All numbers are unsigned: `item` is a row of `2_ingested/items`, `part` the place of a part among the params' parts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.align.params import AlignParams
from pipeline.align.parts import Part
from pipeline.tables.database import Database
from pipeline.tables.dropped_rows import DroppedRows

if TYPE_CHECKING:
    import pyarrow as pa

REJECTED = """
    CREATE TABLE rejected (
        item UBIGINT, step UTINYINT, sample UBIGINT, reason VARCHAR, detail VARCHAR, value VARCHAR, "limit" VARCHAR,
        setting VARCHAR, kept_key VARCHAR, other UBIGINT)
"""
"""The items of the samples that the steps dropped; `other` is an item whose name completes the detail."""

DROP_SAMPLES = """
    INSERT INTO rejected BY NAME
    SELECT dropping.*, item, $step AS step FROM dropping JOIN members USING (sample)
"""

DROP_ITEMS = """
    WITH last AS (
        FROM rejected
        WHERE item NOT IN (SELECT item FROM members SEMI JOIN rejected USING (item) SEMI JOIN samples USING (sample))
        QUALIFY row_number() OVER (PARTITION BY item ORDER BY step, sample) = 1
    )
    SELECT
        name_item(items.source, items.file, items.part) AS key, reason,
        detail || CASE WHEN other IS NULL THEN '' ELSE name_item(others.source, others.file, others.part) END AS detail,
        value, "limit", setting, kept_key
    FROM last JOIN items USING (item) LEFT JOIN items AS others ON others.item = other
"""
"""An item of several samples is dropped once, and only where all its samples are."""


@dataclass(frozen=True)
class Alignment:
    """What the steps share: `parts` are those of the samples, in their order."""

    database: Database
    dropped: DroppedRows
    params: AlignParams
    parts: Sequence[Part]

    def drop_samples(self, step: int, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Drop the samples of a query: sample, reason, detail, value, limit, setting, kept_key and perhaps other.

        Args:
            step: the number of the step; of an item's samples the one that is dropped first gives the reason.
            sql: the query.
            parameters: of the query.
        """
        self.database.execute(f"CREATE OR REPLACE TABLE dropping AS {sql}", parameters)
        self.database.execute(DROP_SAMPLES, {"step": step})
        self.database.execute("DELETE FROM samples WHERE sample IN (SELECT sample FROM dropping)")

    def drop_items(self) -> None:
        """Add the items that are in no sample that is left to the dropped rows."""
        self.dropped.add_query(DROP_ITEMS)


def map_values(function: Callable[[Any], Any], result: "pa.DataType") -> Callable[[Any], Any]:
    """Return a function over a column, which calls `function` once for each distinct value of a batch; null gives
    null."""

    def apply(column: Any) -> Any:
        import pyarrow as pa

        encoded = column.combine_chunks().dictionary_encode()
        mapped = [function(value) for value in encoded.dictionary.to_pylist()]
        return pa.array(mapped, result).take(encoded.indices)

    return apply


def map_pairs(function: Callable[[Any, Any], Any], result: "pa.DataType") -> Callable[[Any, Any], Any]:
    """Return a function over two columns, which calls `function` with the values of each row."""

    def apply(left: Any, right: Any) -> Any:
        import pyarrow as pa

        return pa.array(map(function, left.to_pylist(), right.to_pylist()), result)

    return apply
