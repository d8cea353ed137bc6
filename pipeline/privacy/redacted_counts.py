"""Count what was redacted, by place and kind: the table `redacted`, which has no value."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.privacy.kinds import KINDS, Kind
from pipeline.tables.contracts import REDACTED
from pipeline.tables.table_files import write_table

TEXT = "text"
"""The place of personal data in items themselves; others are columns."""


@dataclass(frozen=True)
class RedactedCounts:
    """Numbers of rows and of passages, by place and kind."""

    counts: dict[tuple[str, Kind], tuple[int, int]] = field(default_factory=dict)

    def add(self, place: str, found: Mapping[Kind, int], rows: int = 1) -> None:
        """Count so many rows, in each of which this was found."""
        for kind, passages in found.items():
            had = self.counts.get((place, kind), (0, 0))
            self.counts[place, kind] = (had[0] + rows, had[1] + rows * passages)

    def describe(self) -> str:
        """Return `60 passages redacted (email 40, phone 20)`; "" for none."""
        kinds: Counter[Kind] = Counter()
        for (_, kind), (_, passages) in self.counts.items():
            kinds[kind] += passages
        listed = ", ".join(f"{kind} {kinds[kind]:,}" for kind in KINDS if kinds[kind])
        return f"{kinds.total():,} passages redacted ({listed})" if kinds else ""

    def write(self, folder: Path) -> None:
        """Write the table `redacted` in the folder of a stage."""
        write_table(folder / "redacted", self._list_rows(), REDACTED)

    def _list_rows(self) -> Iterator[dict[str, object]]:
        for (place, kind), (rows, passages) in sorted(self.counts.items()):
            yield {"place": place, "kind": kind, "rows": rows, "passages": passages}
