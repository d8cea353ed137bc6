"""Find groups: samples that must be in one split.

Samples are in one group if they name the same group, or are duplicates that may not cross splits, directly or through
others. A group's name is the smallest name that the data gives it, else its smallest key: so a new sample changes a
group's name only if it joins that group, and moves no other sample. Divided samples have in place of their keys the one
that they would have as one sample.
"""

import numpy as np

from pipeline.align.alignment import Alignment
from pipeline.align.divide_samples import has_each
from pipeline.align.drop_duplicates import choose_column, find_repeated, has_spans
from pipeline.tables.connected_components import find_components

TIES = """
    CREATE TABLE ties (sample UBIGINT, first UBIGINT)
"""
"""Samples that are in one group with a smaller one."""

TIE_NAMED = """
    INSERT INTO ties
    SELECT sample, min(sample) OVER (PARTITION BY named) AS first
    FROM members SEMI JOIN samples USING (sample) WHERE named IS NOT NULL QUALIFY first < sample
"""

TIE_ANY = """
    INSERT INTO ties
    SELECT sample, min(sample) OVER (PARTITION BY cluster) AS first
    FROM tied SEMI JOIN samples USING (sample) QUALIFY first < sample
"""

TIE_OVERLAPPING = """
    INSERT INTO ties
    WITH reached AS (
        SELECT sample, whole, "start" AS begins, coalesce("end", 'infinity'::DOUBLE) AS ends, item,
            max(ends) OVER (
                PARTITION BY whole ORDER BY begins, ends, item, sample ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ) AS reached
        FROM tied SEMI JOIN samples USING (sample)
    ),
    islands AS (
        SELECT sample, whole,
            count(*) FILTER (reached IS NULL OR begins >= reached)
                OVER (PARTITION BY whole ORDER BY begins, ends, item, sample ROWS UNBOUNDED PRECEDING) AS island
        FROM reached
    )
    SELECT sample, min(sample) OVER (PARTITION BY whole, island) AS first FROM islands QUALIFY first < sample
"""
"""As `TIE_ANY`, where members are spans: those of one recording have something in common where they overlap."""

TIE_ALL = """
    INSERT INTO ties
    SELECT sample, min(sample) OVER (PARTITION BY clusters) AS first FROM whole QUALIFY first < sample
"""

TIE_DIVIDED = """
    INSERT INTO ties
    SELECT sample, min(sample) OVER (PARTITION BY origin) AS first FROM samples QUALIFY first < sample
"""

ROOTS = "CREATE TABLE roots (sample UBIGINT, root UBIGINT)"
"""The smallest sample of the group of each sample that is tied to others."""

GROUPS = """
    CREATE TABLE groups AS
    WITH given AS (
        SELECT coalesce(root, sample) AS root, min(named) AS name
        FROM members SEMI JOIN samples USING (sample) LEFT JOIN roots USING (sample)
        WHERE named IS NOT NULL GROUP BY ALL
    )
    SELECT samples.sample, coalesce(name, firsts.base, firsts.key, samples.base, samples.key) AS name
    FROM samples
    LEFT JOIN roots USING (sample)
    LEFT JOIN samples AS firsts ON firsts.sample = root
    LEFT JOIN given ON given.root = coalesce(roots.root, samples.sample)
"""
"""The name of each sample's group."""


def find_groups(alignment: Alignment) -> None:
    """Create the table `groups`."""
    database, duplicates = alignment.database, alignment.params.duplicates
    database.execute(TIES)
    database.execute(TIE_NAMED)
    if has_each(alignment):
        database.execute(TIE_DIVIDED)
    column = choose_column(duplicates, ("drop", "group"))
    if column is not None:
        find_repeated(alignment, column)
        tie_any = TIE_OVERLAPPING if has_spans(alignment) else TIE_ANY
        database.execute(TIE_ALL if duplicates.share_split == "all" else tie_any)
    _find_roots(alignment)
    database.execute(GROUPS)


def _find_roots(alignment: Alignment) -> None:
    """Create the table `roots`, from arrays of the tied samples alone."""
    import pyarrow as pa

    database = alignment.database
    ties = pa.Table.from_batches(database.read("SELECT sample, first FROM ties"))
    ends = np.stack([ties.column("sample").to_numpy(), ties.column("first").to_numpy()])
    nodes, numbers = np.unique(ends, return_inverse=True)
    left, right = numbers.reshape(ends.shape).astype(np.int64)
    roots = nodes[find_components(len(nodes), left, right)]
    database.execute(ROOTS)
    database.append("roots", pa.table({"sample": nodes, "root": roots}))
