"""The loader's benchmark: limits that copy the content of the shards, and ratios that are compared with targets."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.support.limits import open_memcpy, open_raw
from benchmarks.support.loader_report import Case, Measured, Run, format_report, list_checks
from benchmarks.support.make_tensors import FORMATS, SIZES, make_sample, sum_labels
from benchmarks.support.peers import Reading, open_shardwright
from benchmarks.support.read_tensors import Rates, measure

pytestmark = pytest.mark.slow

SAMPLES = 23
SIZE = SIZES["small"]


@pytest.fixture(scope="module", params=["shardwright", "webdataset"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tensors") / str(request.param)
    FORMATS[request.param](root, SIZE, SAMPLES)
    return root


@pytest.mark.parametrize("shuffle", [True, False])
def test_memcpy_delivers_each_sample_once(folder: Path, shuffle: bool) -> None:
    labels = [label for batch in open_memcpy(folder, SIZE, 5, shuffle)() for label in batch.tolist()]
    expected = [make_sample(SIZE, number)["label"] for number in range(SAMPLES)]
    assert sum(labels) == sum_labels(SAMPLES)
    assert (sorted(labels) if shuffle else labels) == (sorted(expected) if shuffle else expected)
    assert measure(open_memcpy(folder, SIZE, 5, shuffle), SAMPLES, 0).later > 0


def test_the_loader_and_the_plain_read_are_measured(tmp_path: Path) -> None:
    FORMATS["shardwright"](tmp_path, SIZE, SAMPLES)
    for epoch in (open_raw(tmp_path, SAMPLES), open_shardwright(Reading(tmp_path, 5, True, 0))):
        assert measure(epoch, SAMPLES, 0).first > 0
    with pytest.raises(AssertionError, match="23 samples"):
        measure(open_raw(tmp_path, SAMPLES), SAMPLES + 1, 0)


def test_the_same_number_gives_the_same_sample() -> None:
    one, other = make_sample(SIZE, 7), make_sample(SIZE, 7)
    assert sum(np.asarray(array).nbytes for array in one.values()) == SIZE.nbytes
    assert all(np.array_equal(one[name], other[name]) for name in one)


def make_measured(ours: float) -> Measured:
    measured = Measured(first_batch=[0.2, 0.01, 0.02], opening={10: 1.0, 100: 1.0, 1000: 10.0}, memory=[9, 10, 10, 10])
    measured.chosen_threads["large"] = 2
    rates = {"shardwright": ours, "webdataset": 100.0, "LitData": 50.0, "memcpy": 2000.0}
    for reader, rate in rates.items():
        form = "webdataset" if reader == "webdataset" else "shardwright"
        for run in [Run(Case(reader, form, 2), "large", shuffle) for shuffle in (True, False)]:
            measured.add(run, Rates(rate / 4, rate, 0.1))
            measured.add(run, Rates(rate / 2, rate / 2, 0.2))  # a worse round changes only what was better in it
    return measured


def test_ratios_are_of_the_best_figures() -> None:
    values = [check.value for check in list_checks(make_measured(3000))]
    assert values == [30, 60, 1.5, 15, 30, None, 1, None, 0.02, pytest.approx(1), 1]


def test_the_page_says_what_was_met_and_what_was_not_measured() -> None:
    measured = make_measured(1900)
    measured.left_out["HF datasets"] = "ModuleNotFoundError: No module named 'datasets'"
    page = format_report(measured, {"large": 8000, "small": 40_000}, ["a machine"])
    assert "| shuffled: webdataset, 2 workers | 19 × | ≥ 20 × (aim 30) | **no** |" in page
    assert "| shuffled: the best of MosaicML Streaming, LitData and HF datasets | 38 × | ≥ 16 × | yes |" in page
    assert "| small samples, shuffled: webdataset, 2 workers | not measured | ≥ 60 × (aim 90) | |" in page
    assert "- HF datasets is left out. ModuleNotFoundError: No module named 'datasets'" in page
    assert "| shardwright, 2 threads | 1,900 | 1,900 | 950 | 100 ms |" in page
