"""Samples with all that is needed to make their arrays: the tables of align and clean, joined."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.contracts import ALIGNED_FOLDER, CLEANED, CLEANED_FOLDER, MODALITIES, SAMPLES
from pipeline.errors import InputError
from pipeline.records import Drop, Reason
from pipeline.store import Place, read_place
from pipeline.tables import Row, read_table

ORIGIN = ("id", "source", "file", "part", "url", "language", "licence", "attribution")
"""What a sample's meta says about each of its items: the columns of the cleaned table that say where it is from."""


@dataclass(frozen=True, slots=True)
class Part:
    """What a sample takes from one item.

    `start` and `end` are seconds, None for the whole; `origin` has the columns of `ORIGIN` that are not empty.
    """

    place: Place
    media_type: str
    orientation: int
    start: float | None
    end: float | None
    origin: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class AlignedSample:
    """A row of `samples.parquet` with its items, by modality, in the order of `MODALITIES`."""

    key: str
    split: str
    label: str | None
    group: str
    parts: Mapping[str, Part]


def read_samples(data: Path) -> list[AlignedSample]:
    """All samples that `align` made, in the order of their keys.

    Raises:
        InputError: there are none, or the table names an item that the cleaned table does not have.
    """
    rows = read_table(data / ALIGNED_FOLDER / "samples.parquet", SAMPLES)
    if not rows:
        raise InputError(f"{data / ALIGNED_FOLDER} has no samples: its dropped.parquet says why")
    items = {row["id"]: row for row in read_table(data / CLEANED_FOLDER / "items.parquet", CLEANED)}
    return [join_sample(row, items) for row in rows]


def join_sample(row: Row, items: Mapping[str, Row]) -> AlignedSample:
    """The sample of one row; `items` are the rows of the cleaned table by id.

    Raises:
        InputError: an item is missing; the message names sample and item.
    """
    parts = {}
    for modality in MODALITIES:
        if row[modality] is None:
            continue
        if row[modality] not in items:
            raise InputError(f"sample {row['key']!r} names an item {row[modality]!r} that clean does not have")
        parts[modality] = _make_part(items[row[modality]], row[f"{modality}_start"], row[f"{modality}_end"])
    return AlignedSample(row["key"], row["split"], row["label"], row["group"], parts)


def _make_part(item: Row, start: float | None, end: float | None) -> Part:
    origin: dict[str, Any] = {column: item[column] for column in ORIGIN if item[column]}
    return Part(read_place(item), item["media_type"], item["orientation"] or 1, start, end, origin)


def find_modalities(samples: Sequence[AlignedSample]) -> tuple[str, ...]:
    """The modalities that any of the samples has, in the order of `MODALITIES`."""
    return tuple(name for name in MODALITIES if any(name in sample.parts for sample in samples))


def find_classes(samples: Sequence[AlignedSample], wanted: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """The classes in the order of their numbers: `wanted`, else the labels found in code-point order; None if none."""
    found = sorted({sample.label for sample in samples if sample.label is not None})
    return wanted or tuple(found) or None


def check_label(sample: AlignedSample, classes: tuple[str, ...] | None) -> Drop | None:
    """The reason to drop the sample, where its label has no number."""
    if classes is None or sample.label in classes:
        return None
    if sample.label is None:
        return Drop(sample.key, Reason.MISSING_LABEL, "other samples have a label, this one has none")
    return Drop(sample.key, Reason.UNKNOWN_LABEL, "its label is not in extract.classes", sample.label)
