"""Search for params that give a better validation score, trial by trial, with optuna.

A study is a database in the cache folder. The values of a trial follow from the seed, its number and the trials before
it: so a study that was stopped goes on as if it had not been, with the trial that was under way.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config.check_params import read_effective_params
from pipeline.config.choose_params import PARAMS
from pipeline.errors import InputError, ParamsError, PipelineError
from pipeline.experiments.objective import Objective, read_value
from pipeline.experiments.project_copy import ProjectCopy, find_experiments, open_copy, render_params
from pipeline.experiments.search_space import Range
from pipeline.runtime.build import BuildInterrupted

if TYPE_CHECKING:
    import optuna

Train = Callable[[ProjectCopy], tuple[Objective, float]]

RECIPE = "recipe"
FAULT = "fault"
OBJECTIVE = "objective"
"""What a study keeps of the params that it began with; a trial, of why it failed, and of what its value is."""


@dataclass(frozen=True)
class Search:
    """What to search.

    Attributes:
        project: the folder of the project.
        space: the range of each param by its full name.
        fixed: values of other params, in place of those in `params.yaml`.
        name: of the study.
        trials: that the study has at its end, those of earlier runs among them.
        seed: of the values.
    """

    project: Path
    space: Mapping[str, Range]
    fixed: Mapping[str, Any]
    name: str = "study"
    trials: int = 20
    seed: int = 0

    @property
    def folder(self) -> Path:
        """The folder of the study and of its trials."""
        return find_experiments(self.project, "tune") / self.name


def train_copy(copy: ProjectCopy) -> tuple[Objective, float]:
    """Bring the model of a trial up to date and return its validation score. Raises what the stages raise."""
    copy.build(["train"])
    return read_value(copy.data)


def search_params(search: Search, say: Callable[[str], None], train: Train = train_copy) -> "optuna.study.Study":
    """Run trials until the study has as many as it should; say a line about each.

    A trial that fails is a failed trial, with the reason; the search goes on.

    Args:
        search: what to search.
        say: writes a line.
        train: gives the score of a trial in the folder of its project.

    Raises:
        ParamsError: an end of a range is no valid value, or the study was begun with other params.
        InputError: no trial of the study gave a score.
        KeyboardInterrupt: a trial was interrupted; the next search goes on with it.
    """
    check_space(search)
    study = open_study(search)
    for trial in list_trials(study, search):
        say(run_trial(study, trial, search, train))
    if not any(trial.value is not None for trial in study.trials):
        raise InputError(f"none of {len(study.trials)} trials gave a score: see their reasons above")
    return study


def check_space(search: Search) -> None:
    """Check the params with each end of each range.

    Raises:
        ParamsError: they are wrong; the message names the key.
    """
    for name, values in search.space.items():
        for value in values.ends:
            render_params(search.project, {**search.fixed, name: value})


def open_study(search: Search) -> "optuna.study.Study":
    """Create the study, or open it where it was left.

    Raises:
        ParamsError: it was begun with other params, ranges or another seed.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    search.folder.mkdir(parents=True, exist_ok=True)
    storage = f"sqlite:///{search.folder / 'study.db'}"
    study = optuna.create_study(storage=storage, study_name=search.name, load_if_exists=True, direction="maximize")
    recipe = describe_recipe(search)
    if study.user_attrs.get(RECIPE, recipe) != recipe:
        raise ParamsError(
            f"the study {search.name!r} was begun with other params, ranges or another seed: say --study with another "
            f"name, or remove {search.folder}"
        )
    study.set_user_attr(RECIPE, recipe)
    return study


def describe_recipe(search: Search) -> str:
    """Return the hash of all params that trials have in common, of the ranges and of the seed."""
    effective = read_effective_params(search.project / PARAMS)
    effective.pop("run")
    space = {name: values.text for name, values in search.space.items()}
    content = json.dumps([effective, dict(search.fixed), space, search.seed], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def list_trials(study: "optuna.study.Study", search: Search) -> "Iterable[optuna.Trial]":
    """Yield the trial that was under way when the study was left, then new ones."""
    import optuna

    for left in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
        yield optuna.Trial(study, left._trial_id)
    while (number := len(study.trials)) < search.trials:
        digest = hashlib.sha256(f"{search.seed}\0{number}".encode()).digest()
        study.sampler = optuna.samplers.TPESampler(seed=int.from_bytes(digest[:4]))
        yield study.ask()


def run_trial(study: "optuna.study.Study", trial: "optuna.Trial", search: Search, train: Train) -> str:
    """Run a trial in the folder of all trials, tell the study its value, if it has one, and return a line on it."""
    values = {name: found.suggest(trial, name) for name, found in search.space.items()}
    shown = ", ".join(f"{name} {format_number(value)}" for name, value in values.items())
    start = time.monotonic()
    try:
        copy = open_copy(search.project, search.folder / "trial", {**search.fixed, **values})
        objective, value = train(copy)
    except BuildInterrupted:
        raise KeyboardInterrupt from None
    except PipelineError as error:
        trial.set_user_attr(FAULT, str(error))
        study.tell(trial, state=_states().FAIL)
        return f"trial {trial.number} failed: {error}; {shown}"
    trial.set_user_attr(OBJECTIVE, objective.title)
    study.tell(trial, -value if objective.minimizes else value)
    seconds = time.monotonic() - start
    return f"trial {trial.number}: validation {objective.title} {value:.4f}; {shown}; {seconds:.0f} s"


def format_number(value: Any) -> str:
    """Return a value with four digits, if it is a number that has more."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _states() -> "type[optuna.trial.TrialState]":
    import optuna

    return optuna.trial.TrialState
