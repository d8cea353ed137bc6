"""Drop duplicates, a sample at a time: two different things may share a caption or a recording.

`clean` has marked the duplicates of each modality: `exact_cluster` (the same bytes) lies within `near_cluster` (looks,
sounds or reads the same). A sample repeats another if that holds for all its required parts.
"""

from collections.abc import Sequence

from pipeline.align.alignment import Alignment
from pipeline.align.divide_samples import has_each
from pipeline.align.params import Duplicates

TIED = """
    CREATE OR REPLACE TABLE tied AS
    SELECT
        members.sample, members.part, position, item,
        {column} AS whole, exact_cluster AS whole_exact, {column} AS cluster, exact_cluster AS exact,
        CASE WHEN list_contains($timed, members.part) THEN coalesce(members."start", 0) ELSE 0 END AS "start",
        CASE WHEN list_contains($timed, members.part) THEN members."end" END AS "end"
    FROM members JOIN items USING (item)
    WHERE {shared}
"""
"""The members that may repeat another. A span has meaning in recordings alone; a caption has that of its recording."""

TIMED = ("audio", "video")

TELL_SPANS = """
    CREATE OR REPLACE TABLE tied AS
    SELECT * REPLACE (
        min(item) OVER (PARTITION BY whole, "start", "end") AS cluster,
        min(item) OVER (PARTITION BY whole_exact, "start", "end") AS exact
    )
    FROM tied
"""
"""Two spans of a recording are no duplicates: only items with equal spans are in one cluster."""

SHARED = {
    False: "{column} IN (SELECT {column} FROM items WHERE {column} <> item)",
    True: "TRUE",
}
"""A cluster is named after one of its items, so it has others only if an item has another name. Divided samples share
items, too."""

WHOLE = """
    CREATE OR REPLACE TABLE whole AS
    WITH sizes AS (
        SELECT sample, count(*) AS size FROM members
        WHERE list_contains($required, part) AND sample IN (SELECT sample FROM tied) GROUP BY sample
    )
    SELECT
        sample,
        list(cluster * 64 + part ORDER BY part, position) AS clusters,
        list(exact * 64 + part ORDER BY part, position) AS exact,
        first(item ORDER BY part, position) AS first
    FROM tied SEMI JOIN samples USING (sample) JOIN sizes USING (sample)
    WHERE list_contains($required, part)
    GROUP BY sample, size
    HAVING count(*) = size
"""
"""The samples of which all items of required parts may repeat another, with the clusters and parts of these items, and
the first of them."""

REPEATED = """
    SELECT
        repeated.sample,
        CASE WHEN same THEN 'duplicate' ELSE 'near_duplicate' END AS reason,
        CASE WHEN same THEN 'its sample has the same bytes as another'
            ELSE 'its sample looks, sounds or reads like another' END AS detail,
        '' AS value,
        'drop' AS "limit",
        CASE WHEN same THEN 'align.duplicates.exact' ELSE 'align.duplicates.near' END AS setting,
        key AS kept_key
    FROM (
        SELECT whole.sample, first_value(whole.sample) OVER best AS kept, exact = first_value(exact) OVER best AS same
        FROM whole JOIN samples USING (sample)
        WINDOW best AS (PARTITION BY clusters ORDER BY split, whole.sample)
        QUALIFY kept <> whole.sample
    ) AS repeated JOIN samples ON samples.sample = kept
"""
"""The samples that repeat another, which is kept: that of the smallest key. Where the data gives the splits, test comes
before val, and val before train: so the test set stays what it was."""


def drop_duplicates(alignment: Alignment) -> None:
    """Drop the samples that repeat another under the policy `drop`."""
    column = choose_column(alignment.params.duplicates, ("drop",))
    if column is not None:
        find_repeated(alignment, column)
        alignment.drop_samples(5, REPEATED)


def find_repeated(alignment: Alignment, column: str) -> None:
    """Create the tables `tied` and `whole` by the clusters of a column."""
    required = [number for number, part in enumerate(alignment.parts) if part.rule.required]
    timed = [number for number, part in enumerate(alignment.parts) if part.modality in TIMED]
    shared = SHARED[has_each(alignment)].format(column=column)
    alignment.database.execute(TIED.format(column=column, shared=shared), {"timed": timed})
    if has_spans(alignment):
        alignment.database.execute(TELL_SPANS)
    alignment.database.execute(WHOLE, {"required": required})


def has_spans(alignment: Alignment) -> bool:
    """Return whether any of the tied members is a span of its item."""
    return bool(alignment.database.fetch('SELECT 1 FROM tied WHERE "start" > 0 OR "end" IS NOT NULL LIMIT 1'))


def choose_column(duplicates: Duplicates, policies: Sequence[str]) -> str | None:
    """Return the near clusters if their policy is among `policies`, else the exact ones, else None."""
    if duplicates.near in policies:
        return "near_cluster"
    return "exact_cluster" if duplicates.exact in policies else None
