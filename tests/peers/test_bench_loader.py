"""The loader's benchmark: every peer and limit delivers each sample once and is on the page."""

import subprocess
import sys
from pathlib import Path

from benchmarks.support.loader_report import OTHERS
from benchmarks.support.peers import PEERS, find_peers

CHECKOUT = Path(__file__).parents[2]


def test_a_round_of_a_tiny_benchmark(tmp_path: Path) -> None:
    sizes = ["--samples", "130", "--small-samples", "70", "--rounds", "1", "--seconds", "0"]
    paths = ["--data", str(tmp_path / "data"), "--result", str(tmp_path / "loader.md"), "--note", "a tiny set"]
    command = [sys.executable, "-m", "benchmarks.bench_loader", *sizes, *paths]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "loader.md").read_text(encoding="utf-8")
    assert page == done.stdout
    assert "\n- a tiny set\n" in page
    for name, found in find_peers().items():
        if "missing" in found:
            assert f"- {name} is left out. {found['missing']}" in page
        else:
            assert all(f"| {name}, {workers} workers |" in page for workers in PEERS[name].workers), done.stderr
    for name in (
        "read, our shards",
        "memcpy, our shards",
        *(f"shardwright, {threads} threads" for threads in (0, 1, 2)),
    ):
        assert f"| {name} |" in page


def test_the_peers_of_the_report_are_those_that_run() -> None:
    assert {"webdataset", *OTHERS} == set(PEERS)
