"""Plan all samples, from cleaned items to samples in splits: one step after another, each with its drops."""

from pipeline.align.alignment import REJECTED, Alignment, map_values
from pipeline.align.assign_splits import place_samples, read_splits
from pipeline.align.divide_samples import divide_samples
from pipeline.align.drop_duplicates import drop_duplicates
from pipeline.align.find_groups import find_groups
from pipeline.align.gather_samples import gather_samples
from pipeline.align.label_samples import drop_rare, label_samples
from pipeline.align.name_samples import name_samples
from pipeline.align.select_items import select_items

PLANNED = """
    CREATE TABLE planned AS
    SELECT
        row_number() OVER (ORDER BY split, sha256(key))::UBIGINT - 1 AS number,
        sample, key, split, label, name AS "group"
    FROM samples JOIN placed USING (sample) JOIN groups USING (sample) LEFT JOIN labels USING (sample)
"""


def plan_samples(alignment: Alignment) -> None:
    """Put each item into a sample, or drop it: create the table `planned`, a row per sample.

    Labels and given splits are decided before duplicates, so that a sample that is dropped never replaces a good one;
    rare labels come last, when it is known how many samples each label has.
    """
    import pyarrow as pa

    database = alignment.database
    database.add_function("quote", map_values(repr, pa.string()), ["VARCHAR"], "VARCHAR")
    database.execute(REJECTED)
    select_items(alignment)
    gather_samples(alignment)
    divide_samples(alignment)
    name_samples(alignment)
    label_samples(alignment)
    read_splits(alignment)
    drop_duplicates(alignment)
    find_groups(alignment)
    place_samples(alignment)
    drop_rare(alignment)
    database.execute(PLANNED)
    alignment.drop_items()
