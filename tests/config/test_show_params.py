"""Check `shardwright params`: all values with their meaning, as a params file that reads as the one that it shows."""

from pathlib import Path

import pytest

from pipeline.config.check_params import read_effective_params, read_params
from pipeline.config.show_params import run as show_params

ROOT = Path(__file__).parents[2]
PARAMS_FILES = [ROOT / "params.yaml", *sorted((ROOT / "examples").glob("*.yaml"))]


@pytest.mark.parametrize("path", PARAMS_FILES, ids=lambda path: path.name)
def test_what_is_shown_is_a_params_file_of_the_same_values(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert show_params(["--params", str(path)]) == 0
    (tmp_path / "shown.yaml").write_text(capsys.readouterr().out)
    assert read_effective_params(tmp_path / "shown.yaml") == read_effective_params(path)
    shown = read_params(tmp_path / "shown.yaml")
    assert [*shown, *shown["run"]] == [*read_effective_params(path), *read_effective_params(path)["run"]]


def test_every_line_has_its_meaning_and_what_differs_is_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(
        """
clean: {image: {min_side: 17}}
align: {by: pattern, modalities: {text: {pattern: '(?P<key>.+)\\.txt', required: true}}, salt: "on", classes: ["null"]}
extract: {text: {frozen: {path: a b.json, sha256: "%s"}}}
run: {memory: 1 GB}
"""
        % ("0" * 64)
    )
    assert show_params([]) == 2
    assert 'align.classes is ["null"]; it must be null, as align.label is none' in capsys.readouterr().err
    text = (tmp_path / "params.yaml").read_text().replace('classes: ["null"]', "label: column")
    (tmp_path / "params.yaml").write_text(text)
    assert show_params([]) == 0
    lines = capsys.readouterr().out.splitlines()
    notes = [line for line in lines if line.startswith("#")]
    assert notes[0].startswith("# params.yaml lacks a key that dvc.yaml watches: add `crawl: {lists_folder: lists}`")
    assert len(notes) == 4  # crawl, ingest, train, evaluate
    assert all(" # " in line and len(line.split(" # ", 1)[1]) > 2 for line in lines if line not in notes)
    marked = {line.split(":")[0].strip() for line in lines if "[default: " in line}
    assert marked == {"min_side", "by", "modalities", "label", "pattern", "salt", "frozen", "memory"}
    assert any("min_side: 17" in line and "[default: 16] " in line for line in lines)


def test_a_file_that_is_wrong_or_missing_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert show_params(["--params", str(tmp_path / "none.yaml")]) == 2
    output = capsys.readouterr()
    assert (output.out, output.err.count("\n")) == ("", 1)
    assert "none.yaml is missing" in output.err
