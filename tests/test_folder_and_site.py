"""A folder, and the same folder crawled from a web server that lists its files: the items are the same."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pipeline.contracts import CRAWLED_FOLDER
from pipeline.ingest import ingest
from pipeline.params import RunParams
from pipeline.stage import Workspace
from tests import crawling, ingesting


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Nothing."""


FILES: dict[str, bytes | str] = {
    "animals/cat.png": ingesting.make_picture(0),
    "animals/cat.txt": "A cat.\nde=Eine Katze.\n",
    "animals/big cats/lion #1 (50%).png": ingesting.make_picture(1),
    "animals/big cats/löwe?.png": ingesting.make_picture(2),
    "food/a&b+c;d=e.txt": "Food.",
    "food/%41.txt": "an escaped name",
    "broken.png": b"",
}


def test_the_same_items(tmp_path: Path) -> None:
    root = ingesting.write_files(tmp_path / "inbox", FILES)
    params = ingesting.make_params(text="tagged_lines")
    local = ingesting.run_ingest(tmp_path, params)

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root))) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        crawled = crawling.run_crawl(tmp_path, crawling.make_params(place=f"127.0.0.1:{server.server_port}"))
        server.shutdown()
    assert not crawled.outcome.dropped

    (tmp_path / "empty").mkdir()
    run = RunParams(workers=0, memory="1 GiB", cache=str(tmp_path / "cache"), progress=False)
    there = params.model_copy(update={"root": str(tmp_path / "empty")})
    assert (crawled.data / CRAWLED_FOLDER).is_dir()
    outcome = ingest(there, Workspace(crawled.data, crawled.data, tmp_path / "cache", run))
    remote = ingesting.Ingest(outcome, crawled.data / "2_ingested", crawled.data)

    def identify(result: ingesting.Ingest) -> list[tuple[str, str, str]]:
        return [(row["file"], row["part"], row["sha256"]) for row in result.rows]

    assert identify(local) == identify(remote)
    assert local.outcome.kept == remote.outcome.kept
    assert [part.count for part in local.outcome.parts] == [part.count for part in remote.outcome.parts]
