"""Divide samples by the part of which each item is in a sample of its own (`many: each`), with the other parts of all.

The new samples share items, so they are one group, whatever the data says of duplicates.
"""

from pipeline.align.alignment import Alignment

DIVIDED = """
    CREATE TABLE divided AS
    SELECT
        members.sample AS origin,
        item,
        '#' || tidy(file) || '#' || items.part
            || CASE row_number() OVER alike WHEN 1 THEN '' ELSE '#' || source || '#' || file END AS identity
    FROM members SEMI JOIN samples USING (sample) JOIN items USING (item)
    WHERE members.part = $part
    WINDOW alike AS (PARTITION BY members.sample, tidy(file), items.part ORDER BY source, file)
"""
"""The items that get samples of their own. What tells their samples apart is the item's path and part, not its place,
which other items change; and its source only where another source has the same path."""

MEMBERS = """
    CREATE OR REPLACE TABLE members AS
    SELECT
        coalesce(divided.item, members.sample) AS sample,
        members.* EXCLUDE (sample) REPLACE (CASE part WHEN $part THEN 0 ELSE position END AS position)
    FROM members LEFT JOIN divided ON origin = members.sample
    WHERE part <> $part OR divided.item = members.item
"""

SAMPLES = """
    CREATE OR REPLACE TABLE samples AS
    SELECT coalesce(item, sample) AS sample, samples.origin, identity
    FROM samples LEFT JOIN divided ON divided.origin = sample
"""
"""A new sample has the number of its item: no other sample has it, as an item is in one of the earlier samples."""


def divide_samples(alignment: Alignment) -> None:
    """Divide `samples` and `members`, if a part says so."""
    for number, part in enumerate(alignment.parts):
        if part.many == "each":
            alignment.database.execute(DIVIDED, {"part": number})
            alignment.database.execute(MEMBERS, {"part": number})
            alignment.database.execute(SAMPLES)


def has_each(alignment: Alignment) -> bool:
    """Return whether samples are divided."""
    return any(part.many == "each" for part in alignment.parts)
