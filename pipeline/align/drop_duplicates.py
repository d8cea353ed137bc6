"""Drop duplicates, a sample at a time: two different things may share a caption or a recording.

`clean` has marked the duplicates of each modality: `exact_cluster` (the same bytes) lies within `near_cluster` (looks,
sounds or reads the same). A sample repeats another if that holds for all its required parts.
"""

from collections.abc import Sequence

from pipeline.align.alignment import Alignment
from pipeline.align.params import Duplicates

TIED = """
    CREATE OR REPLACE TABLE tied AS
    SELECT members.sample, members.part, position, item, {column} AS cluster, exact_cluster AS exact
    FROM members JOIN items USING (item)
    WHERE {column} IN (SELECT {column} FROM items WHERE {column} <> item)
"""
"""The members that may repeat another: a cluster is named after one of its items, so it has others only if an item has
another name."""

WHOLE = """
    CREATE OR REPLACE TABLE whole AS
    SELECT sample, list(cluster ORDER BY part, position) AS clusters, list(exact ORDER BY part, position) AS exact
    FROM tied SEMI JOIN samples USING (sample)
    WHERE list_contains($required, part)
    GROUP BY sample
    HAVING count(*) = $count
"""
"""The samples of which every required part may repeat another, with the clusters of these parts."""

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
        FROM whole LEFT JOIN splits USING (sample)
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
    alignment.database.execute(TIED.format(column=column))
    alignment.database.execute(WHOLE, {"required": required, "count": len(required)})


def choose_column(duplicates: Duplicates, policies: Sequence[str]) -> str | None:
    """Return the near clusters if their policy is among `policies`, else the exact ones, else None."""
    if duplicates.near in policies:
        return "near_cluster"
    return "exact_cluster" if duplicates.exact in policies else None
