"""Fill an item cache with objects as large as real ones, so that the plans of clean and extract find nothing missing;
the arrays of features are holes in the files."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.support.aligned_corpus import KINDS, fill_columns
from pipeline.clean.check_entry import VERDICT
from pipeline.clean.findings import THUMBNAIL_BYTES
from pipeline.extract.extractor import Extractor
from pipeline.extract.field_statistics import has_moments
from pipeline.extract.plan_corpus import Corpus
from pipeline.incremental.evict import MAX_PACK_ENTRIES, split_keys
from pipeline.incremental.key_words import KEY, join_words
from pipeline.incremental.object_store import ObjectStore
from pipeline.incremental.pack_index import ENTRY, PIECE, Entry, PackIndex, Records
from pipeline.incremental.rejections import encode_rejection
from pipeline.tables.columns import HASH_BYTES, read_hashes
from pipeline.tables.contracts import (
    ALIGNED_PART_KINDS,
    ALIGNED_PARTS,
    ALIGNED_SAMPLES,
    INGESTED_ITEMS,
    PART_KINDS,
    PARTS,
    SAMPLES,
)
from pipeline.tables.database import Database
from pipeline.tables.drops import Reason, Rejection
from pipeline.tables.table_files import TableWriter, identify_table

Keys = NDArray[np.bytes_]
TEST_SHARE = 0.1
REJECTED = REWRITTEN = 0.01
"""Shares of the checked items."""
BROKEN = Rejection(Reason.BROKEN, "the file ends early")
SAMPLE_BYTES = 150
"""What an index and the cache note of a sample of a shard."""
PIECE_BYTES = 20_000
BATCH = 50_000


def write_samples(data: Path, things: NDArray[np.int64]) -> None:
    """Write the aligned tables: a sample of an image, a clip and a caption for each page."""
    count = len(things) // len(KINDS)
    keys = np.array([f"host-{page % 97}.test/things/{page:09d}.html" for page in range(count)])
    hashes = np.frombuffer(b"".join(hashlib.sha256(key.encode()).digest()[:8] for key in keys.tolist()), ">u8")
    splits = np.where(np.random.default_rng(1).random(count) < TEST_SHARE, "test", "train")
    pages = np.lexsort((hashes, splits))
    rows = np.empty(len(things), np.int64)
    rows[things] = np.arange(len(things))
    with TableWriter(data / ALIGNED_SAMPLES, SAMPLES) as writer:
        for start in range(0, count, BATCH):
            part = pages[start : start + BATCH]
            labels = pa.array([f"class-{page % 1000}" for page in part.tolist()])
            key = pa.array(keys[part])
            writer.write({"key": key, "split": pa.array(splits[part]), "label": labels, "group": key})
    with TableWriter(data / ALIGNED_PART_KINDS, PART_KINDS) as writer:
        names = pa.array([kind[0] for kind in KINDS])
        nulls = {"most": pa.nulls(len(KINDS), pa.int64()), "joiner": pa.nulls(len(KINDS), pa.string())}
        writer.write({"part": names, "modality": names, **nulls})
    refers = {name: identify_table(data / name) for name in (INGESTED_ITEMS, ALIGNED_PART_KINDS)}
    with TableWriter(data / ALIGNED_PARTS, PARTS, refers) as writer:
        for start in range(0, count, BATCH):
            part = pages[start : start + BATCH]
            items = rows[part[:, None] * len(KINDS) + np.arange(len(KINDS))].ravel()
            samples = np.repeat(np.arange(start, start + len(part)), len(KINDS))
            known = {"sample": pa.array(samples), "part": pa.array([kind[0] for kind in KINDS] * len(part))}
            writer.write(fill_columns(PARTS, len(items)) | known | {"item": pa.array(items)})


def fill_checks(database: Database, objects: ObjectStore, folder: Path) -> None:
    """Store a verdict for each distinct request of clean, 8,192 a pack: `REJECTED` of the items are rejected, the bytes
    of `REWRITTEN` changed, thumbnails are noise."""
    draw = np.random.default_rng(2)
    query = f"SELECT {KEY}, min(item) AS item FROM requests GROUP BY {KEY} ORDER BY any_value(modality), item"
    rows = database.take(query)
    keys, items = _take_hashes(rows), rows["item"].to_numpy().astype(np.int64)
    kind = draw.random(len(keys))
    for at in _split(np.flatnonzero((kind >= REJECTED) & (kind <= 1 - REWRITTEN))):
        objects.publish_pack(_make_hole(folder, 0), _lay_out(keys[at], _draw_records(draw, keys[at], items[at]), 0))
    for at in _split(np.flatnonzero(kind < REJECTED)):
        objects.write_pack([encode_rejection(key, BROKEN) for key in split_keys(keys[at])])
    for at in _split(np.flatnonzero(kind > 1 - REWRITTEN)):
        records = _draw_records(draw, keys[at], items[at])
        objects.write_pack([_rewrite(*each) for each in zip(split_keys(keys[at]), records, strict=True)])


def _split(numbers: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(numbers), MAX_PACK_ENTRIES):
        yield numbers[start : start + MAX_PACK_ENTRIES]


def _draw_records(draw: np.random.Generator, keys: Keys, items: NDArray[np.int64]) -> Records:
    verdicts = np.zeros(len(keys), VERDICT)
    verdicts["sha256"] = keys.view(np.uint8).reshape(-1, HASH_BYTES)  # as distinct as those of the items
    verdicts["size"] = 10_000 + items * 7919 % 20_000
    verdicts["bits"] = draw.integers(2**64, size=len(verdicts), dtype=np.uint64)
    verdicts["facts"] = 64
    thumbnails = draw.integers(256, size=(len(verdicts), THUMBNAIL_BYTES), dtype=np.uint8)
    return np.hstack([verdicts.view(np.uint8).reshape(len(verdicts), -1), thumbnails])


def _rewrite(key: bytes, record: NDArray[np.uint8]) -> Entry:
    content = key * 4
    verdict = record[: VERDICT.itemsize].view(VERDICT)
    verdict["rewritten"], verdict["size"] = True, len(content)
    verdict["sha256"] = np.frombuffer(hashlib.sha256(content).digest(), np.uint8)
    return Entry(key, [content], record=record.tobytes())


def fill_features(database: Database, corpus: Corpus, objects: ObjectStore, folder: Path) -> None:
    """Store a shard for each planned one, with the features of its samples but those that a vocabulary is learned from,
    which are in packs."""
    learner = corpus.learner
    extractors = corpus.extractors
    width = max(count_moments(extractors[name]) for name in extractors)
    query = f"SELECT {KEY} FROM requests WHERE modality = $learner ORDER BY sample"
    keys = _take_hashes(database.take(query, {"learner": learner}))
    for at in _split(np.arange(len(keys))):
        part = np.unique(keys[at])
        rows = _lay_out(part, np.empty((len(part), 0), np.uint8), 2)
        objects.publish_pack(_make_hole(folder, rows.size), rows)
    others = f"SELECT {KEY} FROM requests WHERE modality <> $learner AND sample BETWEEN $first AND $last"
    for shard in corpus.shards:
        bounds = {"learner": learner, "first": shard.first, "last": shard.last}
        found = np.unique(_take_hashes(database.take(others, bounds)))
        rows = _lay_out(found, np.zeros((len(found), width), np.uint8), 2, bytes(SAMPLE_BYTES * shard.samples))
        path = _make_hole(folder, rows.size)
        objects.adopt(f"{shard.split}{shard.number:032d}.tar", path, rows)
        path.unlink()


def count_moments(extractor: Extractor) -> int:
    """Return the bytes of the record of a feature."""
    return sum(8 + 16 * field.shape[-1] for field in extractor.fields.values() if has_moments(field))


def _take_hashes(rows: pa.Table) -> Keys:
    chunks = [read_hashes(batch, "key") for batch in join_words(rows).to_batches()]
    return np.concatenate(chunks) if chunks else np.empty(0, f"S{HASH_BYTES}")


def _lay_out(keys: Keys, records: Records, pieces: int, extra: bytes = b"") -> PackIndex:
    """Return the index of an object of entries with so many pieces each."""
    order = np.argsort(keys)
    entries = np.zeros(len(keys), ENTRY)
    entries["key"] = keys[order]
    entries["first"], entries["count"] = np.arange(len(keys)) * pieces, pieces
    placed = np.zeros(len(keys) * pieces, PIECE)
    placed["offset"], placed["size"] = np.arange(len(placed)) * PIECE_BYTES, PIECE_BYTES
    return PackIndex(len(placed) * PIECE_BYTES, entries, placed, records[order], {}, extra)


def _make_hole(folder: Path, size: int) -> Path:
    path = folder / "hole"
    with path.open("wb") as file:
        file.truncate(size)
    return path
