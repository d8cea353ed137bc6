"""Test that every file is listed with its hash, read once, and that what cannot be read is a row with its reason."""

import hashlib
import os
import shutil
import socket
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.inputs.read_file import hash_file
from pipeline.list import known_hashes, step
from pipeline.list.step import list_inputs
from pipeline.list.walk_folder import MAX_COUNTED
from pipeline.tables.columns import Row
from pipeline.tables.contracts import LISTED, LISTED_FILES
from pipeline.tables.item_names import escape_name
from pipeline.tables.table_files import read_table
from tests.support.ingesting import make_params, make_workspace, run_ingest, write_files
from tests.support.stage_folders import hash_folder


@pytest.fixture(autouse=True)
def files_are_never_young() -> Any:
    with patch.object(known_hashes, "YOUNG_NS", -(10**12)):
        yield


def run_list(folder: Path, **params: Any) -> list[Row]:
    """List `inbox` and return the rows; the outputs of an earlier run are removed."""
    shutil.rmtree(folder / "0_listed", ignore_errors=True)
    chosen = make_params(**{"root": str(folder / "inbox"), **params})
    list_inputs(chosen, make_workspace(folder)).check()
    return read_table(folder / LISTED_FILES, LISTED)


def count_reads(folder: Path, **params: Any) -> int:
    """List again and return how many files were read."""
    with patch("pipeline.list.hash_files.hash_file", wraps=hash_file) as read:
        run_list(folder, **params)
    return read.call_count


NAMES = st.binary(min_size=1, max_size=12).filter(lambda name: not {47, 0} & {*name} and name not in (b".", b".."))


@settings(max_examples=8)
@given(files=st.dictionaries(NAMES, st.binary(max_size=30), max_size=6), limit=st.sampled_from([3, 10_000]))
def test_names_sizes_and_hashes_are_those_of_the_files(files: dict[bytes, bytes], limit: int) -> None:
    with TemporaryDirectory() as place:
        folder = Path(place)
        for name, content in files.items():
            (folder / "inbox/d").mkdir(parents=True, exist_ok=True)
            Path(os.fsdecode(os.fsencode(folder / "inbox/d") + b"/" + name)).write_bytes(content)
        (folder / "inbox").mkdir(exist_ok=True)
        with patch.object(step, "RANGE_FILES", limit):
            rows = run_list(folder, ignore=[])
    found = {row["file"]: (row["size"], row["sha256"], row["reason"]) for row in rows}
    assert found == {
        f"d/{escape_name(name)}": (len(content), hashlib.sha256(content).hexdigest(), None)
        for name, content in files.items()
    }
    assert list(found) == sorted(found, key=str.encode)


def test_only_new_and_changed_files_are_read(tmp_path: Path) -> None:
    root = write_files(tmp_path / "inbox", {f"{number}.txt": f"text {number}" for number in range(5)})
    assert count_reads(tmp_path) == 5
    before = hash_folder(tmp_path / "0_listed")
    assert count_reads(tmp_path) == 0
    os.utime(root / "1.txt", (1, 1))
    assert count_reads(tmp_path) == 1
    assert hash_folder(tmp_path / "0_listed") == before  # the listing depends on the contents alone
    (root / "2.txt").write_text("text 9")  # of the same size
    (root / "3.txt").rename(root / "6.txt")
    write_files(root, {"7.txt": "new"})
    (root / "0.txt").unlink()
    assert count_reads(tmp_path) == 3
    contents = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in root.iterdir()}
    assert {row["file"]: row["sha256"] for row in run_list(tmp_path)} == contents


def test_young_files_are_read_again(tmp_path: Path) -> None:
    write_files(tmp_path / "inbox", {"a.txt": "a"})
    with patch.object(known_hashes, "YOUNG_NS", 10**12):
        assert count_reads(tmp_path) == 1
        assert count_reads(tmp_path) == 1
    assert count_reads(tmp_path) == 0


def test_damaged_hashes_are_computed_anew(tmp_path: Path) -> None:
    write_files(tmp_path / "inbox", {"a.txt": "a"})
    rows = run_list(tmp_path)
    (known,) = (tmp_path / "cache/listed").iterdir()
    content = known.read_bytes()
    for damaged in (b"", content[:50], content[:-50], b"x" * 200):
        known.write_bytes(damaged)
        assert run_list(tmp_path) == rows


def test_what_is_no_file_is_a_row_and_nothing_waits(tmp_path: Path) -> None:
    root = write_files(tmp_path / "inbox", {"in/a.txt": "a"})
    (tmp_path / "secret.txt").write_text("not yours")
    for name, target in {
        "out": "../secret.txt",
        "self": "self",
        "nothing": "nowhere",
        "up": "..",
        "also": "in/a.txt",
    }.items():
        (root / name).symlink_to(target)
    os.mkfifo(root / "fifo")
    (root / "to fifo").symlink_to("fifo")
    (root / "to device").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "socket"))
        follow = {row["file"]: row["detail"] for row in run_list(tmp_path, links="follow") if row["reason"]}
        rows = run_list(tmp_path)
    assert {row["file"]: row["detail"] for row in rows if row["reason"] == "not_a_file"} == {
        "out": "a link to something outside the folder",
        "self": "a link to nothing",
        "nothing": "a link to nothing",
        "up": "a link to something outside the folder",
        "fifo": "a FIFO",
        "to fifo": "a FIFO",
        "to device": "a link to something outside the folder",
        "socket": "a socket",
    }
    assert {row["file"]: row["link"] for row in rows if row["reason"] is None} == {"in/a.txt": None, "also": "in/a.txt"}
    assert {name: detail for name, detail in follow.items() if "/" not in name} == {
        "self": "a link to nothing", "nothing": "a link to nothing", "fifo": "a FIFO", "to fifo": "a FIFO",
        "to device": "a device", "socket": "a socket",
    }  # fmt: skip
    assert follow["up/inbox"] == "a link to a folder that it is in"


def test_links_are_followed_where_the_params_say_so(tmp_path: Path) -> None:
    """The layout of the Hugging Face cache, a class that is a link, and folders that link to each other."""
    write_files(tmp_path / "hub", {"blobs/0": "zero", "blobs/1": "one"})
    root = write_files(tmp_path / "inbox", {"cat/a.txt": "a"})
    (root / "snapshot").mkdir()
    for number in "01":
        (root / "snapshot" / f"{number}.txt").symlink_to(f"../../hub/blobs/{number}")
    write_files(tmp_path / "all", {"dog/b.txt": "b"})
    (root / "dog").symlink_to("../all/dog")
    (tmp_path / "all/dog/back").symlink_to(root)
    followed = run_ingest(tmp_path, make_params(links="follow"))
    assert [row["file"] for row in followed.rows] == ["cat/a.txt", "dog/b.txt", "snapshot/0.txt", "snapshot/1.txt"]
    assert followed.reasons == {"folder:dog/back": "not_a_file"}
    refused = run_ingest(tmp_path, make_params())
    assert [row["file"] for row in refused.rows] == ["cat/a.txt"]
    names = ("dog", "snapshot/0.txt", "snapshot/1.txt")
    assert refused.read_settings() == {f"folder:{name}": "ingest.links" for name in names}
    shutil.rmtree(refused.data / "0_listed")
    outcome = list_inputs(make_params(root=str(root)), make_workspace(refused.data))
    assert "4 of these are behind links, which ingest.links: follow would read" in outcome.notes


def test_files_behind_links_that_are_not_followed_are_counted(tmp_path: Path) -> None:
    root = write_files(tmp_path / "inbox", {"cat/a.txt": "a"})
    write_files(tmp_path / "all", {f"dog/{name}": name for name in ("a.txt", "b.txt", "more/c.txt", ".gitignore")})
    (root / "dog").symlink_to("../all/dog")
    (tmp_path / "empty").mkdir()
    (root / "empty").symlink_to("../empty")
    (root / "root").symlink_to("/")
    (root / "kitten").symlink_to("cat")  # its files are read as those of cat
    rows = {row["file"]: row for row in run_list(tmp_path)}
    assert {name: rows[name]["count"] for name in ("dog", "empty", "kitten")} == {"dog": 3, "empty": 1, "kitten": 1}
    assert rows["root"]["count"] <= MAX_COUNTED
    (root / "root").unlink()
    result = run_ingest(tmp_path, make_params())
    assert (result.outcome.seen, result.outcome.kept) == (6, 1)
    assert result.read_settings() == dict.fromkeys(("folder:dog", "folder:empty", "folder:kitten"), "ingest.links")
    assert "dog/a" not in str(result.drops)


def test_the_cache_of_hugging_face_is_read_without_following_other_links(tmp_path: Path) -> None:
    hub = write_files(tmp_path / "datasets--x--y", {"blobs/0": "zero", "blobs/1": "one", "refs/main": "abc"})
    snapshot = hub / "snapshots/abc"
    (snapshot / "data").mkdir(parents=True)
    (snapshot / "a.txt").symlink_to("../../blobs/0")
    (snapshot / "data/b.txt").symlink_to("../../../blobs/1")
    (snapshot / "data/c.txt").symlink_to("../../../refs/main")
    (hub / "blobs/2").symlink_to("/etc/hostname")
    (snapshot / "d.txt").symlink_to("../../blobs/2")
    for root, names in ((snapshot, ["a.txt", "data/b.txt"]), (snapshot / "data", ["b.txt"])):
        result = run_ingest(tmp_path, make_params(root=str(root)))
        assert [row["file"] for row in result.rows] == names
        dropped = {f"folder:{name}" for name in ("data/c.txt", "d.txt")} if root == snapshot else {"folder:c.txt"}
        assert set(result.read_settings()) == dropped


def test_names_that_are_not_data_are_counted_by_pattern(tmp_path: Path) -> None:
    files = ["a.txt", ".git/config", ".git/logs/HEAD", "b/.ipynb_checkpoints/x.txt", ".Trash-1000/y.txt", "._a.txt"]
    files += ["b/.DS_Store", ".DS_Store", "draft.tmp", "git/config.txt"]
    write_files(tmp_path / "inbox", dict.fromkeys(files, "CANARY"))
    ignore = list(type(make_params())().ignore)
    result = run_ingest(tmp_path, make_params(ignore=[*ignore, "*.tmp"]))
    assert [row["file"] for row in result.rows] == ["a.txt", "git/config.txt"]
    assert {part.key: part.count for part in result.parts} == {
        "folder:.git": 1, "folder:.ipynb_checkpoints": 1, "folder:.Trash*": 1, "folder:._*": 1, "folder:.DS_Store": 2,
        "folder:*.tmp": 1,
    }  # fmt: skip
    assert {part.setting for part in result.parts} == {"ingest.ignore"}
    assert (result.outcome.seen, result.drops) == (2, [])


def test_a_file_that_changed_since_it_was_listed_is_dropped(tmp_path: Path) -> None:
    root = write_files(tmp_path / "inbox", {"a.txt": "a", "b.txt": "b", "c.txt": "c"})

    def change() -> None:
        (root / "b.txt").write_text("x")
        (root / "c.txt").unlink()

    with patch("tests.support.ingesting.list_inputs", _list_and(change)):
        result = run_ingest(tmp_path, make_params())
    assert result.reasons == {"folder:b.txt": "changed_while_read", "folder:c.txt": "unreadable"}


def _list_and(change: Any) -> Any:
    def listed(*arguments: Any) -> Any:
        outcome = list_inputs(*arguments)
        change()
        return outcome

    return listed


def test_a_table_that_changed_since_it_was_listed_stops_the_run(tmp_path: Path) -> None:
    root = write_files(tmp_path / "inbox", {"a.txt": "a", "table.csv": "file,label\na.txt,x\n"})
    change = _list_and(lambda: (root / "table.csv").write_text("file,label\na.txt,y\n"))
    with (
        patch("tests.support.ingesting.list_inputs", change),
        pytest.raises(InputError, match=r"table\.csv changed since it was listed"),
    ):
        run_ingest(tmp_path, make_params(table="table.csv"))


def test_a_large_file_is_refused_unread(tmp_path: Path) -> None:
    write_files(tmp_path / "inbox", {"a.txt": "a"})
    with (tmp_path / "inbox/large").open("wb") as file:
        file.truncate((1 << 30) + 1)
    rows = {row["file"]: row for row in run_list(tmp_path)}
    assert (rows["large"]["reason"], rows["large"]["value"]) == ("too_large", str((1 << 30) + 1))


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@pytest.mark.slow
def test_a_folder_that_was_cloned_has_no_files_of_git(tmp_path: Path) -> None:
    root = write_files(tmp_path / "inbox", {"a.txt": "a", ".gitattributes": "*.png binary"})
    subprocess.run(["git", "init", "-q", "."], cwd=root, check=True)
    rows = run_list(tmp_path, ignore=list(type(make_params())().ignore))
    assert [row["file"] for row in rows if row["reason"] is None] == ["a.txt"]
