"""Select the items that the parts' rules name, and read from each what it says about its sample."""

import re
import unicodedata
from collections.abc import Mapping
from functools import partial

from pipeline.align.alignment import Alignment, map_values
from pipeline.align.part_rules import GROUPS
from pipeline.align.parts import Part
from pipeline.tables.database import Database
from pipeline.tables.drops import Reason

LEAST_PAGES = 2
"""Pages that may show one image on the smallest site."""

TOLERANCE = 0.1  # seconds that a span may end after its recording: people who cut by ear round

JUDGED = """
    CREATE TABLE judged (
        item UBIGINT, part UTINYINT, fault VARCHAR, together VARCHAR, label VARCHAR, named VARCHAR, split VARCHAR,
        "start" DOUBLE, "end" DOUBLE)
"""
"""Each item of a part's modality from a listed source.

    fault     why the part's rule does not select it; null: it does
    together  items with the same value form one sample
    label, named, split  of the sample, according to this item: named is its group
"""

JUDGE = """
    INSERT INTO judged
    SELECT
        item,
        $number,
        CASE
            WHEN part <> $part AND name_of_part(part) <> $part THEN 'part'
            WHEN matched IS NULL THEN 'pattern'
            WHEN isnan("start") OR "start" < 0 OR isnan("end") OR "end" <= coalesce("start", 0) THEN 'span'
            WHEN coalesce("start", 0) >= seconds OR coalesce("end", 0) > seconds + $tolerance THEN 'end'
            WHEN together IS NULL THEN 'together'
            WHEN pages > greatest($least_pages, $max_pages * all_pages) THEN 'pages'
            WHEN pages IS NOT NULL AND least(width, height) < $min_side THEN 'side'
        END,
        together,
        {label},
        coalesce(tidy(matched."group"), tidy("group")),
        {split},
        "start",
        "end"
    FROM (
        SELECT *, nullif({together}, '') AS together, nullif(frames, 0) / nullif(sample_rate, 0) AS seconds
        FROM (SELECT *, {matched} AS matched FROM items)
        WHERE modality = $modality AND ($within IS NULL OR list_contains($within, source)) AND {free}
    )
"""
"""The spans are compared as in Python, where a NaN is not larger than anything."""

NO_PATTERN = "{'key': NULL, 'label': NULL, 'group': NULL, 'split': NULL}"
SELECTED = "SELECT item FROM judged WHERE fault IS NULL OR fault NOT IN ('part', 'pattern')"
"""The items that a part's rule selects: no later part takes them, whatever else is wrong with them."""

FORGET = f"DELETE FROM judged WHERE fault IN ('part', 'pattern') AND item IN ({SELECTED})"

TIDY = r"""
    CREATE MACRO tidy(text) AS
        CASE WHEN text IS NULL OR regexp_full_match(text, '[!-~]([ -~]*[!-~])?') THEN text ELSE normalize(text) END
"""
"""Calls `normalize` only for text that it may change: not for ASCII without outer space."""

TOGETHER = {
    "page": "given",
    "figure": "given",
    "pattern": "tidy(matched.key)",
    "table": "tidy(given)",
    "file": "'//' || source || '/' || tidy(file) || segment_of_part(part)",
}
LABEL = {
    "none": "NULL",
    "path": "tidy(matched.label)",
    "column": "tidy(label)",
    "page": "tidy(page_label)",
}
FIGURE_LABEL = "CASE part WHEN '' THEN NULL ELSE tidy(page_label) END"
"""An image may stand on several pages; each caption has the label of its own."""

SPLIT = {"hash": "NULL", "path": "tidy(matched.split)", "column": "tidy(split)"}

NO_RULE = """
    SELECT
        name_item(source, file, part) AS key, 'not_selected' AS reason, 'its modality has no rule' AS detail,
        modality AS value, array_to_string($modalities, ', ') AS "limit", $setting AS setting
    FROM items WHERE NOT list_contains($modalities, modality)
"""

NOT_WITHIN = """
    SELECT
        name_item(source, file, part) AS key, 'not_selected' AS reason, 'its source is not listed' AS detail,
        source AS value, array_to_string($within, ', ') AS "limit", 'align.within' AS setting
    FROM items
    WHERE list_contains($modalities, modality) AND NOT list_contains($within, source)
"""

FAULTS = """
    CREATE TABLE faults (
        part UTINYINT, first UTINYINT, fault VARCHAR, reason VARCHAR, detail VARCHAR, "limit" VARCHAR, setting VARCHAR)
"""
"""What is said of an item with a fault, by the part whose rule found it; `first` is the first part of its modality."""

LACKING = {
    "figure": "it is no image of a page and no caption of one",
    "page": "it is on no page",
    "pattern": "the pattern's group key is empty",
    "table": "the table gives it no sample",
    "file": "its file has no name",
}

DESCRIBED = """
    CREATE VIEW described AS
    WITH faulty AS MATERIALIZED (SELECT item, part, fault, "start", "end" FROM judged WHERE fault IS NOT NULL)
    SELECT
        item, faulty.part, faulty.fault, reason, detail, setting,
        CASE faulty.fault WHEN 'part' THEN items.part WHEN 'pattern' THEN file WHEN 'together' THEN ''
            WHEN 'pages' THEN pages || ' of ' || all_pages WHEN 'side' THEN least(width, height)::VARCHAR ELSE
            coalesce(show_number(faulty."start"), '') || ' to ' || coalesce(show_number(faulty."end"), '') || ' s'
            END AS value,
        CASE faulty.fault WHEN 'end' THEN show_number(frames / sample_rate) || ' s' ELSE "limit" END AS "limit",
        name_item(source, file, items.part) AS key
    FROM faulty JOIN faults ON faults.part = faulty.part AND faults.fault = faulty.fault JOIN items USING (item)
"""

DROP_FAULTY = """
    SELECT key, reason, detail, value, "limit", setting FROM described
    WHERE NOT list_contains($shared, part) OR fault NOT IN ('part', 'pattern')
"""

DROP_UNCLAIMED = """
    WITH unclaimed AS (
        SELECT item, min(part) AS part, bit_or((fault = 'pattern')::UBIGINT << part) AS patterns
        FROM judged WHERE fault IN ('part', 'pattern') AND list_contains($shared, part) GROUP BY item
    ),
    refusals AS (
        SELECT
            distinct_ones.part, patterns, string_agg("limit", ', ' ORDER BY faults.part) AS "limit",
            string_agg(setting, ', ' ORDER BY faults.part) AS setting
        FROM (SELECT DISTINCT part, patterns FROM unclaimed) AS distinct_ones
        JOIN faults ON first = distinct_ones.part
            AND fault = CASE WHEN patterns >> faults.part & 1 = 1 THEN 'pattern' ELSE 'part' END
        GROUP BY ALL
    )
    SELECT key, reason, detail, value, refusals."limit", refusals.setting
    FROM unclaimed JOIN refusals USING (part, patterns) JOIN described USING (item, part)
"""
"""An item that none of several parts of its modality selects is dropped once, with the settings of all of them."""


def select_items(alignment: Alignment) -> None:
    """Create the table `judged`, and drop the items that no part selects."""
    database, params = alignment.database, alignment.params
    database.execute(JUDGED)
    _add_renaming(database, params.labels)
    database.execute(FAULTS)
    for number, part in enumerate(alignment.parts):
        _judge_items(alignment, number, part)
        for fault in _list_faults(part, alignment):
            database.execute(
                "INSERT INTO faults VALUES ($part, $first, $fault, $reason, $detail, $limit, $setting)",
                fault | {"part": number, "first": alignment.parts.index(_list_rivals(alignment, part)[0])},
            )
    modalities = list(dict.fromkeys(part.modality for part in alignment.parts))
    shared = [number for number, part in enumerate(alignment.parts) if len(_list_rivals(alignment, part)) > 1]
    if shared:
        database.execute(FORGET)
    setting = "align.parts" if params.parts.root else "align.modalities"
    alignment.dropped.add_query(NO_RULE, {"modalities": modalities, "setting": setting})
    if params.within is not None:
        alignment.dropped.add_query(NOT_WITHIN, {"modalities": modalities, "within": list(params.within)})
    database.execute(DESCRIBED)
    alignment.dropped.add_query(DROP_FAULTY, {"shared": shared})
    alignment.dropped.add_query(DROP_UNCLAIMED, {"shared": shared})
    database.execute("DROP VIEW described")


def _add_renaming(database: Database, labels: Mapping[str, str]) -> None:
    """Make the function `rename_label`; labels that are not named stay."""
    import pyarrow as pa

    names = {normalize(old): new for old, new in labels.items()}
    rename = map_values(lambda label: names.get(label, label), pa.string())
    database.add_function("rename_label", rename, ["VARCHAR"], "VARCHAR")


def _list_rivals(alignment: Alignment, part: Part) -> list[Part]:
    """Return the parts of the same modality, itself among them."""
    return [other for other in alignment.parts if other.modality == part.modality]


def _judge_items(alignment: Alignment, number: int, part: Part) -> None:
    params, rule = alignment.params, part.rule
    if rule.pattern is not None:
        _add_match(alignment.database, number, rule.pattern)
    first = _list_rivals(alignment, part)[0] is part
    label = FIGURE_LABEL if (params.by, params.label) == ("figure", "page") else LABEL[params.label]
    if params.labels:
        label = f"rename_label({label})"
    sql = JUDGE.format(
        matched=NO_PATTERN if rule.pattern is None else f"match_{number}(file)",
        free="TRUE" if first else f"item NOT IN ({SELECTED})",
        together=TOGETHER[params.by],
        label=label,
        split=SPLIT[params.split],
    )
    within = None if params.within is None else list(params.within)
    values = {"number": number, "modality": part.modality, "part": rule.part, "within": within}
    bounds = {"tolerance": TOLERANCE, "min_side": params.min_side}
    bounds |= {"least_pages": LEAST_PAGES, "max_pages": params.max_pages}
    alignment.database.execute(sql, values | bounds)


def _list_faults(part: Part, alignment: Alignment) -> list[dict[str, object]]:
    """Return the row of `faults` for each fault that the rule of a part may find."""
    rule, setting, params = part.rule, part.setting, alignment.params
    return [
        _describe("part", Reason.NOT_SELECTED, "it is another part of its file", rule.part, f"{setting}.part"),
        _describe(
            "pattern", Reason.NOT_SELECTED, "the pattern does not match its path", rule.pattern, f"{setting}.pattern"
        ),
        _describe("span", Reason.OUT_OF_BOUNDS, "its time span is empty or begins before 0"),
        _describe("end", Reason.OUT_OF_BOUNDS, "its time span lies beyond the end"),
        _describe("together", Reason.NOT_SELECTED, LACKING[params.by], params.by, "align.by"),
        _describe("pages", Reason.PAGE_FURNITURE, "pages that show it", f"{params.max_pages:g}", "align.max_pages"),
        _describe("side", Reason.PAGE_FURNITURE, "pixels of the shorter side", str(params.min_side), "align.min_side"),
    ]


def _describe(fault: str, reason: Reason, detail: str, limit: str | None = "", setting: str = "") -> dict[str, object]:
    return {"fault": fault, "reason": str(reason), "detail": detail, "limit": limit or "", "setting": setting}


def add_text_functions(database: Database) -> None:
    """Make the functions `normalize`, `tidy` and `show_number`."""
    import pyarrow as pa

    text = pa.string()
    database.add_function("normalize", map_values(normalize, text), ["VARCHAR"], "VARCHAR")
    database.execute(TIDY)
    database.add_function("show_number", map_values("{:g}".format, text), ["DOUBLE"], "VARCHAR")


def _add_match(database: Database, number: int, pattern: str) -> None:
    """Make the function `match_<number>` of a path: the pattern's named groups, null where it does not match."""
    import pyarrow as pa

    result = pa.struct([(name, pa.string()) for name in GROUPS])
    columns = ", ".join(f'"{name}" VARCHAR' for name in GROUPS)
    database.add_function(
        f"match_{number}",
        map_values(partial(match_path, re.compile(pattern)), result),
        ["VARCHAR"],
        f"STRUCT({columns})",
    )


def match_path(pattern: re.Pattern[str], file: str) -> dict[str, str | None] | None:
    """Return the named groups of a pattern that matches the whole path; None where it does not."""
    match = pattern.fullmatch(unicodedata.normalize("NFC", file))  # file systems differ in their form
    return match.groupdict() if match else None


def normalize(text: str | None) -> str | None:
    """Strip outer space and compose Unicode (file systems differ in their form); None where nothing is left."""
    return unicodedata.normalize("NFC", text).strip() or None if text else None
