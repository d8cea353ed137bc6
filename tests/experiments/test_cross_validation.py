"""All folds are run, and summed up in a table, a page and files that agree with each other."""

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

import pytest

from pipeline.errors import ParamsError
from pipeline.evaluate.params import EvaluateParams
from pipeline.evaluate.step import evaluate
from pipeline.experiments.cross_validation import cross_validate
from pipeline.experiments.fold_report import FoldScores, format_table, tabulate_folds
from pipeline.experiments.pool_predictions import pool_predictions
from pipeline.experiments.project_copy import ProjectCopy
from pipeline.runtime.run_stage import Workspace
from pipeline.tables.contracts import SHARDS_FOLDER
from tests.support.factory_media import draw_scene, encode_jpeg
from tests.support.factory_shards import Toy, make_shards
from tests.support.running import edit_params, run_stages
from tests.support.toy_project import make_project
from tests.train.test_train import RUN, run_train

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

GROUPS = ("ann", "bob", "cyd")


@pytest.fixture(scope="module")
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with images of three groups; its stages run in this process."""
    folder = make_project(tmp_path / "project")
    for number, group in enumerate(GROUPS):
        for digit in range(2):
            for take in range(3):
                image = encode_jpeg(draw_scene(seed=100 * number + 10 * digit + take))
                (folder / f"inbox/{digit}_{group}_{take}.jpg").write_bytes(image)
    (folder / "inbox/one.txt").unlink()
    params = """\
align:
  by: pattern
  label: path
  folds: by_group
  modalities:
    image: {pattern: '(?P<key>(?P<label>[0-9])_(?P<group>[a-z]+)_[0-9])[.]jpg'}
extract:
  image: {height: 16, width: 16}
train: {epochs: 1, width: 8, device: cpu}
run: {workers: 0, progress: false}
"""
    (folder / "params.yaml").write_text("crawl: {lists_folder: lists}\ningest: {}\nclean: {}\nevaluate: {}\n" + params)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(ProjectCopy, "build", build_here)
    return folder


def build_here(copy: ProjectCopy, stages: Sequence[str] = ()) -> list[str]:
    """Run all stages up to the one that is named, where DVC would start processes for those that are not up to date."""
    shutil.rmtree(copy.folder / "inputs", ignore_errors=True)
    blocks = edit_params(str(copy.folder / "params.yaml"), ingest__root=str(copy.folder / "inbox"))
    return list(run_stages(blocks, copy.folder, *stages))


def test_a_cross_validation(project: Path) -> None:
    said: list[str] = []
    lines = cross_validate(project, {}, said.append)
    assert said == [f"fold {n} of 3 from 0 on, {name}: 6 samples to test" for n, name in enumerate(GROUPS)]
    report = json.loads((project / "data/8_folds/folds.json").read_bytes())
    assert [fold["name"] for fold in report["folds"]] == list(GROUPS)
    assert report["pooled"]["samples"] == 18
    accuracies = [fold["accuracy"] for fold in report["folds"]]
    assert report["mean"]["accuracy"] == mean(accuracies) == pytest.approx(report["pooled"]["accuracy"])
    assert report["standard_deviation"]["accuracy"] == stdev(accuracies)
    with (project / "data/8_folds/folds.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["fold"] for row in rows] == [
        *(f"fold {n}, {name}" for n, name in enumerate(GROUPS)), "mean", "standard deviation", "pooled"
    ]  # fmt: skip
    assert [float(row["accuracy"]) for row in rows[:3]] == accuracies
    assert lines[0].split() == ["samples", "accuracy", "macro", "F1"]
    assert "Cross-validation over 3 folds" in (project / "data/8_folds/index.html").read_text()


def test_without_folds_the_key_is_named(project: Path) -> None:
    with pytest.raises(ParamsError, match=r"align\.folds is null; it must be a number of folds, by_group or by_split"):
        cross_validate(project, {"align.folds": None}, print)
    assert not (project / "data").exists()


def test_pooled_scores_are_those_of_all_predictions(tmp_path: Path) -> None:
    """A fold twice: twice its samples, the same scores."""
    make_shards(tmp_path / SHARDS_FOLDER, Toy(modalities=("image", "text")))
    run_train(tmp_path, "", modalities=None)
    (tmp_path / "work").mkdir()
    params = EvaluateParams()
    pooled = pool_predictions([tmp_path, tmp_path], params, RUN, tmp_path / "work")
    evaluate(params, Workspace(tmp_path, tmp_path / "one", tmp_path / "cache", RUN))
    alone = json.loads((tmp_path / "one/7_report/metrics.json").read_bytes())
    assert pooled.metrics is not None
    assert pooled.metrics["samples"] == 2 * alone["samples"]
    assert pooled.metrics["accuracy"] == pytest.approx(alone["accuracy"])
    assert pooled.metrics["subsets"] == alone["subsets"]


def test_vectors_of_several_models_are_not_pooled(tmp_path: Path) -> None:
    make_shards(tmp_path / SHARDS_FOLDER, Toy(labels=False))
    run_train(tmp_path, "", task="retrieval")
    pooled = pool_predictions([tmp_path, tmp_path], EvaluateParams(), RUN, tmp_path)
    assert pooled.metrics is None


def test_a_score_that_a_fold_lacks_has_no_mean() -> None:
    folds = [
        FoldScores(0, None, {"samples": 3, "f1": None, "r2": 0.5}),
        FoldScores(1, "b", {"samples": 4, "f1": 1.0, "r2": 1.0}),
    ]
    table = tabulate_folds(folds, None)
    assert table.mean == {"f1": None, "r2": 0.75}
    assert format_table(table, {"samples": "samples", "f1": "F1", "r2": "R²"}) == [
        "                    samples     F1     R²",
        "fold 0                    3      –  0.500",
        "fold 1, b                 4  1.000  1.000",
        "mean                      –      –  0.750",
        "standard deviation        –      –  0.354",
    ]
