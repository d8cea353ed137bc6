"""Look for what the split that is measured shares with the others: groups, and items with the same content."""

from pathlib import Path

from pipeline.config.params import RunParams
from pipeline.evaluate.supplement import Supplement
from pipeline.tables.contracts import (
    ALIGNED_PARTS,
    ALIGNED_SAMPLES,
    CLEANED,
    CLEANED_ITEMS,
    PARTS,
    SAMPLES,
)
from pipeline.tables.database import Database, open_database

MEMBERS = """
    CREATE TABLE members AS
    SELECT sample, split, part, exact_cluster, near_cluster,
        coalesce("start", -1) AS begins, coalesce("end", -1) AS ends
    FROM parts JOIN samples USING (sample) JOIN cleaned USING (item)
"""

SHARED_GROUPS = """
    SELECT count(*) FROM samples WHERE split = $split
    AND "group" IN (SELECT "group" FROM samples WHERE split <> $split)
"""

SHARED_CONTENT = """
    SELECT part, count(DISTINCT sample) FROM members
    SEMI JOIN (SELECT {cluster}, begins, ends FROM members WHERE split <> $split) USING ({cluster}, begins, ends)
    WHERE split = $split GROUP BY part ORDER BY part
"""
"""Samples of the split with an item of a part that equals one of another split; of spans, those with the same edges."""

KINDS = {"exact": "the same bytes", "near": "nearly the same content"}


def find_leaks(data: Path, split: str, work: Path, run: RunParams) -> Supplement:
    """Return the block `leaks`: the samples of the split whose `group` is in another split, and by part those with an
    item whose content is there too, `exact` or `near`, as far as clean compared it. Nothing but the reason where the
    tables are missing.

    Raises:
        InputError: a table is damaged.
    """
    if not all((data / table).is_dir() for table in (ALIGNED_SAMPLES, ALIGNED_PARTS, CLEANED_ITEMS)):
        reason = f"{ALIGNED_SAMPLES}, {ALIGNED_PARTS} and {CLEANED_ITEMS} are not there to compare the splits"
        return Supplement(undefined={"leaks": reason})
    with open_database(work, run) as database:
        database.load("samples", data / ALIGNED_SAMPLES, SAMPLES, ["split", "group"], number="sample")
        database.load("parts", data / ALIGNED_PARTS, PARTS, ["sample", "part", "item", "start", "end"])
        clusters = ["item", "exact_cluster", "near_cluster"]
        database.load("cleaned", data / CLEANED_ITEMS, CLEANED, clusters)
        database.execute(MEMBERS)
        groups = int(database.fetch(SHARED_GROUPS, {"split": split})[0][0])
        shared = {kind: _count_shared(database, kind, split) for kind in KINDS}
    warnings = describe_leaks(groups, shared, split)
    summary = {"leaked_groups": groups, **{f"leaked_{kind}": max(shared[kind].values(), default=0) for kind in KINDS}}
    return Supplement({"leaks": {"groups": groups, **shared}}, summary=summary, warnings=warnings, notes=warnings)


def _count_shared(database: Database, kind: str, split: str) -> dict[str, int]:
    rows = database.fetch(SHARED_CONTENT.format(cluster=f"{kind}_cluster"), {"split": split})
    return {part: int(count) for part, count in rows}


def describe_leaks(groups: int, shared: dict[str, dict[str, int]], split: str) -> list[str]:
    """Return a line for each kind of leak."""
    lines = []
    if groups:
        lines.append(f"leak: {groups:,} samples of {split} are of a group that is in another split too")
    for kind, counts in shared.items():
        if counts:
            listed = ", ".join(f"{part} {count:,}" for part, count in counts.items())
            lines.append(f"leak: samples of {split} have {KINDS[kind]} as samples of other splits: {listed}")
    return lines
