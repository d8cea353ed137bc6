"""Report how much personal data ingest and clean replaced, by place and kind."""

from pathlib import Path

from pipeline.evaluate.supplement import Supplement
from pipeline.tables.contracts import REDACTED, REDACTED_TABLES
from pipeline.tables.table_files import read_table
from pipeline.tasks.report import Cell, ReportTable, Section

COLUMNS = {"place": "place", "kind": "kind", "rows": "items", "passages": "passages"}


def report_redacted(data: Path) -> Supplement:
    """Return the table `redacted` of the report, and the passages of each kind for `summary.json`; nothing where no
    personal data was found, or the tables are not there.

    Raises:
        InputError: a table is damaged.
    """
    tables = [read_table(data / table, REDACTED) for table in REDACTED_TABLES if (data / table).is_dir()]
    found = [row for table in tables for row in table]
    if not found:
        return Supplement()
    summary: dict[str, float | None] = {}
    for row in found:
        name = f"redacted_{row['kind']}"
        summary[name] = (summary.get(name) or 0) + row["passages"]
    rows: list[list[Cell]] = [[row[name] for name in COLUMNS] for row in found]
    section = Section("Personal data", "What was replaced, in texts and in the columns of names.", table="redacted")
    return Supplement(sections=[section], tables={"redacted": ReportTable(COLUMNS, rows)}, summary=summary)
