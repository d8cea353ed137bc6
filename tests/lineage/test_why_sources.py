"""`shardwright why` finds an item of any source by the path that a user would type."""

import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from warcio import StatusAndHeaders, WARCWriter

from pipeline.ingest.params import IngestParams
from pipeline.lineage.facts import WhyAnswer
from pipeline.lineage.stage_tables import StageTables
from pipeline.lineage.why.command import run as why
from pipeline.lineage.why.query import read_query
from pipeline.lineage.why.trace import open_tracer
from tests.support.archives import make_tar, make_tar_of, make_zip
from tests.support.ingesting import Ingest, make_params, run_ingest, write_files

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]  # warcio

NAMES = {"animals/cat.txt": b"a cat", "animals/caf\u00e9.txt": b"coffee"}
OTHERS = {"others/dog.txt": b"a dog"}


def write_table(path: Path, files: dict[str, bytes]) -> None:
    rows = [{"bytes": content, "path": name} for name, content in files.items()]
    pq.write_table(pa.table({"text": rows}), path)


def write_warc(path: Path) -> None:
    headers = StatusAndHeaders("200 OK", [("Content-Type", "text/plain")], protocol="HTTP/1.1")
    with path.open("wb") as file:
        writer = WARCWriter(file)
        url, payload = "http://site.test/animals/cat.txt", io.BytesIO(b"a cat")
        writer.write_record(writer.create_warc_record(url, "response", payload=payload, http_headers=headers))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("sources")
    write_files(place / "plain", NAMES)
    write_files(place / "named", OTHERS)
    (place / "archives/more").mkdir(parents=True)
    (place / "archives/more/set.zip").write_bytes(make_zip(NAMES))
    (place / "set.zip").write_bytes(make_zip(NAMES))
    (place / "part-0.tar.gz").write_bytes(make_tar(NAMES, "gz"))
    (place / "part-1.tar.gz").write_bytes(make_tar(OTHERS, "gz"))
    (place / "set.tar").write_bytes(make_tar({"cat.txt": b"a cat", "cat.cls": b"1"}))
    write_table(place / "set.parquet", NAMES)
    write_warc(place / "set.warc")
    return place


SOURCES = {
    "folder": ({"path": "plain"}, "plain/animals/cat.txt"),
    "archive in a folder": ({"path": "archives"}, "archives/more/set.zip/animals/cat.txt"),
    "zip": ({"kind": "zip", "path": "set.zip"}, "set.zip/animals/cat.txt"),
    "tars": ({"kind": "tar", "path": "part-*.tar.gz", "name": "parts"}, "part-0.tar.gz/animals/cat.txt"),
    "webdataset": ({"kind": "webdataset", "path": "set.tar"}, "set.tar/cat.txt"),
    "parquet": ({"kind": "parquet", "path": "set.parquet"}, "set.parquet/animals/cat.txt"),
    "warc": ({"kind": "warc", "path": "set.warc"}, "http://site.test/animals/cat.txt"),
}


def run_on(place: Path, *sources: dict[str, Any]) -> tuple[Ingest, IngestParams]:
    params = make_params(sources=[source | {"path": str(place / source["path"])} for source in sources])
    return run_ingest(place, params), params


def ask(data: Path, word: str, params: IngestParams) -> WhyAnswer:
    return open_tracer(StageTables(data), 10).answer(read_query(word, params.list_sources()))


@pytest.mark.parametrize("name", SOURCES)
def test_an_item_is_found_by_its_path(place: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source, typed = SOURCES[name]
    named = {"path": "named", "name": "named"}
    result, params = run_on(place, source, named)
    (item,) = [row for row in result.rows if row["file"].endswith("cat.txt")]
    monkeypatch.chdir(place)
    absolute = [str(place / typed), str(place / "plain/.." / typed)] if "://" not in typed else []
    for word in [typed, *absolute]:
        (file,) = ask(result.data, word, params).files
        assert [found.id for found in file.items] == [item["id"]], word
    (dog,) = ask(result.data, "named/others/dog.txt", params).files
    assert dog.name == "named:others/dog.txt"
    assert not ask(result.data, str(place / "nowhere/cat.txt"), params).found


def test_members_that_are_dropped_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = tarfile.TarInfo("in/link.txt")
    link.type, link.linkname = tarfile.SYMTYPE, "b.txt"
    archive = make_tar_of([(link, b""), (tarfile.TarInfo("in/b.txt"), b"")])
    write_files(tmp_path / "inbox", {"a.txt": "a", "broken.zip": "no archive", "more/evil.tar": archive})
    (tmp_path / "single.tar").write_bytes(archive)
    result, params = run_on(tmp_path, {"path": "inbox"}, {"kind": "tar", "path": "single.tar", "name": "single"})
    monkeypatch.chdir(tmp_path)
    reasons = {"inbox/broken.zip": "unreadable", "inbox/more/evil.tar/in/link.txt": "not_a_file"}
    for path, reason in {**reasons, "single.tar/in/link.txt": "not_a_file"}.items():
        (file,) = ask(result.data, path, params).files
        assert file.dropped, path
        assert file.dropped.reason == reason


def test_the_command_takes_sources_from_the_params(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result, _ = run_on(place, {"kind": "zip", "path": "set.zip"})
    monkeypatch.chdir(place)
    Path("params.yaml").write_text("ingest:\n  sources:\n  - kind: zip\n    path: set.zip\n  page_text: 7\n")
    assert why(["set.zip/animals/caf\u00e9.txt", "--data", str(result.data)]) == 0
    assert "folder:animals/caf\u00e9.txt" in capsys.readouterr().out
    assert why(["plain/animals/cat.txt", "--root", "plain", "--data", str(result.data)]) == 0
    Path("params.yaml").write_text("ingest:\n  sources: 7\n")
    assert why([os.fspath(place / "set.zip/animals/cat.txt"), "--data", str(result.data)]) == 1
