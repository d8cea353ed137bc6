"""`shardwright init` writes params that run, for each layout that people have their data in."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.check_params import check_all_blocks, read_params
from pipeline.init import command, survey
from pipeline.init.command import run as run_init
from pipeline.models.record import read_record
from pipeline.tables.contracts import ALIGNED_SAMPLES, SAMPLES
from pipeline.tables.table_files import read_table
from tests.init import docs_page
from tests.init.layouts import LAYOUTS, make_image, write
from tests.support.archives import make_tar, make_zip
from tests.support.loopback import Reply, serve
from tests.support.running import run_stages


def propose(path: Path, folder: Path, *words: str) -> dict[str, Any]:
    """Run `init` and return the blocks that it wrote, set to run in this process."""
    output = folder / "proposed.yaml"
    assert run_init([str(path), "--output", str(output), *words]) == 0
    blocks = read_params(output)
    check_all_blocks(blocks, str(output))
    return blocks | {"run": {"workers": 0, "progress": False}}


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYOUTS)
def test_what_is_proposed_runs(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = LAYOUTS[name](tmp_path / "mine")
    blocks = propose(tmp_path / "mine", tmp_path)
    printed = capsys.readouterr().out
    assert f"taken for: {expected.layout}" in printed
    run_stages(blocks, tmp_path, until="evaluate")
    samples = read_table(tmp_path / "data" / ALIGNED_SAMPLES, SAMPLES)
    assert len(samples) == expected.samples
    assert {row["label"] for row in samples} == set(expected.labels)
    splits = Counter(row["split"] for row in samples)
    assert splits == expected.splits if expected.splits else splits["train"] > 0
    metrics = json.loads((tmp_path / "data/7_report/metrics.json").read_text())
    assert metrics["samples"] == splits[blocks["evaluate"].get("split", "test")] > 0
    assert 0 <= metrics["accuracy"] <= 1


@pytest.mark.slow
def test_a_list_of_urls_is_fetched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [f"/{kind}/{number}.png" for kind in ("bell", "drum") for number in range(8)]
    write(tmp_path / "mine", "urls.txt", "".join(f"http://site.test{path}\n" for path in paths))
    (tmp_path / "none").mkdir()
    blocks = propose(tmp_path / "mine/urls.txt", tmp_path)
    assert "taken for: a list of URLs: urls.txt has 16 URLs of site.test" in capsys.readouterr().out
    with serve({path: Reply(make_image(number)) for number, path in enumerate(paths)}) as site:
        blocks["crawl"] |= {"hosts": {"site.test": site.address}, "delay": 0.0}
        blocks["ingest"]["root"] = str(tmp_path / "none")
        run_stages(blocks, tmp_path, until="evaluate")
    samples = read_table(tmp_path / "data" / ALIGNED_SAMPLES, SAMPLES)
    assert Counter(row["label"] for row in samples) == {"bell": 8, "drum": 8}
    assert read_record(tmp_path / "data/6_model").classes == ("bell", "drum")


def test_the_page_of_the_documentation_is_what_is_printed() -> None:
    assert docs_page.PAGE.read_text(encoding="utf-8") == docs_page.make_page()


def test_what_is_left_out_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    LAYOUTS["class_folders"](tmp_path / "mine")
    (tmp_path / "mine/.git").mkdir()
    write(tmp_path / "mine", "index.html", "<html>")
    write(tmp_path / "mine", "sizes.csv", "a,b\n1,2\n")
    propose(tmp_path / "mine", tmp_path)
    printed = capsys.readouterr().out
    assert "left out: 1 .docx: no format that is read" in printed
    assert "left out: 1 called .git" in printed
    assert "of no sample: 1 .txt: README.txt" in printed
    assert "not used: 1 page: index.html" in printed
    assert "not used: 1 table: sizes.csv" in printed


def test_changes_that_are_not_committed_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    LAYOUTS["class_folders"](tmp_path / "mine")
    monkeypatch.setattr(command, "has_changes", lambda path: True)
    output = tmp_path / "proposed.yaml"
    output.write_text("run:\n")
    words = [str(tmp_path / "mine"), "--output", str(output)]
    assert run_init(words) == 2
    assert "has changes that are not committed" in capsys.readouterr().err
    assert output.read_text() == "run:\n"
    assert run_init([*words, "--force"]) == 0
    assert "align:" in output.read_text()


@pytest.mark.parametrize("name", ["", "gone", "other.bin"])
def test_nothing_is_written_where_nothing_can_be_used(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other.bin").write_bytes(b"\0")
    assert run_init([str(tmp_path / name), "--output", str(tmp_path / "proposed.yaml")]) == 2
    assert str(tmp_path / name) in capsys.readouterr().err
    assert not (tmp_path / "proposed.yaml").exists()


def test_an_archive_is_taken_for_what_its_folder_is(tmp_path: Path) -> None:
    LAYOUTS["pairs"](tmp_path / "mine")
    files = {path.name: path.read_bytes() for path in (tmp_path / "mine").iterdir()}
    (tmp_path / "mine.zip").write_bytes(make_zip(files))
    (tmp_path / "mine.tar.gz").write_bytes(make_tar(files, "gz"))
    proposals = [propose(tmp_path / name, tmp_path, "--force")["align"] for name in ("mine", "mine.zip", "mine.tar.gz")]
    assert proposals[0]["by"] == "pattern"
    assert proposals == [proposals[0]] * 3


def test_tables_of_folders_that_share_names_are_kept_apart(tmp_path: Path) -> None:
    for split, count in {"train2017": 6, "val2017": 3}.items():
        rows = [{"file_name": f"{number}.png", "caption": f"image {number} of {split}"} for number in range(count)]
        write(tmp_path / "mine", f"annotations/captions_{split}.json", json.dumps(rows))
        for number in range(count):
            write(tmp_path / "mine", f"{split}/{number}.png", b"")
    blocks = propose(tmp_path / "mine", tmp_path)
    assert [table["folder"] for table in blocks["ingest"]["tables"]] == ["train2017", "val2017"]
    assert blocks["align"]["split"] == "path"
    assert blocks["align"]["parts"]["image"]["pattern"] == r"(?P<split>train|val)[^/]*/[^/]+\.png"
    assert blocks["evaluate"] == {"split": "val"}


def test_of_a_huge_folder_all_are_counted_and_some_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(survey, "MAX_NAMES", 50)
    for number in range(100):
        kind = ("bell", "drum")[number % 2]
        write(tmp_path / "mine", f"images/{kind}/{number}.png", b"")
        write(tmp_path / "mine", f"texts/{kind}/{number}.txt", b"word")
    blocks = propose(tmp_path / "mine", tmp_path)
    printed = capsys.readouterr().out
    assert "200 files" in printed
    assert "the names of 50 of them were looked at" in printed
    assert blocks["align"]["modalities"]["text"]["pattern"] == r"texts/(?P<key>(?P<label>[^/]+)/[^/]+)\.txt"
