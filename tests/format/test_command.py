"""The verbs of the command `shardwright`: what they print, their exit status, and their errors."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from shardwright import (
    Field,
    ShardWriter,
    read_manifest,
)
from shardwright.cli.main import VERBS, main, run_verb
from shardwright.cli.terminal import escape_controls
from tests.support.loader.sets import flip_bit
from tests.support.shard_samples import SMALL_FIELDS, write_small
from tests.support.small_sets import write_set

pytestmark = pytest.mark.slow

ROOT_NAME = "ROOT"
SECOND = "train/train-000001.tar"


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read-only."""
    return write_set(tmp_path_factory.mktemp("intact"), SMALL_FIELDS)


@pytest.fixture
def root(intact: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(intact, tmp_path / "copy"))


def test_verify_prints_ok_or_the_problems(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(root)]) == 0
    assert capsys.readouterr().out.startswith("ok: 26 samples in 5 shards")
    flip_bit(root / SECOND, 8 * 700)
    assert main(["verify", str(root)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{SECOND}: train-006: image.npy: its crc32 is")
    assert lines[1].startswith("1 problem: ")


def test_info_ls_and_show(intact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(intact)]) == 0
    output = capsys.readouterr().out
    for text in (read_manifest(intact).hash, "train: 20 samples in 4 shards", "mfcc: float32 (4, 6), CT"):
        assert text in output
    assert main(["ls", str(intact)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (len(lines), lines[6]) == (26, "train/train-000001.tar/train-006")
    assert main(["ls", str(intact), "--split", "val"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 6
    assert main(["show", str(intact), "val-003"]) == 0
    output = capsys.readouterr().out
    assert output.startswith("val/val-000000.tar/val-003\nimage: uint8 (5, 7, 3), min ")
    assert '"n": 3' in output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["info", "ROOT/nowhere"], "nowhere/dataset.json: missing; give the folder of a dataset"),
        (["verify", "ROOT/nowhere"], "is not a folder"),
        (["show", "ROOT", "nobody"], "no split has a sample 'nobody'"),
        (["ls", "ROOT", "--split", "test"], "no split 'test'"),
        (["weigh", "ROOT"], "unknown verb 'weigh'"),
        (["index", "ROOT/nowhere"], "nowhere"),
        (["bench", "ROOT", "--batch-size", "0"], "batch_size"),
    ],
)
def test_an_error_is_one_line_on_stderr(
    intact: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main([word.replace(ROOT_NAME, str(intact)) for word in words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert len(captured.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["verify"], "ROOT"),
        (["info", "s3://user:key@bucket/set"], "ROOT: s3://bucket/set is a URL; it must be a folder"),
    ],
)
def test_a_wrong_command_line_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_help_lists_all_verbs_and_version_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    for word, shown in (("--help", [*VERBS, "why", "diff"]), ("--version", ["shardwright 0."])):
        with pytest.raises(SystemExit) as caught:
            main([word])
        assert caught.value.code == 0
        output = capsys.readouterr().out
        assert all(text in output for text in shown)


def test_verbs_of_other_packages_are_found_by_entry_point(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "added_verbs.py").write_text("def run(words):\n    print('ran', *words)\n    return 7\n")
    metadata = tmp_path / "added-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: added\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[shardwright.commands]\nadded = added_verbs:run\nlost = not_installed.anywhere:run\n"
    )
    sys.path.insert(0, str(tmp_path))
    try:
        assert main(["added", "a", "--b"]) == 7
        assert capsys.readouterr().out == "ran a --b\n"
        assert main(["lost"]) == 2
        assert "not_installed, which is not installed" in capsys.readouterr().err
    finally:
        sys.path.remove(str(tmp_path))


def test_control_sequences_in_data_are_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ShardWriter(tmp_path, "train", {"n": Field("int64", ())}, classes=["\x1b[2J\n"]) as writer:
        writer.write("a", {"n": 1}, {"caption": "\x9b31m \u202e back"})
    assert main(["info", str(tmp_path)]) == 0
    assert main(["show", str(tmp_path), "a"]) == 0
    output = capsys.readouterr().out
    assert all(character == "\n" or character.isprintable() for character in output)
    assert escape_controls("é\x1b\n") == "é\\x1b\\n"


@pytest.mark.parametrize(
    ("words", "line"), [(f"ls {ROOT_NAME}", "train/train-000000.tar/train-000\n"), ("--help", None), ("ls -h", None)]
)
def test_output_that_is_piped_into_head_is_no_error(intact: Path, words: str, line: str | None) -> None:
    code = "import sys; from shardwright.cli.main import main; sys.exit(main())"
    command = f"{sys.executable} -c '{code}' {words.replace(ROOT_NAME, str(intact))} | head -n 1"
    checkout = Path(__file__).parents[2]
    run = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, cwd=checkout)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == line or (line is None and run.stdout.startswith("usage: shardwright"))


def test_output_to_a_closed_pipe_is_no_error(intact: Path) -> None:
    code = "import sys; from shardwright.cli.main import main; sys.exit(main(sys.argv[1:]))"
    for words in (["--help"], ["ls", str(intact)], ["info", str(intact)], ["verify", str(intact)]):
        reader, writer = os.pipe()
        os.close(reader)
        command = [sys.executable, "-c", code, *words]
        run = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, cwd=Path(__file__).parents[2])
        os.close(writer)
        assert (run.returncode, run.stderr) == (0, b""), words


def test_an_interrupt_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def stop() -> int:
        raise KeyboardInterrupt

    assert run_verb(stop) == 130
    assert capsys.readouterr().err == "shardwright: interrupted\n"


def test_images_are_written_as_png_files_with_the_same_pixels(tmp_path: Path) -> None:
    import cv2

    samples = write_small(tmp_path, 3)
    assert main(["show", str(tmp_path), samples[1].key, "--png", str(tmp_path / "images")]) == 0
    (path,) = (tmp_path / "images").iterdir()
    pixels = cv2.imread(str(path))
    assert pixels is not None
    np.testing.assert_array_equal(pixels[:, :, ::-1], samples[1].arrays["image"])


def test_several_images_are_written_without_the_padding(tmp_path: Path) -> None:
    view = Field("uint8", (3, 4, 5, 3), axes="NHWC")
    with ShardWriter(tmp_path, "train", {"view": view, "view_count": Field("int32", ())}) as writer:
        writer.write("a", {"view": np.zeros((3, 4, 5, 3), np.uint8), "view_count": 2})
    assert main(["show", str(tmp_path), "a", "--png", str(tmp_path / "images")]) == 0
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == ["a.view.0.png", "a.view.1.png"]


def test_bench_reports_the_rate_of_each_way_to_read_and_the_bottleneck(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_small(tmp_path, 20)
    assert main(["bench", str(tmp_path), "--seconds", "0", "--batch-size", "4"]) == 0
    output = capsys.readouterr().out
    assert all(f"threads={count}" in output for count in (0, 1, 2))
    assert "read(), again" in output
    assert "does not wait for data" in output


def test_webdataset_tars_are_indexed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_small(tmp_path / "set", 20)
    assert main(["index", str(tmp_path / "set" / "train"), "--cache", str(tmp_path / "cache")]) == 0
    assert capsys.readouterr().out.startswith("20 samples in 4 shards")
    assert main(["index", str(tmp_path / "none"), "--cache", str(tmp_path / "cache")]) == 2
