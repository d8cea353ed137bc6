"""Test that a source of files is one module and one row of the table: a copy of the project with one more uses it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.ingest.sources.source import SourceFile, SourceInputs
from pipeline.ingest.sources.table import SOURCES
from pipeline.tables.blob_store import TarReader
from pipeline.tables.drops import Drop
from tests.support.ingesting import make_image, make_params, make_workspace, run_ingest, write_crawl, write_files
from tests.support.running import ROOT

pytestmark = pytest.mark.slow

TOY = '''"""Two files that exist nowhere, and one that cannot be used."""

from pipeline.ingest.sources.source import FileAnnotations, Source, SourceFile, SourceInputs
from pipeline.tables.drops import Drop, Reason


def list_toys(inputs: SourceInputs):
    yield SourceFile("toy", "b.txt", lambda: b"two", FileAnnotations(label="second"))
    yield SourceFile("toy", "a.txt", lambda: b"one")
    yield Drop("toy:c", Reason.NOT_A_FILE, "a toy that is broken")


TOYS = Source(list_toys, lambda inputs: "buy toys")
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
    before, end = table.read_text().rsplit("    }\n", 1)
    table.write_text(f"{before}{ROW}    }}\n{end}")
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
    with TarReader(tmp_path) as reader:
        inputs = SourceInputs(make_params(root=str(tmp_path / "inbox")), make_workspace(tmp_path), reader)
        assert list(source.list_files(inputs)) == []
        assert any(block in source.explain_nothing(inputs) for block in ("crawl.", "ingest."))
        write_files(tmp_path / "inbox", {"a.png": make_image(), "b.txt": "b"})
        for found in source.list_files(inputs):
            assert isinstance(found, SourceFile | Drop)
            if isinstance(found, SourceFile):
                assert found.key == f"{found.source}:{found.file}"
                assert found.read() == found.read()


def test_every_source_is_asked_what_to_do_when_there_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no input; .*crawl\.start.*; .*ingest\.root"):
        run_ingest(tmp_path, make_params())
