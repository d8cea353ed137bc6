"""Label the samples: with the label that the items of each agree on."""

from pipeline.align.alignment import Alignment

LABELS = """
    CREATE TABLE labels AS
    SELECT sample, min(label) AS label, max(label) AS last
    FROM members SEMI JOIN samples USING (sample) WHERE label IS NOT NULL GROUP BY sample
"""
"""The smallest and the largest label of each sample that has one: the same, unless its items have several."""

UNCLEAR = """
    WITH several AS (
        SELECT sample, string_agg(DISTINCT members.label, ', ' ORDER BY members.label) AS value
        FROM members JOIN labels USING (sample) WHERE labels.label < last GROUP BY sample
    )
    SELECT
        sample,
        CASE WHEN label IS NULL THEN 'missing_label' WHEN label < last THEN 'ambiguous_label'
            ELSE 'unknown_label' END AS reason,
        CASE reason WHEN 'missing_label' THEN 'none of its sample''s items has a label'
            WHEN 'ambiguous_label' THEN 'its sample''s items have several labels'
            ELSE 'its sample''s label is not among the classes' END AS detail,
        CASE reason WHEN 'missing_label' THEN '' WHEN 'ambiguous_label' THEN several.value ELSE label END AS value,
        CASE reason WHEN 'unknown_label' THEN $classes ELSE $source END AS "limit",
        CASE reason WHEN 'unknown_label' THEN 'align.classes' ELSE 'align.label' END AS setting,
        '' AS kept_key
    FROM samples LEFT JOIN labels USING (sample) LEFT JOIN several USING (sample)
    WHERE label IS NULL OR label < last OR NOT list_contains($known, label)
"""

RARE = """
    SELECT
        sample, 'rare_label' AS reason, 'samples with its label ' || quote(label) AS detail,
        count(*) OVER (PARTITION BY label) AS value, $least AS "limit", 'align.min_samples' AS setting, '' AS kept_key
    FROM samples WHERE label IS NOT NULL
    QUALIFY value < $least
"""


def label_samples(alignment: Alignment) -> None:
    """Create the table `labels`, and drop the samples without a clear one."""
    params = alignment.params
    alignment.database.execute(LABELS)
    if params.label != "none":
        known = None if params.classes is None else list(params.classes)
        values = {"known": known, "classes": ", ".join(known or []), "source": params.label}
        alignment.drop_samples(2, UNCLEAR, values)


def drop_rare(alignment: Alignment) -> None:
    """Drop the samples whose label too few samples have; after all others, so that it is known how many have it."""
    alignment.drop_samples(7, RARE, {"least": alignment.params.min_samples})
