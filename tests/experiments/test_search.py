"""A search is the same wherever it was stopped, leaves the project alone, and says what failed."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.config.check_params import read_params
from pipeline.errors import InputError, ParamsError
from pipeline.experiments.objective import Objective, read_column, read_value
from pipeline.experiments.project_copy import ProjectCopy
from pipeline.experiments.search import Search, search_params
from pipeline.experiments.search_space import parse_range, split_ranges
from pipeline.experiments.tune_command import describe_best
from pipeline.models.history import HISTORY_NAME
from pipeline.tables.contracts import MODEL_FOLDER, SHARDS_FOLDER
from tests.support.factory_shards import Toy, make_shards
from tests.support.running import hash_files
from tests.support.toy_project import make_project
from tests.train.test_train import run_train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(alembic|sqlalchemy|optuna|pygtrie).*"),
    pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning"),
]

RANGES = {"train.learning_rate": "log(1e-4, 1e-1)", "train.fusion": "choice(mean, gated)", "train.epochs": 2}
SCORE = Objective("val_f1", "F1", minimizes=False)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = make_project(tmp_path / "project")
    monkeypatch.chdir(folder)
    return folder


def make_search(project: Path, trials: int, params: dict[str, Any] = RANGES, **options: Any) -> Search:
    space, fixed = split_ranges(params)
    return Search(project, space, fixed, trials=trials, **options)


def score(copy: ProjectCopy) -> tuple[Objective, float]:
    """Best at a learning rate of 0.01, with `gated`; the params of a trial are those of its folder."""
    train = read_params(copy.folder / "params.yaml")["train"]
    assert train["epochs"] == 2
    assert train["seed"] == 1  # of the project
    return SCORE, 1 - abs(train["learning_rate"] - 0.01) - (train["fusion"] != "gated") / 10


def list_values(study: Any) -> list[tuple[Any, ...]]:
    return [(trial.params, trial.value) for trial in study.trials]


def test_a_study_that_was_stopped_goes_on_with_the_same_trials(project: Path, tmp_path: Path) -> None:
    said: list[str] = []
    whole = search_params(make_search(project, 12), said.append, score)
    assert len(said) == 12
    assert said[0].startswith("trial 0: validation F1 ")
    assert len({trial.params["train.learning_rate"] for trial in whole.trials}) == 12
    other = make_project(tmp_path / "other")
    runs = 0

    def stop_at_eleventh(copy: ProjectCopy) -> tuple[Objective, float]:
        nonlocal runs
        runs += 1
        if runs == 11:
            raise KeyboardInterrupt
        return score(copy)

    with pytest.raises(KeyboardInterrupt):
        search_params(make_search(other, 12), said.append, stop_at_eleventh)
    assert list_values(search_params(make_search(other, 12), said.append, score)) == list_values(whole)
    again = search_params(make_search(other, 12, name="second", seed=1), said.append, score)
    assert list_values(again) != list_values(whole)


def test_the_best_is_a_change_of_params_and_a_command(project: Path) -> None:
    before = hash_files(project)
    search = make_search(project, 4)
    study = search_params(search, list[str]().append, score)
    lines = list(describe_best(study, search))
    best = study.best_trial
    assert lines[0] == f"best of 4 trials: trial {best.number}, validation F1 {best.value:.4f}"
    assert "--- a/params.yaml" in lines
    assert f"+  learning_rate: {best.params['train.learning_rate']}  " not in lines
    assert any(line.startswith("+") and str(best.params["train.learning_rate"]) in line for line in lines)
    assert lines[-1].startswith("dvc exp run -S +train.epochs=2 -S train.learning_rate=")
    after = {name: digest for name, digest in hash_files(project).items() if not name.startswith(".cache/")}
    assert after == {
        name: digest for name, digest in before.items() if not name.startswith((".cache/", ".dvc/tmp"))
    } | {name: digest for name, digest in after.items() if name.startswith(".dvc/tmp")}


def test_failed_trials_are_said_and_the_search_goes_on(project: Path) -> None:
    def fail(copy: ProjectCopy) -> tuple[Objective, float]:
        if read_params(copy.folder / "params.yaml")["train"]["fusion"] == "mean":
            raise InputError("the loss is no number")
        return score(copy)

    said: list[str] = []
    search = make_search(project, 8)
    study = search_params(search, said.append, fail)
    failed = [line for line in said if "failed: the loss is no number" in line]
    assert 0 < len(failed) < 8
    assert f"of which {len(failed)} failed" in next(iter(describe_best(study, search)))
    everything = {"train.learning_rate": "log(1e-4, 1e-1)", "train.fusion": "mean", "train.epochs": 2}
    with pytest.raises(InputError, match="none of 2 trials gave a score"):
        search_params(make_search(project, 2, everything, name="bad"), said.append, fail)


def test_wrong_searches_are_refused_before_a_trial(project: Path) -> None:
    def never(copy: ProjectCopy) -> tuple[Objective, float]:
        raise AssertionError

    for params, message in (
        ({"train.learn_rate": "log(1e-4, 1e-2)"}, r"train\.learn_rate is not a known key; did you mean learning_rate"),
        ({"train.dropout": "uniform(0, 2)"}, r"train\.dropout is 2; it must be less than 1"),
        ({"train.fusion": "choice(mean, gate)"}, r"train\.fusion is \"gate\"; it must be .*did you mean gated"),
    ):
        with pytest.raises(ParamsError, match=message):
            search_params(make_search(project, 2, params), print, never)
    search_params(make_search(project, 1), list[str]().append, score)
    with pytest.raises(ParamsError, match="was begun with other params, ranges or another seed"):
        search_params(make_search(project, 2, seed=3), print, never)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("log(0, 1)", "its first number must be less than its second, and more than 0"),
        ("uniform(2, 1)", "its first number must be less than its second"),
        ("int(1.5, 2)", "it must have two whole numbers, the least and the greatest"),
        ("uniform(1)", "it must have two numbers, the least and the greatest"),
        ("choice(a)", "it must have two or more values"),
        ("choice([)", "its values are no YAML"),
    ],
)
def test_wrong_ranges_are_named(value: str, message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        parse_range("train.width", value)


def test_what_is_no_range_is_a_value() -> None:
    assert parse_range("train.width", 64) is None
    assert parse_range("align.salt", "other(1)") is None
    with pytest.raises(ParamsError, match="no param has a range"):
        split_ranges({"train.width": 64})


def test_the_score_is_that_of_the_epoch_that_is_published(tmp_path: Path) -> None:
    make_shards(tmp_path / SHARDS_FOLDER, Toy(modalities=("image",)))
    run_train(tmp_path, "", modalities=None)
    objective, value = read_value(tmp_path)
    assert (objective.column, objective.minimizes) == ("val_macro_f1", False)
    epochs = [each or 0.0 for each in read_column(tmp_path / MODEL_FOLDER / HISTORY_NAME, objective.column)]
    assert value == pytest.approx(max(epochs), abs=1e-5)
    run_train(tmp_path, "seeds", modalities=None, monitor="loss", seeds=[0, 1])
    objective, value = read_value(tmp_path / "seeds")
    assert (objective.column, objective.minimizes) == ("val_loss", True)
    assert value > 0


def test_without_validation_there_is_nothing_to_search_by(tmp_path: Path) -> None:
    make_shards(tmp_path / SHARDS_FOLDER, Toy(modalities=("image",), val=0))
    run_train(tmp_path, "", modalities=None)
    with pytest.raises(InputError, match="a search needs validation samples"):
        read_value(tmp_path)
