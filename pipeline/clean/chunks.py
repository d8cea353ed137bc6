"""How the work is cut: runs of neighbouring items, by their number and size alone, so that any number of workers
gives the same files."""

from collections.abc import Sequence

from pipeline.tables import Row

MAX_ITEMS = 256  # about a second of work: pictures and sounds take 2 to 5 ms each
MAX_BYTES = 64 << 20


def plan_chunks(rows: Sequence[Row]) -> list[Sequence[Row]]:
    """`rows` in their order, cut into runs of at most `MAX_ITEMS` items and `MAX_BYTES` bytes (or one larger item)."""
    chunks = []
    start = size = 0
    for number, row in enumerate(rows):
        if number > start and (number - start == MAX_ITEMS or size + row["size"] > MAX_BYTES):
            chunks.append(rows[start:number])
            start, size = number, 0
        size += row["size"]
    return [*chunks, rows[start:]] if rows else []
