"""Seeds, slices and leaks stand in the metrics, the summary and the page; both readers give the same bytes."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from pipeline.config.params import RunParams
from pipeline.errors import ParamsError
from pipeline.evaluate.leaks import find_leaks
from pipeline.evaluate.metadata import Categories, list_values
from pipeline.evaluate.seeds import summarize_seeds
from pipeline.evaluate.slices import MOST_VALUES, measure_slices
from pipeline.models.determinism import deterministic_mode
from pipeline.models.readers import READERS
from pipeline.tables.contracts import ALIGNED_SAMPLES, REPORT_FOLDER, SAMPLES
from pipeline.tables.table_files import read_table, write_table
from pipeline.tasks.classification import ClassPlan, tabulate
from pipeline.tasks.kept_predictions import read_kept
from pipeline.tasks.task import Predictions
from tests.evaluate.test_evaluate import make_trained, read_files, read_metrics, run_evaluate
from tests.support.factory_shards import Toy
from tests.support.stage_tables import AlignedSample, make_item, write_cleaned, write_items, write_samples

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with deterministic_mode(seed=0, threads=1):
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of three seeds, with its report sliced by label."""
    folder = make_trained(tmp_path_factory.mktemp("seeds"), Toy(train=24, test=12), epochs=2, seeds=[3, 1, 2])
    run_evaluate(folder, slices=["label"])
    return folder


def test_every_seed_is_measured(trained: Path) -> None:
    metrics = read_metrics(trained / REPORT_FOLDER)
    block = metrics["seeds"]["macro_f1"]
    assert list(block["values"]) == ["3", "1", "2"]
    assert block["values"]["3"] == pytest.approx(metrics["macro_f1"])
    assert block["mean"] == pytest.approx(np.mean(list(block["values"].values())))
    assert block["low"] <= block["mean"] <= block["high"]
    summary = json.loads((trained / REPORT_FOLDER / "summary.json").read_text())
    assert summary["seeds_macro_f1_std"] == block["std"]
    page = (trained / REPORT_FOLDER / "index.html").read_text()
    assert "<h2>Seeds</h2>" in page
    jsonschema.validate(metrics, json.loads((ROOT / "schemas/metrics.schema.json").read_bytes()))


def test_the_interval_over_seeds_is_that_of_student() -> None:
    from scipy import stats

    values = [0.81, 0.84, 0.8]
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    found = summarize_seeds(values)
    assert (found["low"], found["high"]) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))
    assert summarize_seeds([0.8, float("nan")])["mean"] is None


def test_slices_are_the_scores_of_their_samples(trained: Path) -> None:
    block = read_metrics(trained / REPORT_FOLDER)["slices"]["label"]
    assert {name: values["samples"] for name, values in block.items()} == dict.fromkeys(
        ("bell", "drum", "horn", "wind"), 3
    )
    of_class = read_metrics(trained / REPORT_FOLDER)["per_class"]
    for name, values in block.items():
        assert values["accuracy"] == pytest.approx(of_class[name]["recall"])
        assert values["accuracy_low"] <= values["accuracy"] <= values["accuracy_high"]
    assert "<h2>By label</h2>" in (trained / REPORT_FOLDER / "index.html").read_text()


def test_a_column_that_is_not_there_is_refused_with_those_that_are(trained: Path) -> None:
    with pytest.raises(ParamsError, match=r"evaluate.slices has colour; it must name .* the samples: caption, file"):
        run_evaluate(trained, "colour", slices=["colour"])


def test_a_column_that_tells_samples_apart_is_refused() -> None:
    count = MOST_VALUES + 1
    predictions = Predictions(
        np.zeros(count, "S1"), {}, {"truth": np.zeros(count, int), "prediction": np.zeros(count, int)}
    )
    columns = {"file": Categories(np.arange(count), tuple(map(str, range(count))))}
    plan = ClassPlan(("image",), ("a",), (1,))
    with pytest.raises(ParamsError, match=f"evaluate.slices has file, which has {count} values"):
        measure_slices(lambda chosen: tabulate(chosen, plan), predictions, columns)


def test_columns_of_items_are_named_by_part_and_together() -> None:
    items = {"photo": {"source": "b", "language": "de"}, "notes": [{"source": "a"}, {"source": "a"}]}
    found = dict(list_values({"key": "k", "label": "x", "items": items}))
    assert found == {
        "label": "x", "photo.source": "b", "photo.language": "de", "notes.source": "a", "source": "b + a",
        "language": "de",
    }  # fmt: skip


def test_what_is_kept_gives_the_scores_again(trained: Path) -> None:
    kept = read_kept(trained / REPORT_FOLDER)
    task = kept.find_task()
    assert task.tabulate is not None
    assert (
        task.tabulate(kept.predictions, kept.plan).score()["accuracy"]
        == read_metrics(trained / REPORT_FOLDER)["accuracy"]
    )


@pytest.mark.parametrize("reader", READERS)
def test_two_evaluations_give_the_same_bytes(trained: Path, reader: str) -> None:
    run_evaluate(trained, reader, reader=reader, slices=["label"])
    assert read_files(trained / reader / REPORT_FOLDER) == read_files(trained / REPORT_FOLDER)


def make_tables(data: Path, same: list[list[str]]) -> None:
    """Two samples in each of two splits, a caption and an image each."""
    names = [f"{kind}{number}" for kind in ("image", "text") for number in range(4)]
    items = write_items(data, [make_item(name) for name in names])
    write_cleaned(data, items, same)
    samples = [
        AlignedSample(f"key{n}", {"image": [f"image{n}"], "text": [f"text{n}"]}, "train" if n < 2 else "test")
        for n in range(4)
    ]
    write_samples(data, items, samples)


def test_splits_that_share_nothing_do_not_leak(tmp_path: Path) -> None:
    make_tables(tmp_path, [["text2", "text3"]])
    found = find_leaks(tmp_path, "test", tmp_path / "work", RunParams())
    assert found.metrics == {"leaks": {"groups": 0, "exact": {}, "near": {}}}
    assert not found.warnings


def test_content_and_groups_in_two_splits_are_leaks(tmp_path: Path) -> None:
    make_tables(tmp_path, [["text1", "text2", "text3"], ["image0", "image3"]])
    rows = [{**row, "group": "speaker"} for row in read_table(tmp_path / ALIGNED_SAMPLES, SAMPLES)]
    shutil.rmtree(tmp_path / ALIGNED_SAMPLES)
    write_table(tmp_path / ALIGNED_SAMPLES, rows, SAMPLES)
    found = find_leaks(tmp_path, "test", tmp_path / "work", RunParams())
    shared = {"image": 1, "text": 2}
    assert found.metrics == {"leaks": {"groups": 2, "exact": shared, "near": shared}}
    assert found.summary == {"leaked_groups": 2, "leaked_exact": 2, "leaked_near": 2}
    assert len(found.warnings) == 3


def test_a_leak_stands_in_red_above_all_else(trained: Path) -> None:
    make_tables(trained, [["text1", "text2"]])
    outcome = run_evaluate(trained, "leaking")
    line = "leak: samples of test have the same bytes as samples of other splits: text 1"
    assert line in outcome.notes
    page = (trained / "leaking" / REPORT_FOLDER / "index.html").read_text()
    assert page.index(f"<p class='warning'>{line}") < page.index("class='tiles'")
    for folder in ("2_ingested", "3_cleaned", "4_aligned"):
        shutil.rmtree(trained / folder)
