"""A folder and the same folder crawled from a web server give the same samples."""

import os
import shutil
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipeline.align.params import AlignParams
from pipeline.align.step import align
from pipeline.clean.params import CleanParams
from pipeline.clean.step import clean
from pipeline.config.check_params import check_block, read_effective_params
from pipeline.config.params import RunParams
from pipeline.crawl.params import CrawlParams
from pipeline.crawl.step import crawl
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
    CRAWLED_FOLDER,
    DROPPED,
    INGESTED_FOLDER,
    INGESTED_ITEMS,
    ITEMS,
    PARTS,
    SAMPLES,
)
from pipeline.tables.dropped_rows import PART
from pipeline.tables.drops import Outcome
from pipeline.tables.table_files import read_table
from tests.support import factory_media, ingesting

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
STAMPS = Path(os.environ.get("SHARDWRIGHT_STAMPS", ROOT / "../shared/data/stamps"))


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Nothing."""


@contextmanager
def serve_folder(root: Path) -> Iterator[str]:
    """As `python -m http.server` does."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root))) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def make_image(seed: int) -> bytes:
    return factory_media.encode_png(factory_media.draw_scene(40, 50, seed))


@cache  # its stream numbers are random
def make_audio(seed: int) -> bytes:
    return factory_media.encode_audio(factory_media.make_tone(8000, 0.3, seed=seed), 8000, "OGG")


def make_files() -> dict[str, bytes | str]:
    """Names that URLs must escape, a thing that is there twice, broken and lonely files."""
    names = ["animals/cat", "animals/big cats/lion #1 (50%)", "animals/big cats/löwe?", "food/a&b+c;d=e", "food/%41"]
    names += ["animals/cat again", unicodedata.normalize("NFD", "food/crème"), "food/[x]@y", "food/.hidden"]
    files: dict[str, bytes | str] = {}
    for number, name in enumerate(names):
        shown = 0 if name == "animals/cat again" else number
        files[f"{name}.png"] = make_image(shown)
        files[f"{name}_desc_es.ogg"] = make_audio(shown)
        files[f"{name}.txt"] = f"Thing {shown}.\nde.utf8=Ding {shown}.\n"
    return {**files, "broken.png": b"", "lonely/one.png": make_image(99), "lonely/two.txt": "alone"}


def run_from(start: str | None, root: Path, folder: Path) -> dict[str, Outcome]:
    """crawl to align with the params of `examples/stamps.yaml`, from the server at `start` or else from `root`."""
    blocks = read_effective_params(ROOT / "examples/stamps.yaml")
    empty = folder / "empty"
    empty.mkdir(parents=True)
    blocks["ingest"]["root"] = str(empty if start else root)
    if start:
        blocks["crawl"] |= {"start": ["http://stamps.test/"], "hosts": {"stamps.test": start}}
    run = RunParams(workers=0, memory="2 GiB", cache=str(folder / "cache"), progress=False)
    workspace = Workspace(folder, folder, folder / "cache", run)
    outcomes = {
        "crawl": crawl(check_block(blocks, "crawl", CrawlParams), workspace),
        "list": list_inputs(check_block(blocks, "ingest", IngestParams), workspace),
        "ingest": ingest(check_block(blocks, "ingest", IngestParams), workspace),
        "clean": clean(check_block(blocks, "clean", CleanParams), workspace),
        "align": align(check_block(blocks, "align", AlignParams), workspace),
    }
    for outcome in outcomes.values():
        outcome.check()
    return outcomes


def describe_samples(folder: Path) -> list[Row]:
    """The samples, with the bytes and the file of each part instead of its id, in which the host has a say."""
    files = [row["file"] for row in read_table(folder / INGESTED_ITEMS, ITEMS)]
    hashes = {row["item"]: row["sha256"] for row in read_table(folder / CLEANED_ITEMS, CLEANED)}
    samples = list(read_table(folder / ALIGNED_SAMPLES, SAMPLES))
    for part in read_table(folder / ALIGNED_PARTS, PARTS):
        found = samples[part["sample"]].setdefault(part["part"], [])
        found.append((part["position"], files[part["item"]], hashes[part["item"]], part["start"], part["end"]))
    return samples


def read_dropped(folder: Path) -> list[Row]:
    """What ingest dropped."""
    return list(read_table(folder / INGESTED_FOLDER / "dropped", DROPPED))


def compare(root: Path, tmp_path: Path) -> list[Row]:
    local = run_from(None, root, tmp_path / "local")
    with serve_folder(root) as place:
        remote = run_from(place, root, tmp_path / "remote")
    samples = describe_samples(tmp_path / "local")
    assert samples == describe_samples(tmp_path / "remote")
    assert local["align"].kept == remote["align"].kept
    crawled = read_table(tmp_path / "remote" / CRAWLED_FOLDER / "crawl", CRAWLED)
    pages = sum(row["url"].endswith("/") for row in crawled)
    assert remote["crawl"].seen == local["ingest"].seen + pages
    dropped = {name: read_dropped(tmp_path / name) for name in ("local", "remote")}
    listings = [row for row in dropped["remote"] if row["key"].endswith("/")]
    assert {row["reason"] for row in listings} == {"no_items"}
    assert remote["ingest"].kept == local["ingest"].kept
    parts = {name: sorted(row["count"] for row in rows if row["unit"] == PART) for name, rows in dropped.items()}
    assert parts["local"] == parts["remote"]
    return samples


def test_the_same_samples(tmp_path: Path) -> None:
    root = ingesting.write_files(tmp_path / "inbox", make_files())
    samples = compare(root, tmp_path)
    assert len(samples) == 8  # of nine, one being there twice
    assert {sample["label"] for sample in samples} == {"animals", "food"}


NEEDS_STAMPS = pytest.mark.skipif(not STAMPS.is_dir(), reason=f"the stamps are not in {STAMPS} (SHARDWRIGHT_STAMPS)")


@NEEDS_STAMPS
def test_the_same_samples_of_some_stamps(tmp_path: Path) -> None:
    """Every ninth folder of them."""
    for folder in sorted(path for path in STAMPS.rglob("*") if path.is_dir())[::9]:
        copied = tmp_path / "stamps" / folder.relative_to(STAMPS)
        copied.mkdir(parents=True)
        for path in folder.iterdir():
            if path.is_file():
                shutil.copy(path, copied)
    assert len(compare(tmp_path / "stamps", tmp_path)) > 30


@NEEDS_STAMPS
@pytest.mark.sweep
def test_the_same_samples_of_all_stamps(tmp_path: Path) -> None:
    assert 700 <= len(compare(STAMPS, tmp_path)) <= 741
