"""Sum up what clean drops: by rule, with examples, and by source."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.config.params import RunParams
from pipeline.tables.contracts import CLEANED, DROPPED, INGESTED_ITEMS, ITEMS
from pipeline.tables.database import open_database


@dataclass(frozen=True, slots=True)
class RuleDrops:
    """What one rule drops.

    Attributes:
        rule: the setting that decides, or else the reason.
        detail: what was wrong.
        limit: that of the setting; empty where there is none.
        examples: the first items by name, each with its value where it has one.
    """

    rule: str
    detail: str
    limit: str
    dropped: int
    examples: Sequence[str]


@dataclass(frozen=True, slots=True)
class SourceShare:
    """How many items of a modality a source has, and how many are kept."""

    source: str
    modality: str
    items: int
    kept: int


@dataclass(frozen=True, slots=True)
class Drops:
    """All that clean drops, by rule and by source."""

    rules: Sequence[RuleDrops]
    sources: Sequence[SourceShare]


def read_drops(cleaned: Path, data: Path, run: RunParams, work: Path, examples: int) -> Drops:
    """Return what the tables in `cleaned` say.

    Args:
        cleaned: the stage's output folder.
        data: the folder of the stages before it.
        run: how much memory may be used.
        work: for what needs more.
        examples: how many of each rule.
    """
    with open_database(work, run) as database:
        database.load("dropped", cleaned / "dropped", DROPPED)
        database.load("kept", cleaned / "items", CLEANED, ["item"])
        database.load("items", data / INGESTED_ITEMS, ITEMS, ["source", "modality"], number="item")
        rules = database.fetch(
            """
            SELECT coalesce(nullif(setting, ''), reason) AS rule, detail, "limit", sum(count) AS dropped,
                list(CASE value WHEN '' THEN key ELSE key || ' (' || value || ')' END ORDER BY key)[:$examples]
            FROM dropped GROUP BY ALL ORDER BY dropped DESC, rule, detail, "limit"
            """,
            {"examples": examples},
        )
        sources = database.fetch(
            """
            SELECT source, modality, count(*), count(kept.item)
            FROM items LEFT JOIN kept USING (item) GROUP BY ALL ORDER BY ALL
            """
        )
    return Drops([RuleDrops(*row) for row in rules], [SourceShare(*row) for row in sources])


def write_report(items: int, drops: Drops) -> Iterator[str]:
    """Yield the lines of the report."""
    dropped = sum(rule.dropped for rule in drops.rules)
    share = f" ({dropped / items:.1%})" if items else ""
    yield f"clean would drop {dropped:,} of {items:,} items{share}; nothing is written"
    for rule in drops.rules:
        limit = f" {rule.limit}" if rule.limit else ""
        yield f"{rule.dropped:>9,}  {rule.rule}{limit}: {rule.detail}"
        for example in rule.examples:
            yield f"             {example}"
    yield "kept, by source"
    for source in drops.sources:
        counts = f"{source.kept:,} of {source.items:,} {source.modality}"
        yield f"  {source.kept / source.items:>7.1%}  {source.source}: {counts}"
