"""`shardwright clean --dry-run`: what each rule would drop, and nothing is written."""

import shutil
from pathlib import Path

import pytest

from pipeline.dry_run.command import run
from tests.support.cleaning import ROOT, draw_image, encode_image, hash_folder, ingest_files, make_things


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    files = make_things(3)
    files["tiny.png"] = encode_image(draw_image(5, 8), "png")
    files["cut.wav"] = files["000.wav"][:2000]
    ingest_files(tmp_path, files)
    shutil.copyfile(ROOT / "params.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_each_rule_is_named_with_examples(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = hash_folder(project / "data")
    assert run(["--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "clean would drop 2 of 11 items (18.2%); nothing is written"
    assert "        1  clean.image.min_side 16: pixels of the shorter side, by the header" in lines
    assert "             folder:tiny.png (8)" in lines
    assert "        1  truncated: fewer samples than declared" in lines
    assert lines[lines.index("kept, by source") + 1 :] == [
        "    75.0%  folder: 3 of 4 audio",
        "    75.0%  folder: 3 of 4 image",
        "   100.0%  folder: 3 of 3 text",
    ]
    assert {name: sha for name, sha in hash_folder(project / "data").items() if name != ".lock"} == before


def test_limits_can_be_tried(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--dry-run", "--examples", "1", "-S", "clean.image.min_side=100", "-S", "clean.max_dropped=0.1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "        4  clean.image.min_side 100: pixels of the shorter side, by the header"
    assert [line.strip() for line in lines[2:4]][1].startswith("1  ")


def test_wrong_params_are_named(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--dry-run", "-S", "clean.image.min_sid=100"]) == 2
    assert "clean.image.min_sid is not a known key; did you mean min_side?" in capsys.readouterr().err
