"""Join the tables of align and clean: samples as arrays for planning, and single rows for workers.

The driver plans on arrays of a few tens of bytes a sample; workers read table rows by number.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from sys import intern
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.incremental.lookup import match
from pipeline.errors import InputError
from pipeline.tables.blob_store import BlobLocation, read_location
from pipeline.tables.contracts import ALIGNED_FOLDER, CLEANED, CLEANED_FOLDER, MODALITIES, SAMPLES
from pipeline.tables.drops import Drop, Reason
from pipeline.tables.item_names import name_item
from pipeline.tables.parquet import Row
from pipeline.tables.row_files import (
    READ_ROWS,
    RowFileWriter,
    StringTable,
    count_rows,
    open_row_file,
    pack_hex,
    read_batches,
    read_floats,
    read_strings,
)

ORIGIN = ("id", "source", "file", "part", "url", "language", "licence", "attribution")
"""Columns of the cleaned table that a sample's meta holds for each item: its provenance."""

SHARED = ("source", "language", "licence", "attribution")
"""Columns of `ORIGIN` with few distinct values: their strings are interned."""

ITEM_COLUMNS = (*ORIGIN, "media_type", "orientation", "sha256", "tar", "offset", "size")
"""Columns of the cleaned table that workers read."""

Numbers = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class AlignedPart:
    """The part of a sample that comes from one item.

    `start` and `end` are seconds, None for the whole item; `origin` has the non-empty columns of `ORIGIN`; `sha256` is
    the hash of the item's bytes.
    """

    location: BlobLocation
    sha256: str
    media_type: str
    orientation: int
    start: float | None
    end: float | None
    origin: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class AlignedSample:
    """A row of `samples.parquet` with its parts by modality, in the order of `MODALITIES`."""

    key: str
    split: str
    label: str | None
    group: str
    parts: Mapping[str, AlignedPart]


@dataclass(frozen=True)
class ItemColumns:
    """Columns of the cleaned table, in its order: sha256 of the bytes as S32, EXIF orientation (1 without one), and the
    number of the media type in `media_types`."""

    sha256s: NDArray[np.bytes_]
    orientations: NDArray[np.uint8]
    types: Numbers
    media_types: Sequence[str]


@dataclass(frozen=True)
class SampleColumns:
    """Columns of the samples, in the order of their keys.

    Attributes:
        hashes: sha256 of the keys, S32.
        splits, labels: numbers in `split_names` and `label_names`; -1 without a label.
        items: by modality, the item's row number in the cleaned table; -1 without an item.
        spans: by modality, seconds as float64 (n, 2), NaN for the item's start or end; None if all use whole items.
    """

    hashes: NDArray[np.bytes_]
    splits: Numbers
    labels: Numbers
    split_names: Sequence[str]
    label_names: Sequence[str]
    items: Mapping[str, Numbers]
    spans: Mapping[str, NDArray[np.float64] | None]

    def __len__(self) -> int:
        return len(self.hashes)


@dataclass(frozen=True)
class Tables:
    """Paths of the row files that workers read: samples and items."""

    folder: Path

    @property
    def samples(self) -> Path:
        """The rows of `samples.parquet`."""
        return self.folder / "samples.arrow"

    @property
    def items(self) -> Path:
        """The rows of the cleaned table, with `ITEM_COLUMNS` only."""
        return self.folder / "items.arrow"

    def read_samples(self, rows: Sequence[int]) -> list[AlignedSample]:
        """Return the samples at these rows, with their items."""
        batches = (rows[start : start + READ_ROWS] for start in range(0, len(rows), READ_ROWS))
        return [sample for batch in batches for sample in self._read_batch(batch)]

    def _read_batch(self, rows: Sequence[int]) -> Iterator[AlignedSample]:
        found = open_row_file(self.samples).read(rows)
        item_rows = sorted({row[name] for row in found for name in MODALITIES if row[name] is not None})
        items = dict(zip(item_rows, open_row_file(self.items).read(item_rows), strict=True))
        return (build_sample(row, items) for row in found)


def read_corpus(data: Path, tables: Tables) -> tuple[SampleColumns, ItemColumns]:
    """Read all aligned samples and cleaned items; write the row files of `tables`.

    Raises:
        InputError: there are no samples, or one names an item that is not in the cleaned table.
    """
    tables.folder.mkdir(parents=True)
    items, ids = _read_items(data / CLEANED_FOLDER / "items.parquet", tables.items)
    samples = _read_samples(data / ALIGNED_FOLDER / "samples.parquet", tables.samples, ids)
    if not len(samples):
        raise InputError(f"{data / ALIGNED_FOLDER} has no samples; its dropped.parquet lists why items were dropped")
    return samples, items


def _read_items(path: Path, rows: Path) -> tuple[ItemColumns, NDArray[np.bytes_]]:
    """Return the item columns, and the item ids as S32."""
    count, start = count_rows(path), 0
    ids, sha256s = np.empty(count, "S32"), np.empty(count, "S32")
    orientations, types, media_types = np.empty(count, np.uint8), np.empty(count, np.int32), StringTable()
    with RowFileWriter(rows, ITEM_COLUMNS) as writer:
        for batch in read_batches(path, CLEANED, ITEM_COLUMNS):
            writer.write(batch)
            part = slice(start, start := start + batch.num_rows)
            ids[part] = pack_hex(batch, "id")
            sha256s[part] = pack_hex(batch, "sha256")
            orientations[part] = batch.column("orientation").fill_null(1).to_numpy()
            types[part] = media_types.number(read_strings(batch, "media_type"))
    return ItemColumns(sha256s, orientations, types, media_types.names), ids


def _read_samples(path: Path, rows: Path, ids: NDArray[np.bytes_]) -> SampleColumns:
    """Return the sample columns, with item ids replaced by row numbers in the cleaned table, whose ids are `ids`."""
    import pyarrow as pa

    count, start = count_rows(path), 0
    hashes, splits, labels = np.empty(count, "S32"), np.empty(count, np.int32), np.empty(count, np.int32)
    items = {name: np.empty(count, np.int32) for name in MODALITIES}
    spans = {name: Spans(count) for name in MODALITIES}
    split_names, label_names = StringTable(), StringTable()
    with RowFileWriter(rows, list(SAMPLES)) as writer:
        for batch in read_batches(path, SAMPLES):
            part = slice(start, start := start + batch.num_rows)
            keys = read_strings(batch, "key")
            hashes[part] = [hash_key(key) for key in keys]
            splits[part] = split_names.number(read_strings(batch, "split"))
            labels[part] = label_names.number(read_strings(batch, "label"))
            for name in MODALITIES:
                found = _find_items(read_strings(batch, name), keys, ids)
                items[name][part] = found
                spans[name].note(part, [read_floats(batch, f"{name}_{edge}") for edge in ("start", "end")])
                column = batch.schema.names.index(name)
                batch = batch.set_column(column, name, pa.array(found, mask=found < 0))
            writer.write(batch)
    seconds = {name: each.seconds for name, each in spans.items()}
    return SampleColumns(hashes, splits, labels, split_names.names, label_names.names, items, seconds)


class Spans:
    """Collects `count` spans: `seconds` is float64 (count, 2), NaN for a whole item; None while all are whole."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.seconds: NDArray[np.float64] | None = None

    def note(self, part: slice, edges: Sequence[NDArray[np.float64]]) -> None:
        """Set the starts and ends of a slice of the spans."""
        if self.seconds is None and not np.isnan(edges).all():
            self.seconds = np.full((self._count, 2), np.nan)
        if self.seconds is not None:
            self.seconds[part] = np.stack(edges, axis=1)


def _find_items(item_ids: Sequence[str | None], keys: Sequence[str], ids: NDArray[np.bytes_]) -> Numbers:
    """Return the row of each item in the cleaned table, whose `ids` are sorted; -1 for None."""
    rows = np.full(len(item_ids), -1, np.int32)
    given = [index for index, item in enumerate(item_ids) if item is not None]
    digests = np.array([bytes.fromhex(item_ids[index] or "") for index in given], "S32")
    at, present = match(ids, digests)
    if len(present) < len(given):
        index = given[int(np.setdiff1d(np.arange(len(given)), present)[0])]
        raise InputError(
            f"sample {keys[index]!r} names item {item_ids[index]!r}, which is not in the cleaned table: run `dvc repro`"
        )
    rows[given] = at
    return rows


def hash_key(key: str) -> bytes:
    """Return sha256 of the key, by which samples are ordered."""
    return hashlib.sha256(key.encode()).digest()


def build_sample(row: Row, items: Mapping[int, Row]) -> AlignedSample:
    """Build the sample of a row; `items` are rows of the cleaned table by number."""
    parts = {
        modality: build_part(items[row[modality]], row[f"{modality}_start"], row[f"{modality}_end"])
        for modality in MODALITIES
        if row[modality] is not None
    }
    return AlignedSample(row["key"], row["split"], row["label"], row["group"], parts)


def build_part(item: Row, start: float | None, end: float | None) -> AlignedPart:
    """Build the part that a sample takes from the item of this row."""
    origin: dict[str, Any] = {column: item[column] for column in ORIGIN if item[column]}
    origin.update((column, intern(origin[column])) for column in SHARED if column in origin)
    media_type, orientation = intern(item["media_type"]), item["orientation"] or 1
    return AlignedPart(read_location(item), item["sha256"], media_type, orientation, start, end, origin)


def format_origin(origin: Mapping[str, str]) -> str:
    """Return the name of a part's item for messages."""
    return name_item({"source": "", "file": "", "part": "", **origin})


def find_classes(samples: SampleColumns, listed: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Return the classes in label order: `listed`, else all labels in code-point order; None without labels."""
    return listed or tuple(sorted(samples.label_names)) or None


def drop_labels(
    samples: SampleColumns, classes: tuple[str, ...] | None, tables: Tables
) -> tuple[NDArray[np.bool_], list[Drop]]:
    """Return a mask of the samples whose label is in `classes`, and drops for the others."""
    if classes is None:
        return np.ones(len(samples), bool), []
    known = np.array(
        [name in classes for name in samples.label_names] + [False]
    )  # the last entry is for samples without a label
    usable: NDArray[np.bool_] = known[samples.labels]
    others = open_row_file(tables.samples).read(np.flatnonzero(~usable).tolist())
    return usable, [_drop_label(row["key"], row["label"]) for row in others]


def _drop_label(key: str, label: str | None) -> Drop:
    if label is None:
        return Drop(key, Reason.MISSING_LABEL, "the sample has no label, others have one")
    return Drop(key, Reason.UNKNOWN_LABEL, "the label is not in the list", label, setting="extract.classes")
