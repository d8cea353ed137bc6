"""The report agrees with itself, has every subset from one pass, and runs nothing that a hostile caption holds."""

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings

from pipeline.config.check_params import check_block
from pipeline.config.params import RunParams
from pipeline.errors import InputError, PipelineError
from pipeline.evaluate.cards import Card, clean_text
from pipeline.evaluate.page import Page, build_page
from pipeline.evaluate.params import EvaluateParams
from pipeline.evaluate.predict import predict, read_split
from pipeline.evaluate.report import FORMULA_STARTS, write_csv
from pipeline.evaluate.step import evaluate
from pipeline.models.batches import ReadOrder, read_batches
from pipeline.models.checkpoint import load_model
from pipeline.models.determinism import deterministic_mode
from pipeline.models.readers import READERS
from pipeline.runtime.run_stage import Workspace
from pipeline.tables.contracts import DROPPED, DROPPED_TABLES, MODEL_FOLDER, REPORT_FOLDER, SHARDS_FOLDER
from pipeline.tables.dropped_rows import PART
from pipeline.tables.drops import Outcome
from pipeline.tables.table_files import read_table, write_table
from pipeline.tasks.class_report import PREDICTIONS
from pipeline.tasks.classification import CLASSIFICATION, ClassPlan, measure
from pipeline.tasks.classification import report as build_report
from pipeline.tasks.task import ForwardPass, Predictions, list_subsets
from shardwright import ShardDataset
from tests.support.factory_shards import Toy, make_shards, spoil_sample
from tests.support.small_models import edit_record
from tests.train.test_train import RUN, run_train

pytestmark = pytest.mark.slow

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>'\"&</div>=cmd()\x1b[31m\u202eevil"


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads that busy-wait for a core take it from the others: small models get 10 times slower."""
    with deterministic_mode(seed=0, threads=1):
        yield


def run_evaluate(folder: Path, name: str = "", **changes: Any) -> Outcome:
    """Evaluate the model in `folder/6_model` into `folder/<name>/7_report`."""
    block = {"split": "test", "batch_size": 5, "worst": 4, **changes}
    params = check_block({"evaluate": block}, "evaluate", EvaluateParams)
    outcome = evaluate(params, Workspace(folder, folder / name, folder / "cache", RUN))
    outcome.check()
    return outcome


def make_trained(folder: Path, toy: Toy, **changes: Any) -> Path:
    make_shards(folder / SHARDS_FOLDER, toy)
    run_train(folder, "", **changes)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    toy = Toy(classes=("bell", "=drum", "<b>horn</b>", "wind"), test=19, missing=("image",), caption=HOSTILE)
    return make_trained(tmp_path_factory.mktemp("trained"), toy, epochs=1)


@pytest.fixture(scope="module")
def report(trained: Path) -> Path:
    outcome = run_evaluate(trained)
    assert (outcome.unit, outcome.seen, outcome.kept) == ("sample", 19, 19)
    return trained / REPORT_FOLDER


def read_metrics(report: Path) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    metrics: dict[str, Any] = json.loads((report / "metrics.json").read_text(), parse_constant=refuse)
    return metrics


def read_files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_folder_is_complete_and_the_same_with_every_reader(trained: Path, report: Path) -> None:
    first = read_files(report)
    tables = [
        "calibration.csv",
        "confusion.csv",
        "curves.csv",
        "intervals.csv",
        "metrics.json",
        "per_class.csv",
        "subsets.csv",
        "summary.json",
    ]
    predictions = ["predictions/_table.json", "predictions/part-000000.parquet"]
    figures = ["calibration", "confusion", "history", "intervals", "precision_recall", "roc", "subsets"]
    columns = ["group_numbers", "prediction", "probabilities", "probability", "truth", "truth_probability"]
    kept = ["kept/kept.json", *(f"kept/{name}.npy" for name in columns)]
    assert sorted(first) == sorted([*tables, *predictions, *(f"{name}.png" for name in figures), *kept, "index.html"])
    for reader in READERS:
        run_evaluate(trained, reader, reader=reader)
        assert read_files(trained / reader / REPORT_FOLDER) == first


def test_the_tables_agree_with_each_other(report: Path) -> None:
    metrics = read_metrics(report)
    rows = read_table(report / "predictions", PREDICTIONS)
    assert len(rows) == len({row["key"] for row in rows}) == metrics["samples"] == 19
    right = [row["truth"] == row["prediction"] for row in rows]
    assert metrics["accuracy"] == pytest.approx(np.mean(right))
    assert all(row["probability"] >= row["truth_probability"] - 1e-12 for row in rows)
    pairs = (report / "confusion.csv").read_text().splitlines()
    assert pairs[0] == "actual,predicted"
    assert [tuple(pair.split(",")) for pair in pairs[1:]] == [
        tuple(f"'{name}" if name.startswith("=") else name for name in (row["truth"], row["prediction"]))
        for row in rows
    ]
    assert metrics["per_class"]["bell"]["support"] == sum(row["truth"] == "bell" for row in rows)


def test_the_summary_is_flat_and_counts_what_was_dropped(trained: Path, report: Path, tmp_path: Path) -> None:
    """Rows about parts of what was kept do not count; each stage counts in its own unit."""
    row = {**dict.fromkeys(DROPPED, ""), "stage": "ingest", "unit": "file", "reason": "empty", "count": 3}
    for name in (SHARDS_FOLDER, MODEL_FOLDER):
        (tmp_path / name).symlink_to(trained / name)
    write_table(tmp_path / DROPPED_TABLES["ingest"], [row, {**row, "unit": PART}, {**row, "count": 1}], DROPPED)
    run_evaluate(tmp_path, "again")
    summary = json.loads((tmp_path / "again" / REPORT_FOLDER / "summary.json").read_text())
    assert summary.pop("dropped_ingest") == 4
    assert summary == json.loads((report / "summary.json").read_text())
    assert summary.items() >= {"samples": 19, "samples_test": 19, "accuracy": read_metrics(report)["accuracy"]}.items()
    assert all(isinstance(value, int | float) for value in summary.values())


def test_all_subsets_come_from_one_pass(trained: Path, tmp_path: Path) -> None:
    model, _ = load_model(trained / MODEL_FOLDER)
    data = ShardDataset(trained / SHARDS_FOLDER, "test")
    batches = list(read_batches("shardwright", data, ReadOrder(5)))
    predictions = predict(model, batches, data.keys, tmp_path)
    modalities = [source.modality for source in model.inputs]
    assert list(predictions.scores) == list_subsets(modalities)
    assert len(predictions.scores) == 2 ** len(modalities) - 1
    for subset, scores in predictions.scores.items():
        chosen = torch.tensor([modality in subset for modality in modalities])
        meter, parts = CLASSIFICATION.make_meter(cast(ClassPlan, model.plan)), []
        for batch in batches:
            shown = model.find_present(batch) & chosen
            with torch.inference_mode():
                forward = ForwardPass(model, model(batch, shown), batch, shown)
            meter.add(forward)
            parts.append(CLASSIFICATION.compute_columns(forward))
        assert scores == meter.compute(), subset
    for name, column in predictions.columns.items():
        np.testing.assert_array_equal(column, np.concatenate([part[name] for part in parts]))


def test_a_task_may_keep_several_numbers_of_a_sample(trained: Path, tmp_path: Path) -> None:
    model, _ = load_model(trained / MODEL_FOLDER)
    model.task = replace(
        CLASSIFICATION,
        list_columns=lambda plan: {"scores": np.dtype((np.float16, (len(plan.classes),)))},
        compute_columns=lambda forward: {"scores": forward.outputs.numpy()},
    )
    data = ShardDataset(trained / SHARDS_FOLDER, "test")
    batches = list(read_batches("shardwright", data, ReadOrder(5)))
    kept = predict(model, batches, data.keys, tmp_path).columns["scores"]
    with torch.inference_mode():
        outputs = torch.cat([model(batch) for batch in batches])
    np.testing.assert_array_equal(kept, outputs.numpy().astype(np.float16))


def test_nothing_but_the_report_is_left(trained: Path, report: Path) -> None:
    run_evaluate(trained, "alone")
    assert [path.name for path in (trained / "alone").iterdir()] == [REPORT_FOLDER]


def test_figures_carry_no_date_and_no_version(report: Path) -> None:
    for path in report.glob("*.png"):
        content, offset, kinds = path.read_bytes(), 8, []
        while offset < len(content):
            size, kind = struct.unpack(">I4s", content[offset : offset + 8])
            kinds.append(kind)
            offset += size + 12
        assert not {b"tEXt", b"tIME", b"iTXt", b"zTXt"} & set(kinds), path.name


def test_another_dataset_is_refused(tmp_path: Path) -> None:
    make_trained(tmp_path, Toy(train=8), epochs=1)
    moved = tmp_path / "moved"
    moved.mkdir()
    make_shards(moved / SHARDS_FOLDER, Toy(train=9))
    (tmp_path / MODEL_FOLDER).rename(moved / MODEL_FOLDER)
    with pytest.raises(InputError, match=r"was trained on the dataset [0-9a-f]{64}, .* is [0-9a-f]{64}"):
        run_evaluate(moved)
    with pytest.raises(InputError, match="train a model first"):
        run_evaluate(tmp_path)


def test_a_model_for_an_unknown_task_is_refused(tmp_path: Path) -> None:
    make_trained(tmp_path, Toy(train=8), epochs=1)
    edit_record(tmp_path / MODEL_FOLDER, task="sorting")
    with pytest.raises(InputError, match="trained for the task `sorting`, known are classification"):
        run_evaluate(tmp_path)


@pytest.mark.parametrize("reader", READERS)
def test_no_reader_evaluates_damaged_shards(tmp_path: Path, reader: str) -> None:
    make_trained(tmp_path, Toy(train=8), epochs=1)
    shard = tmp_path / SHARDS_FOLDER / "test/test-000001.tar"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(InputError, match=r"test-000001\.tar.*remove it and run `dvc repro` again"):
        run_evaluate(tmp_path, reader=reader)


def test_an_output_that_is_not_finite_is_an_error(tmp_path: Path) -> None:
    def spoil(key: str, arrays: dict[str, Any]) -> dict[str, Any]:
        return arrays if key != "test-003" else spoil_sample("train-005", arrays)

    make_shards(tmp_path / SHARDS_FOLDER, Toy(train=8), spoil=spoil)
    run_train(tmp_path, "", epochs=1)
    with pytest.raises(PipelineError, match="outputs for the samples test-003 are not finite"):
        run_evaluate(tmp_path)


def test_a_split_without_samples_has_null_scores_with_the_reason(tmp_path: Path) -> None:
    make_trained(tmp_path, Toy(train=8, test=0), epochs=1)
    outcome = run_evaluate(tmp_path)
    assert outcome.notes == ["the split test has no samples: there is nothing to measure"]
    metrics = read_metrics(tmp_path / REPORT_FOLDER)
    assert (metrics["samples"], metrics["macro_f1"], metrics["accuracy_low"]) == (0, None, None)
    assert metrics["undefined"]["macro_f1"] == "the split has no samples"
    assert metrics["subsets"]["image"] == {"accuracy": None, "macro_f1": None}
    assert "<h1>Evaluation</h1>" in (tmp_path / REPORT_FOLDER / "index.html").read_text()


def test_classes_without_samples_are_listed_and_not_averaged(tmp_path: Path) -> None:
    make_trained(tmp_path, Toy(train=8, test=3), epochs=1)
    run_evaluate(tmp_path)
    metrics = read_metrics(tmp_path / REPORT_FOLDER)
    assert metrics["absent"] == ["wind"]
    assert metrics["per_class"]["wind"]["recall"] is None
    assert metrics["undefined"]["per_class.wind.recall"] == "the split has no sample of the class"
    present = [metrics["per_class"][name]["f1"] for name in ("bell", "drum", "horn")]
    assert metrics["macro_f1"] == pytest.approx(np.mean(present))


class Collector(HTMLParser):
    """The page as a browser parses it: its tags with their attributes, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, Mapping[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def assert_harmless(html: str) -> Collector:
    page = Collector()
    page.feed(html)
    assert not {"script", "iframe", "object", "embed", "form", "link", "base"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        assert (attributes.get("src") or "data:").startswith("data:"), tag
        assert "href" not in attributes
    policies = [a["content"] for tag, a in page.tags if tag == "meta" and "content" in a and "http-equiv" in a]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    return page


def test_the_page_shows_hostile_texts_and_runs_none(report: Path) -> None:
    page = assert_harmless((report / "index.html").read_text(encoding="utf-8"))
    wrong = sum(row["truth"] != row["prediction"] for row in read_table(report / "predictions", PREDICTIONS))
    assert wrong > 0, "a model of one epoch errs, or there is nothing to show"
    assert "<script>alert(1)</script><img src=x onerror=alert(2)>'\"&</div>=cmd()" in page.text
    assert "<b>horn</b>" in page.text
    assert not {"\x1b", "\u202e"} & set(page.text)
    assert len([tag for tag, _ in page.tags if tag == "img"]) >= 3


PREDICTED = Predictions(
    np.array([b"key"] * 2, "S64"),
    {("image",): {"accuracy": 0.5, "macro_f1": 1 / 3}},
    {
        "truth": np.array([0, 1]),
        "prediction": np.array([1, 1]),
        "probability": np.array([0.7, 0.7]),
        "truth_probability": np.array([0.3, 0.7]),
    },
)


@given(st.text(max_size=60), st.text(min_size=1, max_size=30))
@example("\u202ecaption", "\x1b[2J\u202ename")
@settings(max_examples=60)
def test_no_text_escapes_its_element(caption: str, name: str) -> None:
    def build(key: str, text: str, classes: list[str]) -> str:
        plan = ClassPlan(("image",), tuple(classes), (1, 1))
        metrics = measure(PREDICTED, plan, "test")
        report = build_report(PREDICTED, plan, metrics, 1)
        card = Card(key, None, clean_text(text), report.mistakes[0])
        return build_page(Page("test", "0" * 64, key, report, {}, [card]))

    html = build(name, caption, [name, f"{name}2"])
    assert not {"\x1b", "\u202e"} & set(html)
    tags = [[tag for tag, _ in assert_harmless(page).tags] for page in (html, build("key", "caption", ["a", "b"]))]
    if clean_text(caption):
        assert tags[0] == tags[1]


def test_csv_cells_are_not_run_as_formulas(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", ["a"], [[f"{start}1+1"] for start in FORMULA_STARTS])
    assert all(
        line.lstrip('"').startswith("'") for line in (tmp_path / "t.csv").read_bytes().decode().split("\n")[1:-1]
    )


def test_progress_is_not_drawn_without_a_terminal(trained: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = RunParams(workers=0, memory="1 GiB", cache=".cache", progress=True)
    data = ShardDataset(trained / SHARDS_FOLDER, "test")
    params = EvaluateParams(split="test", batch_size=5, worst=0)
    assert sum(len(batch["key"]) for batch in read_split(data, params, run)) == len(data)
    assert capfd.readouterr() == ("", "")
