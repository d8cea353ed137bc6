"""Collect what a stage drops, in any order, and write it as its table `dropped`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.errors import CountMismatch
from pipeline.tables.columns import build_batch
from pipeline.tables.contracts import DROPPED
from pipeline.tables.database import Database
from pipeline.tables.drops import Drop, DropCounts, Reason

PART = "part"
"""The unit of a row about parts of a unit that was kept."""

WAITING_ROWS = 10_000


class DroppedRows:
    """The dropped rows of a stage, in the table `dropped` of a database."""

    def __init__(self, database: Database, stage: str, unit: str) -> None:
        self._database = database
        self._stage = stage
        self._unit = unit
        self._waiting: list[dict[str, object]] = []
        database.execute(
            f"""
            CREATE TABLE dropped (
                stage VARCHAR DEFAULT '{stage}', unit VARCHAR DEFAULT '{unit}', key VARCHAR, reason VARCHAR,
                detail VARCHAR, value VARCHAR DEFAULT '', "limit" VARCHAR DEFAULT '', count BIGINT DEFAULT 1,
                setting VARCHAR DEFAULT '', kept_key VARCHAR DEFAULT '')
            """
        )

    def add(self, drops: Iterable[Drop]) -> None:
        """Add rows for units that the stage dropped."""
        self._add(drops, self._unit)

    def add_parts(self, parts: Iterable[Drop]) -> None:
        """Add rows about parts of units that were kept."""
        self._add(parts, PART)

    def _add(self, drops: Iterable[Drop], unit: str) -> None:
        for drop in drops:
            self._waiting.append({"stage": self._stage, "unit": unit, **asdict(drop), "reason": str(drop.reason)})
            if len(self._waiting) == WAITING_ROWS:
                self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._database.append("dropped", build_batch(self._waiting, DROPPED))
            self._waiting = []

    def add_query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Add the rows of a query for units that the stage dropped. It has the columns of `Drop` by name; those with a
        default may be missing."""
        self._database.execute(f"INSERT INTO dropped BY NAME {sql}", parameters)

    def rewrite(self, columns: Sequence[str], change: Callable[[str], str]) -> None:
        """Replace the values of columns by what `change` returns for them."""
        self._flush()
        for column in columns:
            values = [value for (value,) in self._database.fetch(f'SELECT DISTINCT "{column}" FROM dropped')]
            changed = [(value, new) for value in values if (new := change(value)) != value]
            for value, new in changed:
                self._database.execute(
                    f'UPDATE dropped SET "{column}" = $new WHERE "{column}" = $value', {"new": new, "value": value}
                )

    def write(self, folder: Path) -> DropCounts:
        """Write the table `dropped` in the stage's folder, and count the units that it has.

        Raises:
            CountMismatch: a unit was dropped twice; the message names it.
        """
        self._flush()
        twice = self._database.fetch(
            """
            SELECT key, count(*) FROM dropped WHERE unit <> $part
            GROUP BY key HAVING count(*) > 1 ORDER BY key LIMIT 1
            """,
            {"part": PART},
        )
        if twice:
            key, times = twice[0]
            raise CountMismatch(f"{self._unit} {key!r} was dropped {times} times")
        order = 'unit, key, reason, detail, value, "limit", count, setting, kept_key'
        self._database.write(f"SELECT * FROM dropped ORDER BY {order}", folder / "dropped", DROPPED)
        reasons = self._database.fetch(
            "SELECT reason, sum(count)::BIGINT FROM dropped WHERE unit <> $part GROUP BY reason ORDER BY reason",
            {"part": PART},
        )
        parts = self._database.fetch("SELECT count(*) FROM dropped WHERE unit = $part", {"part": PART})
        return DropCounts({Reason(reason): count for reason, count in reasons}, parts[0][0])
