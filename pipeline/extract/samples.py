"""The samples of a task: rows of tables, as records with their parts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.extract.item_rows import ORIGIN
from pipeline.tables.columns import Row, read_rows
from pipeline.tables.row_files import RowFile

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class SamplePart:
    """One item of a sample, or a span of it.

    Attributes:
        name: of the part.
        item: the item's row, see `pipeline.extract.item_rows`, with `start` and `end` in seconds, None for the whole.
        key: the cache key of its feature.
        object: the number of the object of the cache that has the feature; None if none has.
        row: of its entry there.
        rejected: whether that entry is a rejection.
    """

    name: str
    item: Row
    key: bytes
    object: int | None
    row: int
    rejected: bool


@dataclass(frozen=True, slots=True)
class AlignedSample:
    """A row of the table of samples with its parts, in the order of the table of parts."""

    key: str
    split: str
    label: str | None
    group: str
    parts: Mapping[str, Sequence[SamplePart]]


def build_samples(samples: "pa.Table", parts: "pa.Table", items: RowFile) -> list[AlignedSample]:
    """Return the samples of a task.

    Args:
        samples: with the columns sample, key, split, label and group, ordered by sample.
        parts: with the columns sample, part, item, start, end, key, object, row and rejected, ordered by sample.
        items: the rows of all items, by number.
    """
    gathered: dict[int, dict[str, list[SamplePart]]] = {}
    rows = items.read(parts["item"].to_numpy())
    for part, item in zip(parts.to_pylist(), rows, strict=True):
        gathered.setdefault(part["sample"], {}).setdefault(part["part"], []).append(locate_part(part, item))
    return [
        AlignedSample(row["key"], row["split"], row["label"], row["group"], gathered.get(row["sample"], {}))
        for row in read_rows(samples)
    ]


def locate_part(part: Row, item: Row) -> SamplePart:
    """Return a row of the parts of a task, with the row of its item."""
    item |= {"start": part["start"], "end": part["end"]}
    number = part["object"]
    return SamplePart(part["part"], item, part["key"], number, part["row"] or 0, bool(part["rejected"]))


def build_meta(sample: AlignedSample, caption: str | None) -> dict[str, Any]:
    """Build the meta of a sample: `key`, `split`, `group`, `label` (its name), `caption`, and `items` by part.

    An item has the known ones of `id`, `source`, `file`, `part`, `url`, `language`, `licence`, `attribution`, and
    `start` and `end` in seconds if the sample uses a span of it. Unknown values are left out. A part with several items
    has a list of them.
    """
    meta: dict[str, Any] = {"key": sample.key, "split": sample.split, "group": sample.group}
    if sample.label is not None:
        meta["label"] = sample.label
    if caption is not None:
        meta["caption"] = caption
    items = {name: [_describe_item(part.item) for part in parts] for name, parts in sample.parts.items()}
    meta["items"] = {name: found[0] if len(found) == 1 else found for name, found in items.items()}
    return meta


def _describe_item(item: Row) -> dict[str, Any]:
    origin = {column: item[column] for column in ORIGIN if item[column]}
    return origin | {edge: item[edge] for edge in ("start", "end") if item[edge] is not None}
