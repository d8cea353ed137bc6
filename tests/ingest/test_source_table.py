"""Test that a source of files is one module and one row of the table: a copy of the project with one more uses it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.errors import InputError
from pipeline.ingest.sources.source import LISTED, ListedFile, ReadInputs, SourceInputs, build_listing
from pipeline.ingest.sources.table import SOURCES
from pipeline.inputs.locate_inputs import locate_inputs
from pipeline.list.step import list_inputs
from pipeline.tables.columns import build_schema
from pipeline.tables.contracts import CRAWLED_FOLDER
from pipeline.tables.drops import Drop
from tests.support import archives
from tests.support.ingesting import (
    Response,
    make_image,
    make_params,
    make_workspace,
    run_ingest,
    write_crawl,
    write_files,
)
from tests.support.running import ROOT

pytestmark = pytest.mark.slow

MEMBERS = {"e.png": make_image(), "f.txt": b"f"}
ARCHIVES = {
    "c.zip": archives.make_zip(MEMBERS),
    "d.tar.gz": archives.make_tar(MEMBERS, "gz"),
    "f.warc": archives.make_warc({"http://a.test/g.txt": b"g"}),
    "e.parquet": archives.make_parquet(pa.table({"file": [*MEMBERS], "data": [*MEMBERS.values()]})),
}

TOY = '''"""Two files that exist nowhere, and one that cannot be used."""

from contextlib import contextmanager

from pipeline.ingest.sources.source import ANNOTATED, ReadInputs, Source, SourceInputs, build_listing, fill_columns
from pipeline.tables.drops import Drop, Reason

CONTENTS = {"b.txt": b"two", "a.txt": b"one"}


def list_toys(inputs: SourceInputs):
    yield build_listing({"source": ["toy"] * 2, "file": ["b.txt", "a.txt"], "size": [3, 3]})
    yield Drop("toy:c", Reason.NOT_A_FILE, "a toy that is broken")


@contextmanager
def open_toys(inputs: ReadInputs):
    yield lambda file: CONTENTS[file.file]


def label_toys(inputs: SourceInputs):
    yield fill_columns(ANNOTATED, {"source": ["toy"], "file": ["b.txt"], "label": ["second"]})


TOYS = Source(list_toys, open_toys, lambda inputs: "buy toys", label_toys)
'''

ROW = '        "toys": LazyObject("pipeline.ingest.sources.toys:TOYS"),\n'

RUN = """
import json, sys
from pathlib import Path
from tests.support.ingesting import make_params, run_ingest, write_files
folder = Path(sys.argv[1])
write_files(folder / "inbox", {"d.txt": "three"})
result = run_ingest(folder, make_params())
rows = [(row["source"], row["file"], row["label"]) for row in result.rows]
print(json.dumps([rows, result.reasons, result.outcome.seen]))
"""


def test_a_further_source_is_one_module_and_one_row(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    for name in ("pipeline", "shardwright", "tests/support"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "pipeline/ingest/sources/toys.py").write_text(TOY)
    table = copy / "pipeline/ingest/sources/table.py"
    before, end = table.read_text().rsplit("    }", 1)
    table.write_text(f"{before}{ROW}    }}{end}")
    command = [sys.executable, "-c", RUN, str(tmp_path)]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [
        [["folder", "d.txt", None], ["toy", "a.txt", None], ["toy", "b.txt", "second"]],
        {"toy:c": "not_a_file"},
        4,
    ]


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_keeps_the_contract(tmp_path: Path, name: str) -> None:
    """Without files it yields nothing and says what to do; it lists files that can be read twice, and drops."""
    source = SOURCES[name]
    write_files(tmp_path / "inbox", {})
    write_crawl(tmp_path, [])
    inputs = SourceInputs(make_params(root=str(tmp_path / "inbox")), make_workspace(tmp_path))
    list_inputs(inputs.params, inputs.workspace)
    assert list(source.list_files(inputs)) == []
    explain = source.explain_nothing or (lambda inputs: "ingest.")
    assert any(block in explain(inputs) for block in ("crawl.", "ingest."))
    write_files(tmp_path / "inbox", {"a.png": make_image(), "b.txt": "b", **ARCHIVES})
    write_files(tmp_path / "shards", {"0.tar": archives.make_tar(MEMBERS)})
    write_files(tmp_path / "rows", {"0.csv": "caption,label\nWhat?,a\n"})
    sources = [{"path": str(tmp_path / "inbox")}, {"kind": "webdataset", "path": str(tmp_path / "shards/*.tar")}]
    sources.append({"kind": "rows", "path": str(tmp_path / "rows/*.csv")})
    inputs = SourceInputs(make_params(sources=sources), inputs.workspace)
    (tmp_path / "inbox/c").symlink_to("nowhere")
    write_crawl(
        tmp_path / "crawled", [Response("http://a.test/a.png", make_image()), Response("http://a.test/b", None)]
    )
    (tmp_path / CRAWLED_FOLDER).rename(tmp_path / "empty")
    (tmp_path / "crawled" / CRAWLED_FOLDER).rename(tmp_path / CRAWLED_FOLDER)
    list_inputs(inputs.params, inputs.workspace)
    found = list(source.list_files(inputs))
    assert all(isinstance(each, Drop) or each.schema == build_schema(LISTED) for each in found)
    rows = [row for each in found if not isinstance(each, Drop) for row in each.to_pylist()]
    assert rows
    with source.open_reader(ReadInputs(tmp_path, locate_inputs(inputs.params), inputs.spool)) as read:
        for row in rows:
            file = ListedFile(**{name: row[name] for name in ListedFile._fields if name != "rows"})
            assert file.key == f"{row['source']}:{row['file']}"
            content = read(file)
            assert isinstance(content, bytes)
            assert len(content) == row["size"]
            assert read(file) == content


def test_a_listing_needs_the_columns_that_may_not_be_null() -> None:
    with pytest.raises(ValueError, match="size"):
        build_listing({"source": ["a"], "file": ["b"]})


def test_every_source_is_asked_what_to_do_when_there_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no input; .*crawl\.start.*; .*ingest\.root"):
        run_ingest(tmp_path, make_params())
