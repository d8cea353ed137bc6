"""Gather the items that belong together into samples, and drop surplus items and samples that lack a part."""

from pipeline.align.alignment import Alignment

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
    SELECT sample, bit_or(1::UBIGINT << part) AS parts, count(*) AS items FROM members GROUP BY sample
"""
"""`parts` has a bit for each part that the sample has."""

SURPLUS = """
    CREATE TABLE surplus AS
    SELECT item, first_value(item) OVER ranked AS used
    FROM members JOIN items USING (item)
    WHERE members.sample IN (SELECT sample FROM samples WHERE items > bit_count(parts))
    WINDOW ranked AS (PARTITION BY members.sample, members.part ORDER BY source, file, items.part, item)
    QUALIFY used <> item
"""
"""Of several items of a part the first by source, file, part and id is used."""

DROP_SURPLUS = """
    SELECT
        name_item(items.source, items.file, items.part) AS key, 'extra_item' AS reason, '1' AS "limit",
        name_item(firsts.source, firsts.file, firsts.part) AS kept_key,
        'its sample already has ' || firsts.modality || ': ' || kept_key AS detail
    FROM surplus JOIN items USING (item) JOIN items AS firsts ON firsts.item = used
"""

DROP_PARTIAL = """
    SELECT sample, 'missing_partner' AS reason, detail, '' AS value, 'true' AS "limit", setting, '' AS kept_key
    FROM samples JOIN lacking ON missing = $required & ~parts
"""


def gather_samples(alignment: Alignment) -> None:
    """Create `members` and `samples`; both number a sample by the first item that was selected for it."""
    database = alignment.database
    database.execute(GATHERED)
    database.execute(MEMBERS)
    database.execute(SAMPLES)
    database.execute(SURPLUS)
    alignment.dropped.add_query(DROP_SURPLUS)
    database.execute("DELETE FROM members WHERE item IN (SELECT item FROM surplus)")
    _drop_partial(alignment)


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
