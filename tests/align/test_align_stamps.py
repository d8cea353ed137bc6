"""The stamps, a real and messy corpus: ingest, clean and align them by path. Skipped where they are missing."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipeline.align.params import AlignParams
from pipeline.align.step import align
from pipeline.clean.params import CleanParams
from pipeline.clean.step import clean
from pipeline.config.check_params import check_block, read_effective_params
from pipeline.config.params import RunParams
from pipeline.ingest.params import IngestParams
from pipeline.ingest.step import ingest
from pipeline.list.step import list_inputs
from pipeline.runtime.run_stage import Workspace
from pipeline.tables.columns import Row
from pipeline.tables.contracts import (
    ALIGNED_PARTS,
    ALIGNED_SAMPLES,
    CLEANED,
    CLEANED_ITEMS,
    CRAWLED,
    DROPPED,
    INGESTED_ITEMS,
    ITEMS,
    LIST_ROWS,
    PARTS,
    SAMPLES,
)
from pipeline.tables.drops import Outcome
from pipeline.tables.table_files import read_table, write_table

ROOT = Path(__file__).parents[2]
STAMPS = Path(os.environ.get("SHARDWRIGHT_STAMPS", ROOT / "../shared/data/stamps"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not STAMPS.is_dir(), reason=f"the stamps are not in {STAMPS} (SHARDWRIGHT_STAMPS)"),
]

PATTERNS = {
    "image": (r"(?P<key>(?P<label>[^/]+)/.+)\.png", None),
    "audio": (r"(?P<key>.+)_desc_es\.ogg", None),
    "text": (r"(?P<key>.+)\.txt", "en"),
}


def choose_params() -> dict[str, Any]:
    blocks = read_effective_params(ROOT / "params.yaml")
    blocks["ingest"] |= {"root": str(STAMPS), "text": "tagged_lines", "languages": ["en"]}
    rules = {name: {"required": True, "pattern": p, "part": part} for name, (p, part) in PATTERNS.items()}
    blocks["align"] |= {"by": "pattern", "label": "path", "modalities": rules}
    return blocks


@pytest.fixture(scope="module")
def stamps(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Outcome]]:
    """Run the stages as far as align; return the data folder and the outcomes."""
    folder = tmp_path_factory.mktemp("stamps")
    run = RunParams(workers=0, memory="2 GiB", cache=str(folder), progress=False)
    workspace = Workspace(folder, folder, folder, run)
    blocks = choose_params()
    write_table(folder / "1_crawled/crawl", [], CRAWLED)
    write_table(folder / "1_crawled/list_rows", [], LIST_ROWS)
    outcomes = {
        "list": list_inputs(check_block(blocks, "ingest", IngestParams), workspace),
        "ingest": ingest(check_block(blocks, "ingest", IngestParams), workspace),
        "clean": clean(check_block(blocks, "clean", CleanParams), workspace),
        "align": align(check_block(blocks, "align", AlignParams), workspace),
    }
    for outcome in outcomes.values():
        outcome.check()
    return folder, outcomes


def read_dropped_keys(path: Path) -> set[str]:
    return {row["key"] for row in read_table(path, DROPPED) if row["unit"] != "part"}


def test_most_stamps_are_aligned(stamps: tuple[Path, dict[str, Outcome]]) -> None:
    folder, _ = stamps
    samples = read_table(folder / ALIGNED_SAMPLES, SAMPLES)
    assert 700 <= len(samples) <= 741
    assert len({row["label"] for row in samples}) == 16
    assert {row["split"] for row in samples} == {"train", "val", "test"}


def test_every_file_is_accounted_for_by_name(stamps: tuple[Path, dict[str, Outcome]]) -> None:
    folder, outcomes = stamps
    files = {path.relative_to(STAMPS).as_posix() for path in STAMPS.rglob("*") if path.is_file()}
    assert outcomes["ingest"].seen == len(files) == 2704
    items = read_table(folder / INGESTED_ITEMS, ITEMS)
    used = {name_file(items[row["item"]]) for row in read_table(folder / ALIGNED_PARTS, PARTS)}
    dropped = {name: read_dropped_keys(folder / name / "dropped") for name in ("2_ingested", "3_cleaned", "4_aligned")}
    assert used | {key.partition("#")[0] for keys in dropped.values() for key in keys} == {f"folder:{f}" for f in files}


def name_file(row: Row) -> str:
    return f"{row['source']}:{row['file']}"


def test_no_duplicate_crosses_a_split(stamps: tuple[Path, dict[str, Outcome]]) -> None:
    folder, _ = stamps
    items = {row["item"]: row for row in read_table(folder / CLEANED_ITEMS, CLEANED)}
    samples = read_table(folder / ALIGNED_SAMPLES, SAMPLES)
    splits: dict[int, set[str]] = {}
    exact: dict[int, list[int]] = {}
    for part in read_table(folder / ALIGNED_PARTS, PARTS):
        item = items[part["item"]]
        splits.setdefault(item["near_cluster"], set()).add(samples[part["sample"]]["split"])
        exact.setdefault(part["sample"], []).append(item["exact_cluster"])
    assert all(len(found) == 1 for found in splits.values())
    assert max(Counter(map(tuple, exact.values())).values()) == 1


def test_no_group_is_large(stamps: tuple[Path, dict[str, Outcome]]) -> None:
    folder, _ = stamps
    samples = read_table(folder / ALIGNED_SAMPLES, SAMPLES)
    group, size = Counter(row["group"] for row in samples).most_common(1)[0]
    assert size <= 0.03 * len(samples), f"{group} holds {size} of {len(samples)} samples"
