"""Plan all samples, from cleaned items to samples in splits: one step after another, each with its drops.

First items are selected, one by one; then samples are formed, each from its own items; then samples are compared with
each other. What the first two need of the data can be a part of it, see `pipeline.align.bucket_tasks`.
"""

from collections.abc import Sequence

from pipeline.align.alignment import REJECTED, Alignment, map_values
from pipeline.align.assign_splits import place_samples
from pipeline.align.divide_samples import divide_samples
from pipeline.align.drop_contradictions import drop_contradictions
from pipeline.align.drop_duplicates import drop_duplicates
from pipeline.align.find_groups import find_groups
from pipeline.align.gather_samples import gather_samples
from pipeline.align.given_splits import check_spellings, read_splits
from pipeline.align.label_samples import drop_rare, label_samples
from pipeline.align.name_samples import add_key_functions, name_samples, number_samples
from pipeline.align.params import AlignParams
from pipeline.align.parts import Part
from pipeline.align.read_items import NAME_ITEM, SPLIT_PART
from pipeline.align.select_items import add_text_functions
from pipeline.tables.database import Database
from pipeline.tables.dropped_rows import DroppedRows

PLANNED = """
    CREATE TABLE planned AS
    SELECT
        row_number() OVER (ORDER BY placed.split, sha256(key))::UBIGINT - 1 AS number,
        sample, key, placed.split, label, name AS "group"
    FROM samples JOIN placed USING (sample) JOIN groups USING (sample)
"""


def open_alignment(database: Database, params: AlignParams, parts: Sequence[Part]) -> Alignment:
    """Return what the steps share, in a database that gets the functions which they call."""
    import pyarrow as pa

    database.add_function("quote", map_values(repr, pa.string()), ["VARCHAR"], "VARCHAR")
    add_text_functions(database)
    add_key_functions(database)
    database.execute(NAME_ITEM)
    database.execute(SPLIT_PART)
    database.execute(REJECTED)
    return Alignment(database, DroppedRows(database, "align", "item"), params, parts)


def form_samples(alignment: Alignment) -> None:
    """Create `named`, `samples`, `members`, `labels`, `splits` and `unknown` from the selected items in `judged`, whose
    names are in `items`.

    No step looks at samples of other items, except where their keys are made from the same path.
    """
    gather_samples(alignment)
    divide_samples(alignment)
    name_samples(alignment)
    label_samples(alignment)
    read_splits(alignment)


def compare_samples(alignment: Alignment) -> None:
    """Create the table `planned`, a row per sample, from what `form_samples` made; `items` has the clusters.

    Labels and given splits are decided before duplicates, so that a sample that is dropped never replaces a good one;
    rare labels come last, when it is known how many samples each label has.

    Raises:
        InputError: two samples have the same key, or a split is not known.
    """
    number_samples(alignment)
    check_spellings(alignment)
    drop_contradictions(alignment)
    drop_duplicates(alignment)
    find_groups(alignment)
    place_samples(alignment)
    drop_rare(alignment)
    alignment.database.execute(PLANNED)
