"""Run the demo of 60 things as far as the shards, once for all tests that read its outputs."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from demo.flaws import EXPECTED, Flaw
from demo.options import DemoOptions
from demo.plan import HOST, Site, Thing, plan_site
from pipeline.tables.columns import Columns, Row
from pipeline.tables.contracts import CLEANED, CRAWLED, DROPPED, ITEMS, PARTS, SAMPLES
from pipeline.tables.drops import Outcome
from pipeline.tables.item_names import name_item
from pipeline.tables.table_files import read_table
from tests.support.running import DEMO_THINGS, ROOT, edit_params, run_stages

CHANGES: Mapping[str, Any] = {
    DEMO_THINGS: 60,
    "crawl__timeout": 5.0,  # one image answers after any limit, the others must not on a busy machine
    "crawl__backoff": 0.05,
    "extract__image__height": 32,
    "extract__image__width": 32,
    "extract__shards": 4,
}
"""Of `params.yaml`."""

FOLDERS = {"crawl": "1_crawled", "ingest": "2_ingested", "clean": "3_cleaned", "align": "4_aligned"}
MODALITY = {"picture": "image", "sound": "audio", "caption": "text"}
LOST = [flaw for flaw in Flaw if EXPECTED[flaw].fate == "dropped" and flaw is not Flaw.EXACT_DUPLICATE]
"""Flaws that cost their thing its part, and so its sample."""


class Run:
    """What a run in `folder` left, and the plan of the site."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "inbox").mkdir()
        shutil.copy(ROOT / "inbox/.gitignore", folder / "inbox")
        blocks = edit_params(**CHANGES, ingest__root=str(folder / "inbox"))
        self.site: Site = plan_site(DemoOptions(**blocks["crawl"]["hosts"][HOST]["options"]))
        self.outcomes: dict[str, Outcome] = run_stages(blocks, folder, until="extract")
        self.data = folder / "data"
        self.crawled = {row["url"]: row for row in self.read("1_crawled/crawl", CRAWLED)}
        items = self.read("2_ingested/items", ITEMS)
        self.items = {row["id"]: row for row in items}
        cleaned = self.read("3_cleaned/items", CLEANED)
        self.cleaned = {items[row["item"]]["id"]: {**items[row["item"]], **row} for row in cleaned}
        self.samples = self.read("4_aligned/samples", SAMPLES)
        """Rows of the table, with the id of the item of each part by its name."""
        for row in self.read("4_aligned/parts", PARTS):
            self.samples[row["sample"]][row["part"]] = items[row["item"]]["id"]
        self.fates = dict(self.find_drops())

    def read(self, path: str, columns: Columns) -> list[Row]:
        return read_table(self.data / path, columns)

    def find_drops(self) -> Iterator[tuple[tuple[str, str], tuple[str, str]]]:
        """`(path on the site, modality or "")` to `(stage, reason)` of everything that was dropped."""
        modalities = {name_item(item): item["modality"] for item in self.items.values()}
        for stage, folder in FOLDERS.items():
            for row in self.read(f"{folder}/dropped", DROPPED):
                path = row["key"].removeprefix(f"http://{HOST}").removeprefix(f"{HOST}:").partition("#")[0]
                yield ("/" + path.removeprefix("/"), modalities.get(row["key"], "")), (stage, row["reason"])

    def find_item(self, thing: Thing, part: str) -> dict[str, Any] | None:
        """The cleaned item of a part of a thing, if it got that far."""
        paths = {find_path(thing, part)}
        redirected = self.crawled.get(f"http://{HOST}{find_path(thing, part)}")
        if redirected and redirected["final_url"]:
            paths.add(redirected["final_url"].removeprefix(f"http://{HOST}"))
        for row in self.cleaned.values():
            if f"/{row['file']}" in paths and row["modality"] == MODALITY[part]:
                return row
        return None

    def find_sample(self, thing: Thing) -> dict[str, Any] | None:
        item = self.find_item(thing, "caption")
        return next((row for row in self.samples if item and row["text"] == item["id"]), None)


def find_path(thing: Thing, part: str) -> str:
    if part == "picture" and thing.picture:
        return thing.picture.path
    if part == "sound" and thing.sound:
        return thing.sound.path
    return thing.page
