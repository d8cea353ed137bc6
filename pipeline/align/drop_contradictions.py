"""Drop samples that have the same bytes and different labels: none of them has a clear one."""

from pipeline.align.alignment import Alignment
from pipeline.align.drop_duplicates import find_repeated

CONTRADICTORY = """
    WITH labelled AS (
        SELECT
            whole.sample, exact, first, label,
            first_value(whole.sample) OVER alike AS one, first_value(label) OVER alike AS label_of_one
        FROM whole JOIN samples USING (sample) WHERE label IS NOT NULL
        WINDOW alike AS (PARTITION BY exact ORDER BY whole.sample)
    ),
    others AS (SELECT exact, min(sample) AS two FROM labelled WHERE label <> label_of_one GROUP BY exact)
    SELECT
        labelled.sample, 'ambiguous_label' AS reason,
        'the same bytes have the label ' || quote(other.label) || ' in ' AS detail,
        labelled.label AS value, 'drop' AS "limit", 'align.ambiguous_labels' AS setting, '' AS kept_key,
        other.first AS other
    FROM labelled JOIN others USING (exact)
    JOIN labelled AS other
        ON other.sample = CASE WHEN labelled.label = labelled.label_of_one THEN two ELSE labelled.one END
"""
"""Each names the first item of the first sample with another label."""


def drop_contradictions(alignment: Alignment) -> None:
    """Drop the samples whose required parts have the same bytes as those of a sample with another label."""
    params = alignment.params
    if params.label != "none" and params.ambiguous_labels == "drop":
        find_repeated(alignment, "exact_cluster")
        alignment.drop_samples(4, CONTRADICTORY)
