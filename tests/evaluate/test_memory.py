"""What measuring and reporting allocate hardly grows with the number of samples, and no column is lost on its way."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.evaluate.column_files import open_columns
from pipeline.evaluate.report import write_csv
from pipeline.tables.table_files import GROUP_ROWS, write_batches
from pipeline.tasks.classification import CLASSIFICATION, ClassPlan
from pipeline.tasks.task import Predictions

pytestmark = pytest.mark.slow

PLAN = ClassPlan(("image",), tuple(f"class {number}" for number in range(10)), (1,) * 10)


def make_predictions(folder: Path, samples: int) -> Predictions:
    """Random predictions, most of them wrong, whose keys and columns are on disk."""
    rng = np.random.default_rng(samples)
    keys = np.lib.format.open_memmap(folder / "keys.npy", "w+", np.dtype("S64"), (samples,))
    keys[:] = [f"sample-{number}".encode() for number in range(samples)]
    dtypes = CLASSIFICATION.list_columns(PLAN)
    with open_columns(folder, dtypes) as columns:
        columns.append(
            {
                name: rng.integers(0, 10, samples) if dtype.kind == "u" else rng.random((samples, *dtype.shape))
                for name, dtype in dtypes.items()
            }
        )
        scores = dict.fromkeys(CLASSIFICATION.scores, 0.1)
        return Predictions(np.asarray(keys), {("image",): scores}, columns.map())


def measure_peak(folder: Path, samples: int) -> int:
    """Return the most bytes that Python and NumPy had allocated for measuring and for writing the tables."""
    folder.mkdir()
    predictions = make_predictions(folder, samples)
    tracemalloc.start()
    try:
        metrics = CLASSIFICATION.measure(predictions, PLAN, "test")
        report = CLASSIFICATION.build_report(predictions, PLAN, metrics, 12)
        write_batches(folder / "predictions", report.predictions, report.columns)
        table = report.tables["confusion"]
        write_csv(folder / "confusion.csv", list(table.columns), table.rows)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_sample_more_costs_less_than_fifty_bytes(tmp_path: Path) -> None:
    few, many = GROUP_ROWS, 3 * GROUP_ROWS
    measure_peak(tmp_path / "first", 10)  # imports libraries
    growth = measure_peak(tmp_path / "many", many) - measure_peak(tmp_path / "few", few)
    assert growth / (many - few) < 50


@pytest.mark.parametrize("batches", [[], [3], [1, 4, 2]])
def test_columns_are_read_back_as_they_were_appended(tmp_path: Path, batches: list[int]) -> None:
    dtypes = {"number": np.dtype(np.uint8), "scores": np.dtype((np.float16, (2, 3)))}
    rng = np.random.default_rng(0)
    appended: dict[str, list[NDArray[np.float64]]] = {
        "number": [rng.integers(0, 256, size).astype(np.float64) for size in batches],
        "scores": [rng.random((size, 2, 3)) for size in batches],
    }
    with open_columns(tmp_path, dtypes) as columns:
        for number in range(len(batches)):
            columns.append({name: arrays[number] for name, arrays in appended.items()})
        mapped = columns.map()
    for name, dtype in dtypes.items():
        empty = np.zeros((0, *dtype.shape))
        expected = np.concatenate([empty, *appended[name]]).astype(dtype.base)
        assert mapped[name].dtype == dtype.base
        np.testing.assert_array_equal(mapped[name], expected)
