"""Make the ingested and cleaned tables of a large corpus of pages, without its files."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.clean.equal_rows import mix_bits
from pipeline.tables.columns import HASH_BYTES, Columns, build_hashes, build_schema
from pipeline.tables.contracts import CLEANED, CLEANED_ITEMS, INGESTED_ITEMS, ITEMS
from pipeline.tables.table_files import TableWriter, identify_table

KINDS = (("image", "image/png", "images/{}.png", ""), ("audio", "audio/flac", "audio/{}.flac", ""),
         ("text", "text/plain", "things/{}.html", "#main"))  # fmt: skip
REPEATED = {"image": 0.02, "audio": 0.03, "text": 0.08}
"""Share of the items of a modality that repeat the item of an earlier page: half have the same bytes, half nearly."""

LOST = 0.01
"""Share of the items that `clean` dropped."""

BATCH = 50_000


MEMBERS = 1024
"""Items in a tar."""


def write_corpus(data: Path, items: int, lost: float = LOST) -> NDArray[np.int64]:
    """Write the tables of as many items: an image, a clip and a caption a page, in the order of random ids.

    Return what each item is, int64 (items,): of page n the image 3n, the clip 3n + 1, the caption 3n + 2.
    """
    rng = np.random.default_rng(0)
    things = rng.permutation(items)
    clusters = _draw_clusters(rng, things)
    cleaned = np.flatnonzero(rng.random(items) >= lost)
    with TableWriter(data / INGESTED_ITEMS, ITEMS) as writer:
        for start in range(0, items, BATCH):
            part = slice(start, start + BATCH)
            writer.write(_build_ingested(np.arange(items)[part], things[part], clusters[0][part], items))
    refers = {INGESTED_ITEMS: identify_table(data / INGESTED_ITEMS)}
    with TableWriter(data / CLEANED_ITEMS, CLEANED, refers) as writer:
        for start in range(0, len(cleaned), BATCH):
            rows = cleaned[start : start + BATCH]
            writer.write(_build_cleaned(rows, *(cluster[rows] for cluster in clusters)))
    return things


def _draw_clusters(rng: np.random.Generator, things: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the exact and the near cluster of each item, its smallest item."""
    count = len(things)
    rows = np.empty(count, np.int64)
    rows[things] = np.arange(count)
    thing_of = np.arange(count)
    shares = np.array([REPEATED[kind[0]] for kind in KINDS])[thing_of % len(KINDS)]
    repeats = (rng.random(count) < shares) & (thing_of >= len(KINDS))
    earlier = (rng.random(count) * (thing_of // len(KINDS))).astype(np.int64) * len(KINDS) + thing_of % len(KINDS)
    first = np.where(repeats & ~repeats[earlier], earlier, thing_of)
    near = np.full(count, count)
    np.minimum.at(near, first, rows)
    copied = (first == thing_of) | (rng.random(count) < 0.5)
    exact = np.full(count, count)
    np.minimum.at(exact, first[copied], rows[copied])
    return np.where(copied, exact[first], rows)[things], near[first][things]


def _build_ingested(
    items: NDArray[np.int64], things: NDArray[np.int64], exact: NDArray[np.int64], count: int
) -> dict[str, Any]:
    pages = [f"{thing // len(KINDS):09d}" for thing in things.tolist()]
    kinds = [KINDS[thing % len(KINDS)] for thing in things.tolist()]
    hosts = [f"host-{int(page) % 97}.test" for page in pages]
    files = [kind[2].format(page) for kind, page in zip(kinds, pages, strict=True)]
    return fill_columns(ITEMS, len(things)) | {
        "id": pa.array(_draw_ids(items, count), pa.binary(HASH_BYTES)),
        "sha256": build_hashes(draw_hashes(exact)),
        "source": pa.array(hosts),
        "file": pa.array(files),
        "part": pa.array([kind[3] for kind in kinds]),
        "modality": pa.array([kind[0] for kind in kinds]),
        "media_type": pa.array([kind[1] for kind in kinds]),
        "url": pa.array([f"https://{host}/{file}" for host, file in zip(hosts, files, strict=True)]),
        "page": pa.array([f"https://{host}/things/{page}.html" for host, page in zip(hosts, pages, strict=True)]),
        "page_label": pa.array([f"class-{int(page) % 1000}" for page in pages]),
        **_locate(items),
    }


def _build_cleaned(rows: NDArray[np.int64], exact: NDArray[np.int64], near: NDArray[np.int64]) -> dict[str, Any]:
    return fill_columns(CLEANED, len(rows)) | {
        "item": pa.array(rows, pa.uint64()),
        "sha256": build_hashes(draw_hashes(exact)),
        "exact_cluster": pa.array(exact, pa.uint64()),
        "near_cluster": pa.array(near, pa.uint64()),
        **_locate(rows),
    }


def draw_hashes(numbers: NDArray[Any]) -> NDArray[np.bytes_]:
    """Return for each number a hash that looks random, S32 (n,)."""
    words = numbers.astype(np.uint64)[:, None] * np.uint64(4) + np.arange(1, 5, dtype=np.uint64)
    return mix_bits(words.astype(np.uint64, copy=False)).view(f"S{HASH_BYTES}")[:, 0]


def _draw_ids(items: NDArray[np.int64], count: int) -> list[bytes]:
    """Return ids that rise with the number of the item, evenly from the first to the last possible one."""
    firsts = (items.astype(np.uint64) * np.uint64(2**64 // count)).astype(">u8").tobytes()
    rest = draw_hashes(items).tobytes()
    return [firsts[8 * at : 8 * at + 8] + rest[32 * at + 8 : 32 * at + 32] for at in range(len(items))]


def _locate(items: NDArray[np.int64]) -> dict[str, pa.Array]:
    tars = [f"2_ingested/items-{item // MEMBERS:06d}.tar" for item in items.tolist()]
    sizes = 10_000 + items * 7919 % 20_000
    return {"tar": pa.array(tars), "offset": pa.array(items % MEMBERS * 30_720 + 512), "size": pa.array(sizes)}


def fill_columns(columns: Columns, count: int) -> dict[str, Any]:
    """Return nulls, or where they are not allowed zeros, for all columns."""
    empty = {"string": "", "int64": 0, "uint64": 0, "hash": bytes(32)}
    return {
        field.name: pa.nulls(count, field.type) if field.nullable
        else pa.array([empty[columns[field.name]]] * count, field.type)
        for field in build_schema(columns)
    }  # fmt: skip
