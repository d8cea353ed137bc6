"""Run the stage ingest on folders and crawl tables that a test makes."""

import hashlib
import itertools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config.check_params import check_block
from pipeline.config.params import RunParams
from pipeline.ingest.params import IngestParams
from pipeline.ingest.step import ingest
from pipeline.list.step import list_inputs
from pipeline.runtime.run_stage import Workspace
from pipeline.tables.blob_store import TarReader, TarStore, read_location
from pipeline.tables.contracts import CRAWLED, CRAWLED_FOLDER, INGESTED_FOLDER, ITEMS, LIST_ROWS
from pipeline.tables.drops import Drop, Outcome, Reason
from pipeline.tables.table_files import read_table, write_table
from shardwright.remote.settings import is_url
from tests.support.stage_folders import hash_folder, read_drops
from tests.support.stage_tables import write_drops

BLOCK: Mapping[str, Any] = {
    "root": "inbox",
    "ignore": [".gitignore"],
    "text": "whole",
    "default_language": "en",
    "languages": None,
    "page_text": "figcaption",
    "page_label": "meta[name=kind]",
    "table": None,
    "licence": None,
    "attribution": None,
    "licences": None,
    "max_dropped": 1.0,
}

_runs = itertools.count()


def make_params(**changes: Any) -> IngestParams:
    """Return the block `ingest` with `changes`."""
    return check_block({"ingest": {**BLOCK, **changes}}, "ingest", IngestParams)


def make_image(seed: int = 0) -> bytes:
    """Return a small PNG."""
    import cv2

    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    return bytes(cv2.imencode(".png", pixels)[1].tobytes())


def write_files(root: Path, files: Mapping[str, bytes | str]) -> Path:
    """Write files below a folder."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    root.mkdir(exist_ok=True)
    return root


@dataclass(frozen=True)
class Response:
    """A row of a crawl's table and its bytes; a body of None means that it was dropped."""

    url: str
    body: bytes | str | None = b""
    page: str | None = None
    content_type: str | None = None
    annotations: Mapping[str, str] | Sequence[Mapping[str, str]] = ()
    final_url: str | None = None


def _list(annotations: Mapping[str, str] | Sequence[Mapping[str, str]]) -> Sequence[Mapping[str, str]]:
    return [annotations] if isinstance(annotations, Mapping) else annotations


def write_crawl(data: Path, responses: Iterable[Response]) -> None:
    """Write `1_crawled` as a crawl would."""
    folder = data / CRAWLED_FOLDER
    responses, rows = list(responses), []
    with TarStore(folder, CRAWLED_FOLDER, "responses") as store:
        for number, response in enumerate(sorted(responses, key=lambda response: response.url)):
            row: dict[str, Any] = dict.fromkeys(CRAWLED)
            row |= {"url": response.url, "page": response.page, "depth": 0, "detail": "", "status": 200}
            row |= {"final_url": response.final_url, "content_type": response.content_type}
            if response.body is None:
                row["reason"] = "timeout"
            else:
                body = response.body.encode() if isinstance(response.body, str) else response.body
                location = store.write(str(number), body)
                row |= {"sha256": hashlib.sha256(body).hexdigest()}
                row |= {"tar": location.tar, "offset": location.offset, "size": location.size}
            rows.append(row)
    write_table(folder / "crawl", rows, CRAWLED)
    said = [
        {**dict.fromkeys(LIST_ROWS), "url": response.url, "list": "list.csv", "line": line, **annotations}
        for response in responses
        for line, annotations in enumerate(_list(response.annotations), start=2)
    ]
    write_table(folder / "list_rows", said, LIST_ROWS)
    write_drops(folder, "crawl", "url", [Drop(row["url"], Reason.TIMEOUT, "") for row in rows if row["reason"]])


@dataclass(frozen=True)
class Ingest:
    """The outputs of a run."""

    outcome: Outcome
    folder: Path
    data: Path

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of the table in the order of (source, file, part); the table's is that of the ids."""
        return sorted(
            read_table(self.folder / "items", ITEMS), key=lambda row: [row["source"], row["file"], row["part"]]
        )

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
        """Return the reason of each dropped file."""
        return {drop.key: str(drop.reason) for drop in self.drops}

    def read_settings(self) -> dict[str, str]:
        """The column `setting` of `dropped` by key, without rows that no setting decided."""
        return {drop.key: drop.setting for drop in [*self.parts, *self.drops] if drop.setting}

    def read_texts(self) -> dict[tuple[str, str], str]:
        """Return the text items by file and part."""
        with TarReader(self.data) as reader:
            return {
                (row["file"], row["part"]): reader.read(read_location(row)).decode()
                for row in self.rows
                if row["modality"] == "text"
            }

    def hash_files(self) -> dict[str, str]:
        return hash_folder(self.folder)


def make_workspace(data: Path, **run: Any) -> Workspace:
    """A workspace that reads and writes in `data`; `run` are params of how to run."""
    settings = {"workers": 0, "memory": "1 GiB", "cache": str(data / "cache"), "progress": False, **run}
    return Workspace(data, data, data / "cache", RunParams(**settings))


def run_ingest(
    folder: Path,
    params: IngestParams,
    responses: Iterable[Response] = (),
    spoil: Callable[[Path], None] = lambda folder: None,
    **run: Any,
) -> Ingest:
    """Run ingest over `params.root`, relative to `folder`, and a crawl, and check the counts. `spoil` gets the data
    folder before the run; `run` are params of how to run."""
    data = folder / f"run-{next(_runs)}"
    write_crawl(data, responses)
    spoil(data)
    root = params.root if is_url(params.root) else folder / params.root
    if params.root == "inbox":
        (folder / params.root).mkdir(exist_ok=True)
    chosen, workspace = params.model_copy(update={"root": os.fspath(root)}), make_workspace(data, **run)
    list_inputs(chosen, workspace).check()
    outcome = ingest(chosen, workspace)
    outcome.check()
    return Ingest(outcome, data / INGESTED_FOLDER, data)
