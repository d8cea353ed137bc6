"""Read the splits, or the folds, that the data gives."""

from collections.abc import Sequence

from pipeline.align.alignment import Alignment, map_values
from pipeline.align.params import BY_SPLIT
from pipeline.errors import InputError
from pipeline.tables.contracts import SPLITS

SPELLINGS = {
    **{name: name for name in SPLITS},
    "training": "train",
    **dict.fromkeys(("validation", "valid", "dev", "development"), "val"),
    "testing": "test",
}
"""The names that data uses for the splits."""

PRIORITY = ["test", "val", "train"]
"""The splits; where the data gives several, the first of these is taken."""

MOST_FOLDS = 128
FOLD_NAMES = [f"fold {number}" for number in range(MOST_FOLDS)]
"""What folds that the data gives by number are called."""

SPELLED = """
    CREATE TABLE spelled AS
    SELECT sample, part, item, split AS given, spell_split(split) AS split
    FROM members SEMI JOIN samples USING (sample) WHERE split IS NOT NULL
"""
"""The split that each item names; null: one that is not known."""

UNKNOWN = """
    CREATE TABLE unknown AS
    SELECT
        coalesce(base, key) AS base, key, spelled.part, item,
        name_item(source, file, items.part) AS name, spelled.given
    FROM spelled JOIN items USING (item) JOIN named USING (sample)
    WHERE spelled.split IS NULL ORDER BY ALL LIMIT 1
"""
"""The first item, in the order of the samples' keys, whose split is not known."""

FIRST_UNKNOWN = "SELECT name, given FROM unknown ORDER BY base, key, part, item LIMIT 1"

SPLITS_TABLE = "CREATE TABLE splits (sample UBIGINT, split TINYINT, last TINYINT)"
SPLIT_SAMPLES = "INSERT INTO splits SELECT sample, min(split), max(split) FROM spelled GROUP BY sample"
"""The splits that the data gives a sample, by their place in `PRIORITY`: the same, unless its items name several."""

UNCLEAR = """
    WITH several AS (
        SELECT sample, string_agg(DISTINCT given, ', ' ORDER BY given) AS value
        FROM (SELECT sample, $names[spelled.split + 1] AS given
            FROM spelled JOIN splits USING (sample) WHERE splits.split < last)
        GROUP BY sample
    )
    SELECT
        sample,
        CASE WHEN split IS NULL THEN 'missing_split' ELSE 'ambiguous_split' END AS reason,
        CASE WHEN split IS NULL THEN 'none of its sample''s items names a split'
            ELSE 'its sample''s items name several splits' END AS detail,
        coalesce(value, '') AS value, $source AS "limit", 'align.split' AS setting, '' AS kept_key
    FROM samples LEFT JOIN splits USING (sample) LEFT JOIN several USING (sample)
    WHERE split IS NULL OR split < last
"""

PLACED = """
    CREATE TABLE placed AS
    SELECT sample, $names[min(split) OVER (PARTITION BY name) + 1] AS split
    FROM groups JOIN samples USING (sample)
"""
"""The split of each sample's group."""

DIVIDED = """
    SELECT
        sample, 'ambiguous_split' AS reason,
        'its sample''s group ' || quote(name) || ' is also in ' || placed.split || ', and is kept there' AS detail,
        $names[samples.split + 1] AS value, $source AS "limit", 'align.split' AS setting, '' AS kept_key
    FROM groups JOIN samples USING (sample) JOIN placed USING (sample)
    WHERE value <> placed.split
"""


def read_splits(alignment: Alignment) -> None:
    """Create the tables `splits` and `unknown`, and drop the samples without a clear split if the data gives it."""
    import pyarrow as pa

    database, params = alignment.database, alignment.params
    spell = _spell_fold if params.folds == BY_SPLIT else _spell_split
    database.add_function("spell_split", map_values(spell, pa.int8()), ["VARCHAR"], "TINYINT")
    database.execute(SPLITS_TABLE)
    database.execute(SPELLED)
    database.execute(UNKNOWN)
    if params.split == "hash":
        return
    database.execute(SPLIT_SAMPLES)
    alignment.drop_samples(3, UNCLEAR, {"names": list_names(alignment), "source": params.split})


def list_names(alignment: Alignment) -> Sequence[str]:
    """Return the names of what the data gives, by the numbers in the table `splits`."""
    return FOLD_NAMES if alignment.params.folds == BY_SPLIT else PRIORITY


def check_spellings(alignment: Alignment) -> None:
    """Check that all splits are known.

    Raises:
        InputError: an item names an unknown split; the message names both.
    """
    for name, split in alignment.database.fetch(FIRST_UNKNOWN):
        if alignment.params.folds == BY_SPLIT:
            raise InputError(f"{name}: its fold is {split!r}; it must be a whole number from 0 to {MOST_FOLDS - 1}")
        raise InputError(f"{name}: its split is {split!r}; it must be one of {', '.join(SPELLINGS)}")


def _spell_split(split: str | None) -> int | None:
    name = SPELLINGS.get((split or "").lower())
    return None if name is None else PRIORITY.index(name)


def _spell_fold(fold: str | None) -> int | None:
    number = int(fold) if fold and fold.isdecimal() else MOST_FOLDS
    return number if number < MOST_FOLDS else None


def place_given(alignment: Alignment) -> None:
    """Create the table `placed` with the split, or the fold, that the data gives each sample.

    Where it puts one group into several splits, its samples stay in test, or else in val, and the others of the group
    are dropped: so nothing that is tested on is trained on, and the test set stays what it was. Of folds a group stays
    in the first.
    """
    names = list_names(alignment)
    alignment.database.execute(PLACED, {"names": names})
    alignment.drop_samples(6, DIVIDED, {"names": names, "source": alignment.params.split})
