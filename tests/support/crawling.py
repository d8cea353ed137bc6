"""Run the crawl stage against loopback servers, for the tests of crawl."""

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config.check_params import check_block
from pipeline.config.params import RunParams
from pipeline.crawl.journal import Clock
from pipeline.crawl.params import CrawlParams
from pipeline.crawl.step import crawl
from pipeline.runtime.run_stage import Workspace
from pipeline.tables.blob_store import TarReader, read_location
from pipeline.tables.contracts import CRAWLED, CRAWLED_FOLDER, LIST_ROWS
from pipeline.tables.drops import Drop, Outcome
from pipeline.tables.table_files import read_table
from tests.support.stage_folders import hash_folder, read_drops

SITE_FILES = frozenset({"/robots.txt", "/.well-known/tdmrep.json", "/ai.txt"})
"""The files that a crawl asks each site for."""

HOST = "site.test"
START = f"http://{HOST}/"

BLOCK: Mapping[str, Any] = {
    "start": [START],
    "sitemaps": [],
    "feeds": False,
    "include": [],
    "exclude": [],
    "canonical": True,
    "warc": False,
    "lists": [],
    "lists_folder": "lists",
    "hosts": {},
    "agent": "shardwright/0.1 (+https://crawler.test/contact)",
    "max_depth": 8,
    "max_urls": 1000,
    "max_bytes": 1 << 20,
    "timeout": 5.0,
    "per_host": 8,
    "delay": 0.0,
    "retries": 2,
    "backoff": 0.01,
    "refresh": 0,
    "retry": 0,
}


def make_params(**changes: Any) -> CrawlParams:
    """The block `crawl:` with `changes`; `address` is that of the host `site.test`."""
    block = {**BLOCK, **changes}
    if "address" in block:
        block["hosts"] = {HOST: block.pop("address"), **block["hosts"]}
    return check_block({"crawl": block}, "crawl", CrawlParams)


@dataclass(frozen=True)
class Crawl:
    """The output of a run."""

    outcome: Outcome
    folder: Path
    data: Path

    @property
    def rows(self) -> dict[str, dict[str, Any]]:
        """The rows of the table by URL."""
        return {row["url"]: row for row in read_table(self.folder / "crawl", CRAWLED)}

    @property
    def list_rows(self) -> list[dict[str, Any]]:
        """What the URL lists say, in their order."""
        return read_table(self.folder / "list_rows", LIST_ROWS)

    @property
    def drops(self) -> list[Drop]:
        """The rows of what was dropped."""
        return read_drops(self.folder)

    @property
    def parts(self) -> list[Drop]:
        """The rows about parts of what was kept."""
        return read_drops(self.folder, parts=True)

    @property
    def reasons(self) -> dict[str, str]:
        """Why each URL was dropped."""
        return {drop.key: str(drop.reason) for drop in self.drops}

    def read_settings(self) -> dict[str, str]:
        """The column `setting` of `dropped` by key, without rows that no setting decided."""
        return {drop.key: drop.setting for drop in [*self.parts, *self.drops] if drop.setting}

    def read_body(self, url: str) -> bytes:
        with TarReader(self.data) as reader:
            return reader.read(read_location(self.rows[url]))

    def hash_files(self) -> dict[str, str]:
        return hash_folder(self.folder)


def run_crawl(
    folder: Path, params: CrawlParams, clock: Clock = time.time, workers: int = 0, scheduler: str | None = None
) -> Crawl:
    """Run the stage once with the cache `folder/cache`, and check that kept and dropped add up."""
    folder.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="run-", dir=folder))
    run = RunParams(workers=workers, scheduler=scheduler, memory="1 GiB", cache=str(folder / "cache"), progress=False)
    outcome = crawl(params, Workspace(work, work, folder / "cache", run), clock)
    outcome.check()
    return Crawl(outcome, work / CRAWLED_FOLDER, work)
