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
    SELECT members.sample, members.part, position, item, {column} AS cluster, exact_cluster AS exact
    FROM members JOIN items USING (item)
    WHERE {shared}
"""
"""The members that may repeat another."""

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
        list(exact * 64 + part ORDER BY part, position) AS exact
    FROM tied SEMI JOIN samples USING (sample) JOIN sizes USING (sample)
    WHERE list_contains($required, part)
    GROUP BY sample, size
    HAVING count(*) = size
"""
"""The samples of which all items of required parts may repeat another, with the clusters and parts of these items."""

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
        alignment.drop_samples(4, REPEATED)


def find_repeated(alignment: Alignment, column: str) -> None:
    """Create the tables `tied` and `whole` by the clusters of a column."""
    required = [number for number, part in enumerate(alignment.parts) if part.rule.required]
    shared = SHARED[has_each(alignment)].format(column=column)
    alignment.database.execute(TIED.format(column=column, shared=shared))
    alignment.database.execute(WHOLE, {"required": required})


def choose_column(duplicates: Duplicates, policies: Sequence[str]) -> str | None:
    """Return the near clusters if their policy is among `policies`, else the exact ones, else None."""
    if duplicates.near in policies:
        return "near_cluster"
    return "exact_cluster" if duplicates.exact in policies else None
