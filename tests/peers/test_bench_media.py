"""The benchmark of media: every reader that is installed reads each file once and is on the page."""

import subprocess
import sys
from pathlib import Path

from benchmarks.media.measure import find_missing
from benchmarks.media.readers import READERS
from benchmarks.media.report import TARGETS

CHECKOUT = Path(__file__).parents[2]


def test_a_round_of_a_tiny_benchmark(tmp_path: Path) -> None:
    options = ["--scale", "0.01", "--epochs", "1", "--note", "tiny sets"]
    paths = ["--data", str(tmp_path / "data"), "--result", str(tmp_path / "media.md")]
    command = [sys.executable, "-m", "benchmarks.bench_media", *options, *paths]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "media.md").read_text(encoding="utf-8")
    assert page == done.stdout
    assert "\n- tiny sets\n" in page
    missing = find_missing()
    for medium, readers in READERS.items():
        table = page.partition(f"\n## {medium.capitalize()}\n")[2].partition("\n## ")[0]
        for name, reader in readers.items():
            left_out = f"- Left out: {name}. " if reader.module in missing else f"- Left out: {medium}, {name}. "
            assert f"\n| {name} |" in table or (left_out in page and reader.module != "shardwright"), done.stderr


def test_targets_are_of_readers_that_are_measured() -> None:
    for target in TARGETS:
        assert {target.ours, *target.others} <= READERS[target.medium].keys()
