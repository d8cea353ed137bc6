"""Find why one dataset lacks samples that the other has, from what became of their items in its stage tables.

Of the items of a sample, the one that was lost first is the cause: if its image was dropped, its audio lacks a partner.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.lineage.diff.sample_tables import NAME, open_samples
from pipeline.lineage.stage_tables import StageTables
from pipeline.lineage.why.explain import explain_limit
from pipeline.tables.database import Database
from pipeline.tables.drops import Reason

STAGES = ("input", "crawl", "ingest", "clean", "align", "extract")
"""In the order in which an item passes them; the input comes before all stages."""

UNKNOWN, IN_ANOTHER_SAMPLE, NOT_IN_INPUT = "unknown", "in_another_sample", "not_in_input"

RANK = f"""
CASE reason WHEN '{Reason.MISSING_PARTNER}' THEN 7 WHEN '{IN_ANOTHER_SAMPLE}' THEN 8
ELSE list_position({list(STAGES)}, stage) END
"""
"""The rank of a cause, in SQL: smaller for an earlier loss; what follows from the loss of another item comes last."""

DROP_COLUMNS = ("key", "unit", "reason", "limit", "setting")


@dataclass(frozen=True)
class LossCause:
    """The stage that lost an item, and why.

    Attributes:
        reason: of the dropped row, or one of `UNKNOWN`, `IN_ANOTHER_SAMPLE`, `NOT_IN_INPUT`.
        part: that the item is of; None where the sample itself was dropped.
        setting: the key of `params.yaml` that decided, empty where none did.
        limit: the value of the setting in that run.
    """

    stage: str
    reason: str
    part: str | None = None
    setting: str = ""
    limit: str = ""

    def __str__(self) -> str:
        lost = f"its {self.part}" if self.part else "the sample"
        if self.reason == NOT_IN_INPUT:
            return f"{lost} is not in the input"
        if self.reason == IN_ANOTHER_SAMPLE:
            return f"{lost} is in another sample"
        if self.reason == UNKNOWN:
            return "the stage tables give no cause"
        return f"{lost} was dropped in {self.stage}: {self.reason}{explain_limit(self.setting, self.limit)}"


NO_CAUSE = LossCause("align", UNKNOWN)


@dataclass(frozen=True)
class Causes:
    """The earliest cause, by `RANK`, for each of some samples.

    Attributes:
        known: all causes; the first stands for none.
        numbers: for each sample the index of its cause in `known`.
    """

    known: list[LossCause]
    numbers: NDArray[np.int64]


def find_causes(keys: NDArray[np.bytes_], having: StageTables, lacking: StageTables) -> Causes:
    """Return why `lacking` does not have the samples `keys`, sorted, which `having` has.

    Raises:
        InputError: a table is missing or damaged.
    """
    with open_samples(keys, having=having) as database:
        _load_items(database, having, lacking)
        _collect_causes(database, lacking)
        cause = "{'stage': stage, 'reason': reason, 'part': part, 'setting': setting, 'limit': value}"
        found = database.fetch(
            f"""
            SELECT row, dense_rank() OVER (ORDER BY cause), cause
            FROM (SELECT row, arg_min({cause}, ({RANK}, place, stage, reason)) AS cause FROM causes GROUP BY row)
            """
        )
    known, numbers = {0: NO_CAUSE}, np.zeros(len(keys), np.int64)
    for row, number, values in found:
        numbers[row] = number
        known.setdefault(number, LossCause(**values))
    return Causes([known[number] for number in sorted(known)], numbers)


def _load_items(database: Database, having: StageTables, lacking: StageTables) -> None:
    """Create `wanted` (row, part, place, id, name, file, url) of the samples' items, `lost_items` (id, name, number) of
    those that the other dataset ingested under the same name, `used` (item) of those that it has in a sample."""
    columns = ["id", "source", "file", "part", "url"]
    having.load(database, "ingest", columns, "items", "SEMI JOIN having_parts ON number = item")
    database.execute(
        f"""
        CREATE TABLE wanted AS SELECT row, place, part, named.* EXCLUDE number FROM having_parts
            JOIN (SELECT number, id, {NAME} AS name, source || ':' || file AS file, url FROM items) named
            ON number = item;
        CREATE TABLE names AS
            SELECT key AS name FROM requested UNION SELECT name FROM wanted UNION SELECT file FROM wanted
            UNION SELECT url FROM wanted WHERE url IS NOT NULL
        """
    )
    lacking.load(database, "ingest", columns[:4], "ingested", f"WHERE {NAME} IN (SELECT name FROM names)")
    lacking.load(database, "parts", ["item"], "used", "SEMI JOIN ingested ON incoming.item = ingested.number")
    condition = "WHERE unit <> 'part' AND key IN (SELECT name FROM names)"
    for stage in STAGES[1:]:
        lacking.load(database, f"dropped.{stage}", DROP_COLUMNS, f"dropped_{stage}", condition)


def _collect_causes(database: Database, lacking: StageTables) -> None:
    """Create `causes` (row, place, stage, reason, part, setting, value). A limit that no setting gives differs by item,
    and is left out."""
    drops = [("crawl", "url"), ("ingest", "url"), ("ingest", "wanted.file"), ("clean", "name"), ("align", "name")]
    limit = "setting, if(setting = '', '', \"limit\") AS value"
    lost = " UNION ALL ".join(
        f"SELECT row, place, '{stage}' AS stage, reason, part, {limit} FROM wanted JOIN dropped_{stage} ON {name} = key"
        for stage, name in drops
    )
    database.execute(
        f"""
        CREATE TABLE causes AS {lost}
        UNION ALL SELECT row, 0, 'extract', reason, NULL, {limit} FROM requested JOIN dropped_extract USING (key)
        """
    )
    if "ingest" in lacking.stages:
        database.execute(
            f"""
            INSERT INTO causes SELECT row, place, 'input', '{NOT_IN_INPUT}', part, '', '' FROM wanted
            ANTI JOIN causes USING (row, place)
            WHERE name NOT IN (SELECT {NAME} FROM ingested)
            """
        )
    database.execute(
        f"""
        INSERT INTO causes SELECT row, place, 'align', '{IN_ANOTHER_SAMPLE}', wanted.part, '', '' FROM wanted
        JOIN ingested USING (id) SEMI JOIN used ON ingested.number = used.item
        """
    )
