"""Tables of annotations beside the files: what they say of files, and what stops the run."""

from pathlib import Path
from unicodedata import normalize

import pytest

from pipeline.errors import InputError
from tests.support.ingesting import make_image, make_params, run_ingest, write_files

TABLE = "file,label,group,split,sample,start,end,language,caption\n"


def test_a_table_annotates_files(tmp_path: Path) -> None:
    rows = "a/b.png,one,g,train,s1,0.5,2,de,ein Bild\nc.txt,two,,,,,,,\n"
    write_files(tmp_path / "inbox", {"a/b.png": make_image(), "c.txt": "c", "d.txt": "d", "table.csv": TABLE + rows})
    result = run_ingest(tmp_path, make_params(table="table.csv"))
    assert result.reasons == {"folder:table.csv": "used_as_table"}
    found = {(row["file"], row["part"]): row for row in result.rows}
    columns = ("label", "group", "split", "sample", "start", "end", "language")
    assert [found["a/b.png", ""][name] for name in columns] == ["one", "g", "train", "s1", 0.5, 2.0, "de"]
    assert [found["a/b.png", "caption"][name] for name in columns] == ["one", "g", "train", "s1", 0.5, 2.0, "de"]
    assert [found["c.txt", ""][name] for name in columns] == ["two", None, None, None, None, None, "en"]
    assert [found["d.txt", ""][name] for name in columns] == [None, None, None, None, None, None, "en"]


def test_a_table_may_name_files_in_another_form_of_unicode(tmp_path: Path) -> None:
    stored, written = normalize("NFD", "café.txt"), normalize("NFC", "café.txt")
    write_files(tmp_path / "inbox", {stored: "c", "table.csv": f"file,label\n{written},drink\n"})
    (row,) = run_ingest(tmp_path, make_params(table="table.csv")).rows
    assert (row["file"], row["label"]) == (stored, "drink")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("nowhere.txt,,,,,,,,\n", r"table.csv:2: 'nowhere.txt' is not there"),
        ("table.csv,,,,,,,,\n", r"table.csv:2: 'table.csv' is not there"),
        (",,,,,,,,\n", "table.csv:2: the column `file` is empty"),
        ("a.txt,,\n", "table.csv:2: 3 fields, the header names 9"),
        ("a.txt,,,,,soon,,,\n", "table.csv:2: `start` is 'soon'"),
        ("a.txt,,,,,-1,,,\n", "`start` is '-1'"),
        ("a.txt,,,,,nan,,,\n", "`start` is 'nan'"),
        ("a.txt,,,,,2,1,,\n", "`end` must be after `start`"),
    ],
)
def test_a_table_without_a_row_that_can_be_used_stops_the_run(tmp_path: Path, rows: str, message: str) -> None:
    write_files(tmp_path / "inbox", {"a.txt": "a", "table.csv": TABLE + rows})
    with pytest.raises(InputError, match=f"no row of the table table.csv .*{message}"):
        run_ingest(tmp_path, make_params(table="table.csv"))


def test_a_row_that_cannot_be_used_is_a_dropped_row(tmp_path: Path) -> None:
    rows = "gone.txt,,,,,,,,\na.txt,one,,,,,,,\na.txt,,,,,soon,,,\na.txt,,\n,,,,,,,,\n"
    write_files(tmp_path / "inbox", {"a.txt": "a", "table.csv": TABLE + rows})
    result = run_ingest(tmp_path, make_params(table="table.csv"))
    assert [row["label"] for row in result.rows] == ["one"]
    assert {part.key: str(part.reason) for part in result.parts} == {
        "table.csv:2": "missing_file",
        "table.csv:4": "unreadable",
        "table.csv:5": "unreadable",
        "table.csv:6": "unreadable",
    }
    assert {part.setting for part in result.parts} == {"ingest.table"}
