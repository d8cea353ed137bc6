"""Write the tables of stages without running them: items, what clean and align made of them, and dropped rows."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.tables.columns import Row
from pipeline.tables.contracts import (
    ALIGNED_FOLDER,
    ALIGNED_PARTS,
    ALIGNED_SAMPLES,
    CLEANED,
    CLEANED_FOLDER,
    CLEANED_ITEMS,
    CRAWLED,
    CRAWLED_FOLDER,
    DROPPED,
    INGESTED_FOLDER,
    INGESTED_ITEMS,
    ITEMS,
    PARTS,
    SAMPLES,
)
from pipeline.tables.drops import Drop
from pipeline.tables.table_files import identify_table, write_table


def hash_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class AlignedSample:
    """A sample: the files of the items of each part."""

    key: str
    parts: Mapping[str, Sequence[str]]
    split: str = "train"
    label: str | None = None


def write_drops(folder: Path, stage: str, unit: str, drops: Sequence[Drop] = ()) -> None:
    rows = [{"stage": stage, "unit": unit, **asdict(drop), "reason": str(drop.reason)} for drop in drops]
    write_table(folder / "dropped", sorted(rows, key=lambda row: str(row["key"])), DROPPED)


def write_crawl(data: Path, urls: Mapping[str, Mapping[str, Any]], drops: Sequence[Drop] = ()) -> None:
    """Write the crawl's tables; each URL has some values of its row."""
    rows = [{**dict.fromkeys(CRAWLED), "url": url, "depth": 0, "detail": "", **urls[url]} for url in sorted(urls)]
    write_table(data / CRAWLED_FOLDER / "crawl", rows, CRAWLED)
    write_drops(data / CRAWLED_FOLDER, "crawl", "url", drops)


def make_item(file: str, **values: Any) -> Row:
    """Return an ingested text; its bytes are other ones if `content` is."""
    row: Row = {**dict.fromkeys(ITEMS), "source": "folder", "file": file, "part": "", "modality": "text"}
    row |= {
        "media_type": "text/plain",
        "tar": "t",
        "offset": 0,
        "size": 1,
        "sha256": hash_text(values.pop("content", file)),
    }
    row |= values
    return row | {"id": hash_text("\0".join((row["sha256"], row["source"], row["file"], row["part"])))}


def write_items(data: Path, items: Sequence[Row], drops: Sequence[Drop] = ()) -> list[Row]:
    """Write ingest's tables, and return the rows in the order of their numbers."""
    rows = sorted(items, key=lambda row: str(row["id"]))
    write_table(data / INGESTED_ITEMS, rows, ITEMS)
    write_drops(data / INGESTED_FOLDER, "ingest", "file", drops)
    return rows


def write_cleaned(
    data: Path, items: Sequence[Row], same: Sequence[Sequence[str]] = (), drops: Sequence[Drop] = ()
) -> None:
    """Write clean's tables of ingested items, of which those of the files in `same` have the same cleaned bytes."""
    dropped = {drop.key for drop in drops}
    numbers = {row["file"]: number for number, row in enumerate(items)}
    first = {numbers[file]: min(map(numbers.__getitem__, files)) for files in same for file in files}
    rows = []
    for number, item in enumerate(items):
        if f"{item['source']}:{item['file']}" not in dropped:
            row: Row = {**dict.fromkeys(CLEANED), "item": number, **{name: item[name] for name in LOCATION}}
            clusters = dict.fromkeys(("exact_cluster", "near_cluster"), first.get(number, number))
            rows.append(row | {"redactions": 0, "characters": 7, **clusters})
    write_table(data / CLEANED_ITEMS, rows, CLEANED, refer_to_items(data))
    write_drops(data / CLEANED_FOLDER, "clean", "item", drops)


LOCATION = ("sha256", "tar", "offset", "size")


def write_samples(
    data: Path, items: Sequence[Row], samples: Sequence[AlignedSample], drops: Sequence[Drop] = ()
) -> None:
    """Write align's tables."""
    numbers = {row["file"]: number for number, row in enumerate(items)}
    ordered = sorted(samples, key=lambda sample: (sample.split, hash_text(sample.key)))
    rows = [
        {"key": sample.key, "split": sample.split, "label": sample.label, "group": sample.key} for sample in ordered
    ]
    parts = [
        {"sample": number, "part": part, "position": at, "item": numbers[file], "start": None, "end": None}
        for number, sample in enumerate(ordered)
        for part, files in sample.parts.items()
        for at, file in enumerate(files)
    ]
    write_table(data / ALIGNED_SAMPLES, rows, SAMPLES)
    write_table(data / ALIGNED_PARTS, parts, PARTS, refer_to_items(data))
    write_drops(data / ALIGNED_FOLDER, "align", "item", drops)


def refer_to_items(data: Path) -> dict[str, str]:
    return {INGESTED_ITEMS: identify_table(data / INGESTED_ITEMS)}
