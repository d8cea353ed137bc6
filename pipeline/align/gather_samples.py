"""Gather the items that belong together into samples, and drop surplus items and samples that lack a part."""

from pipeline.align.alignment import Alignment
from pipeline.align.part_rules import PartRule
from pipeline.align.parts import Part

GATHERED = """
    CREATE TABLE gathered AS
    SELECT together, min(item) AS sample FROM judged WHERE fault IS NULL GROUP BY together
"""
"""What items are aligned by, as a number: that of the first of them. Names are sorted and compared once, here."""

MEMBERS = """
    CREATE TABLE members AS
    SELECT sample, part, 0 AS position, item, label, named, split, "start", "end"
    FROM judged JOIN gathered USING (together) WHERE fault IS NULL
"""

SAMPLES = """
    CREATE TABLE samples AS
    SELECT sample, sample AS origin, bit_or(1::UBIGINT << part) AS parts, count(*) AS items
    FROM members GROUP BY sample
"""
"""`parts` has a bit for each part that the sample has; `origin` is the sample that it was made from."""

RANKED = """
    CREATE TABLE ranked AS
    SELECT item, members.part, row_number() OVER place - 1 AS position, first_value(item) OVER place AS first
    FROM members JOIN items USING (item)
    WHERE members.sample IN (SELECT sample FROM samples WHERE items > bit_count(parts))
    WINDOW place AS (
        PARTITION BY members.sample, members.part
        ORDER BY source, file, name_of_part(items.part), number_of_part(items.part), members."start" NULLS FIRST,
            items.part, item
    )
"""
"""The place of each item among those of its part, where a sample has several of one: by source, file, part and id. Of
parts with one name the numbers count, then the spans: the captions of a file are in the order of their rows."""

DROP_AMBIGUOUS = """
    SELECT
        sample, 'ambiguous_item' AS reason, 'several items of its sample may be its ' || $name AS detail,
        count(*)::VARCHAR AS value, 'one' AS "limit", $setting AS setting, '' AS kept_key
    FROM members WHERE part = $part AND sample IN (SELECT sample FROM samples) GROUP BY sample HAVING count(*) > 1
"""

DROP_SURPLUS = """
    SELECT
        name_item(items.source, items.file, items.part) AS key, 'extra_item' AS reason,
        name_item(firsts.source, firsts.file, firsts.part) AS kept_key,
        'its sample already has ' || CASE most WHEN 1 THEN '' ELSE most || ' of ' END || $name || ': ' || kept_key
            AS detail,
        most::VARCHAR AS "limit", $setting AS setting
    FROM (SELECT *, $most AS most FROM ranked WHERE part = $part AND position >= $most) AS surplus
    JOIN items USING (item) JOIN items AS firsts ON firsts.item = first
"""

DELETE_SURPLUS = """
    DELETE FROM members WHERE item IN (SELECT item FROM ranked WHERE part = $part AND position >= $most)
"""

PLACE = "UPDATE members SET position = ranked.position FROM ranked WHERE ranked.item = members.item"

DROP_PARTIAL = """
    SELECT sample, 'missing_partner' AS reason, detail, '' AS value, 'true' AS "limit", setting, '' AS kept_key
    FROM samples JOIN lacking ON missing = $required & ~parts
"""


def gather_samples(alignment: Alignment) -> None:
    """Create `members` and `samples`; both number a sample by the first item that was selected for it."""
    database = alignment.database
    database.execute(GATHERED)
    database.execute(MEMBERS)
    database.execute("DROP TABLE judged")
    database.execute(SAMPLES)
    database.execute(RANKED)
    for number, part in enumerate(alignment.parts):
        if part.many == "one":
            _drop_ambiguous(alignment, number, part)
        elif part.most is not None:
            _drop_surplus(alignment, number, part, part.most)
    if any(part.many not in ("one", "first") for part in alignment.parts):
        database.execute(PLACE)
    _drop_partial(alignment)


def _drop_ambiguous(alignment: Alignment, number: int, part: Part) -> None:
    """Drop the samples of which nobody can say which item is the part."""
    setting = f"{part.setting}.many" if isinstance(part.rule, PartRule) else "align.parts"
    alignment.drop_samples(0, DROP_AMBIGUOUS, {"part": number, "name": part.name, "setting": setting})


def _drop_surplus(alignment: Alignment, number: int, part: Part, most: int) -> None:
    """Drop the items of a part beyond the number that it may use."""
    setting = "" if part.many == "first" else f"{part.setting}.most"
    alignment.dropped.add_query(DROP_SURPLUS, {"part": number, "most": most, "name": part.name, "setting": setting})
    alignment.database.execute(DELETE_SURPLUS, {"part": number, "most": most})


def _drop_partial(alignment: Alignment) -> None:
    """Drop the samples that lack a required part."""
    database = alignment.database
    required = sum(1 << number for number, part in enumerate(alignment.parts) if part.rule.required)
    masks = database.fetch("SELECT DISTINCT $required & ~parts FROM samples", {"required": required})
    database.execute("CREATE TABLE lacking (missing UBIGINT, detail VARCHAR, setting VARCHAR)")
    for (mask,) in masks:
        missing = [part for number, part in enumerate(alignment.parts) if mask >> number & 1]
        if missing:
            detail = f"its sample has no {' and no '.join(part.name for part in missing)}"
            settings = ", ".join(f"{part.setting}.required" for part in missing)
            values = {"mask": mask, "detail": detail, "setting": settings}
            database.execute("INSERT INTO lacking VALUES ($mask, $detail, $setting)", values)
    alignment.drop_samples(1, DROP_PARTIAL, {"required": required})
