"""Read what a stage wrote, for the tests of stages."""

import hashlib
from pathlib import Path

from pipeline.tables.contracts import DROPPED
from pipeline.tables.dropped_rows import PART
from pipeline.tables.drops import Drop, Reason
from pipeline.tables.table_files import read_table


def read_drops(folder: Path, parts: bool = False) -> list[Drop]:
    """Return the rows for units that the stage dropped, or for `parts` of units that it kept."""
    return [
        Drop(
            **{name: row[name] for name in row if name not in ("stage", "unit", "reason")}, reason=Reason(row["reason"])
        )
        for row in read_table(folder / "dropped", DROPPED)
        if (row["unit"] == PART) == parts
    ]


def hash_folder(folder: Path) -> dict[str, str]:
    """Return the sha256 of each file below a folder, by its path there."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
