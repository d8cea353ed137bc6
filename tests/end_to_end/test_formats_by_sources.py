"""Every format, in every kind of source, ends in the same samples: a folder, archives, tables, shards and a crawl."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.formats.media_type import MODALITIES_BY_TYPE
from pipeline.formats.type_names import HTML
from pipeline.tables.contracts import DROPPED, ITEMS
from pipeline.tables.table_files import read_table
from shardwright import ShardDataset
from tests.support.archives import make_parquet, make_tar, make_zip
from tests.support.dirty_files import make_dirty_files
from tests.support.factory_video import make_dirty_videos
from tests.support.ingesting import write_files
from tests.support.loopback import Reply, serve
from tests.support.running import edit_params, run_stages
from tests.support.s3_server import find_endpoint, make_bucket, serve_s3

pytestmark = pytest.mark.slow

HOST = "site.test"
REFUSED = {
    "odd/drawing.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "odd/empty.txt": b"",
    "odd/noise": b"\0\1\2",
}


def make_things() -> dict[str, bytes]:
    """Things of an image, a sound and a text, some with a video, so that each format occurs at least once."""
    files = make_dirty_files()
    by_modality = {
        modality: [content for kind, content in files.items() if MODALITIES_BY_TYPE[kind] == modality]
        for modality in ("image", "audio")
    }
    by_modality["video"] = [*make_dirty_videos().values()]
    things = {}
    for number in range(max(map(len, by_modality.values()))):
        for modality in ("image", "audio"):
            contents = by_modality[modality]
            things[f"things/{number}.{modality}"] = contents[number % len(contents)]
        things[f"things/{number}.txt"] = f"thing {number}: größer, 猫, 😀".encode()
        if number < len(by_modality["video"]):
            things[f"things/{number}.video"] = by_modality["video"][number]
    return things


FILES = make_things() | REFUSED


def make_table() -> pa.Table:
    return pa.table({"data": [{"bytes": content, "path": name} for name, content in FILES.items()]})


SOURCES: Mapping[str, tuple[str, Callable[[], bytes]]] = {
    "zip": ("files.zip", lambda: make_zip(FILES)),
    "tar": ("files.tar", lambda: make_tar(FILES)),
    "tar.zst": ("files.tar.zst", lambda: make_tar(FILES, "zst")),
    "parquet": ("files.parquet", lambda: make_parquet(make_table())),
    "webdataset": ("files-000000.tar", lambda: make_tar(FILES)),
}


def make_blocks(**changes: Any) -> dict[str, Any]:
    blocks = edit_params(
        crawl__start=[],
        extract__image__height=16,
        extract__image__width=16,
        extract__video__height=16,
        extract__video__width=16,
        extract__shards=2,
        ingest__max_dropped=1.0,
        ingest__page_text=None,
        **changes,
    )
    rules = {name: {"pattern": rf"things/(?P<key>\d+)\.{ending}"} for name, ending in ENDINGS.items()}
    rules["video"]["required"] = False  # type: ignore[assignment]
    blocks["align"] = {"by": "pattern", "modalities": rules, "max_dropped": 1.0, "duplicates": KEEP}
    return blocks


ENDINGS = {"image": "image", "audio": "audio", "text": "txt", "video": "video"}
KEEP = {"exact": "keep", "near": "keep"}


def find_name(key: str) -> str:
    """Return the name of a dropped file: `odd/empty.txt` of `folder:odd/empty.txt` and `x.parquet!odd/empty.txt#32`."""
    return key.partition(":")[2].rpartition("!")[2].partition("#")[0]


class Built:
    """What the stages made of one source."""

    def __init__(self, folder: Path, cache: Path, blocks: dict[str, Any]) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "cache").symlink_to(cache)
        self.outcomes = run_stages(blocks, folder, until="extract")
        data = folder / "data"
        self.shards = {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(data.glob("5_shards/*/*.tar"))
        }
        self.root = data / "5_shards"
        items = read_table(data / "2_ingested/items", ITEMS)
        self.items = {(row["file"], row["media_type"], row["sha256"]) for row in items}
        dropped = read_table(data / "2_ingested/dropped", DROPPED)
        self.dropped = {(find_name(row["key"]), row["reason"]) for row in dropped if row["unit"] == "file"}

    def read_samples(self) -> dict[str, dict[str, Any]]:
        """Return the arrays of all samples by key."""
        manifest = ShardDataset(self.root, "train").manifest
        return {
            data.keys[number]: data[number]
            for data in (ShardDataset(self.root, split) for split in manifest.splits)
            for number in range(len(data))
        }


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Built:
    place = tmp_path_factory.mktemp("folder")
    write_files(place / "inbox", FILES)
    return Built(place, cache, make_blocks(ingest__root=str(place / "inbox")))


def test_every_format_is_kept_in_a_folder(folder: Built) -> None:
    assert {media_type for _, media_type, _ in folder.items} == set(MODALITIES_BY_TYPE) - {HTML}
    assert {name for name, _, _ in folder.items} == FILES.keys() - REFUSED.keys()
    assert folder.dropped == {
        ("odd/drawing.svg", "unsupported_type"),
        ("odd/empty.txt", "empty"),
        ("odd/noise", "unsupported_type"),
    }
    assert folder.outcomes["clean"].kept == folder.outcomes["clean"].seen == len(folder.items)
    assert folder.outcomes["extract"].kept == folder.outcomes["extract"].seen == 9


@pytest.mark.parametrize("name", SOURCES)
def test_every_other_source_gives_the_same_shards(name: str, folder: Built, cache: Path, tmp_path: Path) -> None:
    file, build = SOURCES[name]
    (tmp_path / file).write_bytes(build())
    kind = name.partition(".")[0]
    built = Built(tmp_path, cache, make_blocks(ingest__sources=[{"kind": kind, "path": str(tmp_path / file)}]))
    assert built.items == folder.items
    assert built.dropped == folder.dropped
    assert built.shards == folder.shards


def test_a_bucket_gives_the_same_shards(folder: Built, cache: Path, tmp_path: Path) -> None:
    pytest.importorskip("s3fs")
    pytest.importorskip("moto.server")
    with serve_s3() as server, make_bucket(server, "sets", {f"a/{name}": content for name, content in FILES.items()}):
        options = {"endpoint_url": find_endpoint(server)}
        blocks = make_blocks(ingest__sources=[{"path": "s3://sets/a", "options": options}])
        built = Built(tmp_path, cache, blocks)
    assert built.items == folder.items
    assert built.dropped == folder.dropped
    assert built.shards == folder.shards


def test_a_crawl_gives_the_same_samples(folder: Built, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/all.txt").write_text("".join(f"http://{HOST}/{name}\n" for name in FILES))
    with serve({f"/{name}": Reply(content) for name, content in FILES.items()}) as site:
        blocks = make_blocks(
            ingest__root=str(tmp_path / "inbox"),
            crawl__hosts={HOST: site.address},
            crawl__lists_folder=str(tmp_path / "lists"),
            crawl__lists=[{"file": "all.txt"}],
        )
        built = Built(tmp_path, cache, blocks)
    assert built.items == folder.items
    samples, others = folder.read_samples(), built.read_samples()
    assert samples.keys() == others.keys()
    for key, sample in samples.items():
        for name, value in sample.items():
            np.testing.assert_array_equal(others[key][name], value)
