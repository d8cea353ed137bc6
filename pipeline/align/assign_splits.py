"""Assign samples to splits: by a hash of their group, by quota where there are few groups, or as the data says."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import accumulate

from pipeline.align.alignment import Alignment, map_values
from pipeline.align.params import AlignParams, Shares
from pipeline.align.split_quotas import FEWEST, deal_groups
from pipeline.errors import InputError, PipelineError
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

SMALL = 20  # samples: of so few, one group may well be a fifth

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

PLACED = {
    "hash": "CREATE TABLE placed AS SELECT sample, choose_split(name) AS split FROM groups",
    "given": """
        CREATE TABLE placed AS
        SELECT sample, $names[min(split) OVER (PARTITION BY name) + 1] AS split
        FROM groups JOIN samples USING (sample)
    """,
}
"""The split of each sample's group."""

FEW_GROUPS = f"""
    SELECT name, count(*) FROM groups SEMI JOIN samples USING (sample) GROUP BY name ORDER BY name LIMIT {FEWEST}
"""
"""Groups and their samples; of many groups some."""

DIVIDED = """
    SELECT
        sample, 'ambiguous_split' AS reason,
        'its sample''s group ' || quote(name) || ' is also in ' || placed.split || ', and is kept there' AS detail,
        $names[samples.split + 1] AS value, $source AS "limit", 'align.split' AS setting, '' AS kept_key
    FROM groups JOIN samples USING (sample) JOIN placed USING (sample)
    WHERE value <> placed.split
"""

LARGEST = """
    SELECT name, count(*) AS size FROM groups SEMI JOIN samples USING (sample)
    GROUP BY name ORDER BY size DESC, min(sample) LIMIT 1
"""


def read_splits(alignment: Alignment) -> None:
    """Create the tables `splits` and `unknown`, and drop the samples without a clear split if the data gives it."""
    import pyarrow as pa

    database, source = alignment.database, alignment.params.split
    database.add_function("spell_split", map_values(_spell_split, pa.int8()), ["VARCHAR"], "TINYINT")
    database.execute(SPLITS_TABLE)
    database.execute(SPELLED)
    database.execute(UNKNOWN)
    if source == "hash":
        return
    database.execute(SPLIT_SAMPLES)
    alignment.drop_samples(3, UNCLEAR, {"names": PRIORITY, "source": source})


def check_spellings(alignment: Alignment) -> None:
    """Check that all splits are known.

    Raises:
        InputError: an item names an unknown split; the message names both.
    """
    for name, split in alignment.database.fetch(FIRST_UNKNOWN):
        raise InputError(f"{name}: its split is {split!r}; it must be one of {', '.join(SPELLINGS)}")


def _spell_split(split: str | None) -> int | None:
    name = SPELLINGS.get((split or "").lower())
    return None if name is None else PRIORITY.index(name)


def place_samples(alignment: Alignment) -> None:
    """Create the table `placed`: put every sample into the split that the data names, or else into that of its group:
    by its hash, or by quota if there are fewer than `FEWEST` groups.

    Where the data puts one group into several splits, its samples stay in test, or else in val, and the others of the
    group are dropped: so nothing that is tested on is trained on, and the test set stays what it was.
    """
    import pyarrow as pa

    database, params = alignment.database, alignment.params
    if params.split == "hash":
        choose = make_choice(dict(database.fetch(FEW_GROUPS)), params)
        database.add_function("choose_split", map_values(choose, pa.string()), ["VARCHAR"], "VARCHAR")
        database.execute(PLACED["hash"])
    else:
        database.execute(PLACED["given"], {"names": PRIORITY})
        alignment.drop_samples(6, DIVIDED, {"names": PRIORITY, "source": params.split})


def make_choice(sizes: Mapping[str, int], params: AlignParams) -> Callable[[str], str]:
    """Return the function that gives a group its split.

    Args:
        sizes: samples of each group, or of `FEWEST` groups if there are as many.
        params: of the stage.
    """
    if len(sizes) < FEWEST:
        used = [(split, share) for split, share in params.shares if share > 0]
        return deal_groups(sizes, used, params.salt).__getitem__
    return partial(choose_split, edges=sum_shares(params.shares), salt=params.salt)


def sum_shares(shares: Shares) -> list[tuple[str, float]]:
    """Return the splits that have a share, each with the sum of the shares up to it."""
    used = [(split, share) for split, share in shares if share > 0]
    return list(zip((split for split, _ in used), accumulate(share for _, share in used), strict=True))


def choose_split(group: str, edges: Sequence[tuple[str, float]], salt: str) -> str:
    """Choose the split of a group: compare sha256 of salt and name, as a number in [0, 1), with the summed shares.

    It depends on nothing else, so new groups move no existing ones.
    """
    number = int.from_bytes(hashlib.sha256(f"{salt}\0{group}".encode()).digest()[:8]) / 2**64
    for split, edge in edges:
        if number < edge:
            return split
    return edges[-1][0]


def check_splits(alignment: Alignment, counts: Mapping[str, int]) -> None:
    """Check the splits of more than `SMALL` samples, where the hash assigns them.

    Args:
        alignment: with its samples in splits.
        counts: samples of each split that has any.

    Raises:
        PipelineError: a split has a share and no samples, or a group holds more than `max_group` of the samples; the
            message names it and the settings.
    """
    params, count = alignment.params, sum(counts.values())
    if params.split != "hash" or count <= SMALL:
        return
    ((group, size),) = alignment.database.fetch(LARGEST)
    if empty := " and ".join(split for split, share in params.shares if share > 0 and not counts.get(split)):
        raise PipelineError(
            f"align.shares gives {empty} a share, but there are too few groups: {count} samples, of which the group "
            f"{group!r} holds {size}, and a group is never divided. Set the share of {empty} to 0 in params.yaml, or "
            "change what makes a group (`group` in patterns or table, align.duplicates.share_split)"
        )
    if size > params.max_group * count:
        raise PipelineError(
            f"align.max_group is {params.max_group:g}, but the group {group!r} holds {size} of {count} samples "
            f"({size / count:.0%}): they share duplicates, or a group that the data names. Look at them, then "
            "set align.duplicates.share_split to all, or raise align.max_group in params.yaml"
        )
