"""Test the comparison of fusions on the demo, on a toy."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.demo_table import Comparison, format_page, measure_all, score
from pipeline.models.determinism import deterministic_mode
from pipeline.tables.contracts import SHARDS_FOLDER
from pipeline.tasks.metrics.scores import compute_f1
from pipeline.tasks.metrics.tally import average_macro, count_classes
from tests.support.factory_shards import Toy, make_shards
from tests.train.test_train import make_params

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with deterministic_mode(seed=0, threads=1):
        yield


def test_each_fusion_is_compared_with_every_subset_and_a_run_goes_on_where_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_shards(tmp_path / SHARDS_FOLDER, Toy(test=19))
    params = make_params(epochs=1, modalities=("image", "text"), fusion="concat")
    measured = measure_all(tmp_path, params, ["mean", "concat"], 2, tmp_path / "work")
    assert list(measured.fusions) == ["concat", "mean"]
    assert list(measured.alone) == [("image",), ("text",)]
    for found in (*measured.fusions.values(), measured.alone):
        assert {predicted.shape for predicted in found.values()} == {(2, 19)}
    page = format_page(measured, params, ["A machine."])
    assert page.count("\n| concat |") == 1
    assert page.count("\n| mean |") == 2
    capsys.readouterr()
    again = measure_all(tmp_path, params, ["mean", "concat"], 2, tmp_path / "work")
    assert capsys.readouterr().err == ""
    assert format_page(again, params, ["A machine."]) == page


def test_a_score_with_weights_is_that_of_the_repeated_samples() -> None:
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(4, size=50), rng.integers(4, size=(2, 50))
    weights = rng.integers(3, size=(3, 50)).astype(float)
    found = score(truth, predicted, weights)
    for row, counts in enumerate(weights.astype(int)):
        tallies = [count_classes(truth.repeat(counts), one.repeat(counts), 4) for one in predicted]
        assert found[row] == pytest.approx([float(average_macro(compute_f1, tally)) for tally in tallies])


def test_differences_are_paired() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(4, size=200)
    one = np.where(rng.random((3, 200)) < 0.7, truth, 0)
    compare = Comparison(truth, 3)
    assert compare.subtract(one, one) == (0, 0, 0)
    better = np.where(rng.random((3, 200)) < 0.2, truth, one)
    difference, low, high = compare.subtract(better, one)
    assert 0 < low < difference < high
    assert difference == pytest.approx((compare.score(better) - compare.score(one)).mean())
