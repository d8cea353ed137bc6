"""Unlabelled data goes through all stages: several parts to a retrieval, one part to a report on the dataset."""

import json
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.tables.contracts import MODEL_FOLDER, REPORT_FOLDER, SHARDS_FOLDER
from tests.evaluate.test_evaluate import run_evaluate
from tests.support.factory_shards import Toy, make_shards
from tests.support.running import run_stages
from tests.train.test_modality_subsets import make_corpus, make_params
from tests.train.test_train import run_train

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("modalities", [("text",), ("image", "text")], ids="+".join)
def test_unlabelled_files_go_through_all_stages(modalities: tuple[str, ...], tmp_path: Path) -> None:
    make_corpus(tmp_path / "files", modalities)
    params = make_params(modalities, tmp_path / "files")
    params["align"]["label"] = "none"
    params["align"]["shares"] = {"train": 0.7, "val": 0.15, "test": 0.15}
    params["train"]["modalities"] = None
    outcomes = run_stages(params, tmp_path)
    report = tmp_path / "data" / REPORT_FOLDER
    metrics = json.loads((report / "metrics.json").read_bytes())
    summary = json.loads((report / "summary.json").read_bytes())
    assert summary["samples_train"] > metrics["samples"] > 0
    if len(modalities) > 1:
        assert "no labels, so train.task: auto is retrieval" in outcomes["train"].notes[0]
        assert 0 <= metrics["recall_at_10"] <= 1
        return
    assert outcomes["train"].notes[0].startswith("nothing to learn: the dataset has no labels, and")
    assert outcomes["evaluate"].notes == ["there is no model to measure: the report is on the dataset alone"]
    assert metrics["undefined"]["scores"] == outcomes["train"].notes[0]
    assert sorted(path.name for path in report.iterdir()) == [
        "dropped.csv", "fields.csv", "index.html", "metrics.json", "splits.csv", "summary.json"
    ]  # fmt: skip
    assert "tokens_length,int32,1," in (report / "fields.csv").read_text()
    page = (report / "index.html").read_text()
    assert "Nothing to learn" in page
    assert "Worst mistakes" not in page


def test_the_report_on_a_dataset_is_of_the_dataset_that_train_saw(tmp_path: Path) -> None:
    make_shards(tmp_path / SHARDS_FOLDER, Toy(labels=False, modalities=("text",)))
    run_train(tmp_path, "", modalities=None)
    run_evaluate(tmp_path)
    moved = tmp_path / "moved"
    make_shards(moved / SHARDS_FOLDER, Toy(labels=False, modalities=("text",), train=9))
    (tmp_path / MODEL_FOLDER).rename(moved / MODEL_FOLDER)
    with pytest.raises(InputError, match="was trained on the dataset"):
        run_evaluate(moved)
    (moved / MODEL_FOLDER / "untrained.json").write_text("{")
    with pytest.raises(InputError, match=r"untrained\.json.*train again"):
        run_evaluate(moved)
