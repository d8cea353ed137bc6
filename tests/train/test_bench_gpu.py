"""The benchmark of training on a GPU runs to its page, on the CPU at a small size."""

import sys
from pathlib import Path

import pytest

from benchmarks import bench_gpu

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


def test_it_writes_its_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ["--device", "cpu", "--encoder", "cnn", "--side", "24", "--samples", "24", "--batch", "8", "--epochs", "2"]
    monkeypatch.setattr(sys, "argv", ["bench_gpu", *sizes, "--out", str(tmp_path / "page.md")])
    monkeypatch.setattr(bench_gpu, "PRODUCTS", 1)
    bench_gpu.main()
    page = (tmp_path / "page.md").read_text()
    assert capsys.readouterr().out.endswith(page)
    rows = {
        cells[1].strip(): [cell.strip() for cell in cells[2:4]]
        for line in page.splitlines()
        if (cells := line.split("|"))[2:]
    }
    assert rows["the same bits again"] == rows["the same bits after a stop"] == ["yes", "yes"]
    assert set(rows) >= set(bench_gpu.ROWS)
