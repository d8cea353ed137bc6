"""Names lose personal data and stay names: the same in all tables, different where they were."""

import stat
from collections.abc import Callable
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
from pipeline.extract.params import ExtractParams
from pipeline.extract.step import extract
from pipeline.ingest.params import IngestParams
from pipeline.ingest.step import ingest
from pipeline.list.step import list_inputs
from pipeline.privacy.kinds import DEFAULT_KINDS
from pipeline.privacy.policy import Policy
from pipeline.privacy.redact_names import name_policy, redact_name, redact_url
from pipeline.runtime.run_stage import Workspace, publish
from pipeline.tables.contracts import INGESTED_ITEMS, ITEMS, REDACTED, REDACTED_TABLES
from pipeline.tables.table_files import read_table
from tests.support import factory_media
from tests.support.ingesting import write_files

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
NAMES = name_policy(Policy(frozenset(DEFAULT_KINDS)))


@pytest.mark.parametrize(
    "name",
    ["IMG_20240517_123456.jpg", "a/13912345678.png", "4111111111111111.jpg", "animals/owl.png", "0001-2345-6789.wav",
     "d41d8cd98f00b204e9800998ecf8427e.png", "x/1234567890123456789012.png", "food/[x]@y.png", "v1.2.3.tar",
     "555-0100"],
)  # fmt: skip
def test_names_that_count_things_stay(name: str) -> None:
    assert redact_name(name, NAMES) == (name, {})


def test_values_become_pseudonyms_and_the_rest_stays() -> None:
    name, counts = redact_name("photos/jane.doe@example.org.jpg", NAMES)
    assert name.startswith("photos/EMAIL-")
    assert name.endswith(".jpg")
    assert counts == {"email": 1}
    url, _ = redact_url("https://h.test:80/u/jane.doe%40example.org/a.png?token=zzz&p=2", NAMES)
    pseudonym = name.removeprefix("photos/").removesuffix(".jpg")
    assert url.startswith(f"https://h.test:80/u/{pseudonym}/a.png?token=SECRET-")
    assert url.endswith("&p=2")
    assert redact_url("https://10.1.2.3/a", NAMES)[0] == "https://10.1.2.3/a", "the host stays"
    assert redact_name(name, NAMES) == (name, {})
    assert redact_name("jim@example.org", NAMES) != redact_name("joe@example.org", NAMES)


CANARIES = [
    "jane.canary@example.org",
    "joe.canary@example.org",
    "CANARYTOKEN77",
    "DE89370400440532013000",
    "536-90-4399",
]


def make_project(folder: Path) -> tuple[dict[str, Any], Workspace]:
    """Photos and captions of two persons, whose addresses are names of folders and files, and in captions."""
    files: dict[str, bytes | str] = {}
    for number in range(6):
        person = CANARIES[number % 2]
        name = f"{person}/{number} {person}"
        files[f"{name}.png"] = factory_media.encode_png(factory_media.draw_scene(40, 50, number))
        files[f"{name}.txt"] = f"Photo {number} by {CANARIES[0]}, https://h.test/?token={CANARIES[2]}, {CANARIES[3]}."
    files[f"{CANARIES[0]}/empty {CANARIES[1]}.png"] = b""
    files[f"{CANARIES[0]}/alone SSN {CANARIES[4]}.png"] = factory_media.encode_png(factory_media.draw_scene(40, 50, 9))
    root = write_files(folder / "inbox", files)
    blocks = read_effective_params(ROOT / "params.yaml")
    blocks["ingest"] = {"root": str(root), "attribution": CANARIES[0], "licence": f"ask {CANARIES[0]}"}
    (folder / "lists").mkdir()
    blocks["crawl"] = {"lists_folder": str(folder / "lists")}
    blocks["clean"] = {}
    parts = {"image": {"pattern": r"(?P<key>(?P<label>.+)/.+)\.png"}, "text": {"pattern": r"(?P<key>.+)\.txt"}}
    shares = {"train": 1.0, "val": 0.0, "test": 0.0}
    blocks["align"] = {"by": "pattern", "label": "path", "modalities": parts, "shares": shares}
    blocks["extract"] = {"image": {"height": 8, "width": 8}, "text": {"min_known": 0}}
    run = RunParams(workers=0, cache=str(folder / "cache"), progress=False)
    return blocks, Workspace(folder / "data", folder / "work", folder / "cache", run)


def run_stages(blocks: dict[str, Any], workspace: Workspace) -> None:
    """List to extract, each published as by `run_stage`."""
    workspace.data.mkdir()
    ingest_params = check_block(blocks, "ingest", IngestParams)
    stages: list[tuple[list[str], Callable[[Any, Workspace], Any], Any]] = [
        (["0_listed"], list_inputs, ingest_params),
        (["1_crawled"], crawl, check_block(blocks, "crawl", CrawlParams)),
        (["2_ingested"], ingest, ingest_params),
        (["3_cleaned"], clean, check_block(blocks, "clean", CleanParams)),
        (["4_aligned"], align, check_block(blocks, "align", AlignParams)),
        (["5_shards", "5_extract"], extract, check_block(blocks, "extract", ExtractParams)),
    ]
    for outs, step, params in stages:
        workspace.work.mkdir(exist_ok=True)
        step(params, workspace)
        publish(workspace, outs)


def test_no_output_has_a_canary(tmp_path: Path) -> None:
    """But the list of the user's own files, which says what to read, and the bytes as they came in."""
    run_stages(*make_project(tmp_path))
    data = tmp_path / "data"
    outputs = [path for path in data.rglob("*") if path.is_file() and path.parent.name != "2_ingested"]
    outputs = [path for path in outputs if data / "0_listed" not in path.parents]
    assert len(outputs) > 15
    for path in outputs:
        content = read_table_text(path) if path.suffix == ".parquet" else path.read_bytes()
        assert not [canary for canary in CANARIES if canary.encode() in content], path
    rows = list(read_table(data / INGESTED_ITEMS, ITEMS))
    assert len({row["file"] for row in rows}) == len(rows) == 13
    labels = {row["file"].split("/")[0] for row in rows}
    assert len(labels) == 2
    assert all(label.startswith("EMAIL-") for label in labels)
    found = {
        (row["place"], row["kind"]): row["passages"]
        for table in REDACTED_TABLES
        for row in read_table(data / table, REDACTED)
    }
    assert found["text", "email"] == found["text", "secret"] == found["text", "iban"] == 6
    assert found["file", "email"] == 25
    assert found["attribution", "email"] == 13


def read_table_text(path: Path) -> bytes:
    """Return all values of a table's part, which is compressed."""
    import pyarrow.parquet as pq

    return repr(pq.read_table(path).to_pylist()).encode()


def test_tables_are_for_their_owner_alone(tmp_path: Path) -> None:
    run_stages(*make_project(tmp_path))
    data = tmp_path / "data"
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in data.rglob("*.parquet"))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in data.iterdir()}
    assert all(
        (mode & 0o077 == 0) == (name != "5_shards") for name, mode in modes.items() if not name.startswith(".")
    ), modes
