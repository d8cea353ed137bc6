"""Run the stage train: read the shards, write a model folder."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from pipeline.config.params import RunParams
from pipeline.errors import InputError
from pipeline.models.history import LOSS, Epoch
from pipeline.models.untrained import Untrained, write_untrained
from pipeline.runtime.progress import say_line
from pipeline.runtime.run_stage import Workspace
from pipeline.tables.contracts import MODEL_FOLDER, SHARDS_FOLDER
from pipeline.tables.drops import Outcome
from pipeline.tasks.choose_task import choose_task
from pipeline.tasks.options import AUTO
from pipeline.tasks.table import TASKS
from pipeline.train.initial_encoders import prepare_encoders
from pipeline.train.lesson import Lesson, list_inputs, plan_lesson
from pipeline.train.params import TrainParams
from pipeline.train.progress import Progress, find_epoch

if TYPE_CHECKING:
    from pipeline.models.inputs import PartInput
    from pipeline.tasks.task import Task
    from pipeline.train.team import Team
    from pipeline.train.training_log import TrainingLog
    from pipeline.train.training_loop import Trainer
    from shardwright import ShardDataset

LIVE_NAME = "live_history.tsv"
"""In `data`, of a training that runs: what will be the model's `history.tsv`."""


EVENTS_NAME = "tensorboard"
"""In `data`, with `train.tensorboard`: a folder of event files a seed. They stay when the model is published."""


def train(params: TrainParams, workspace: Workspace) -> Outcome:
    """Train on the split `train`, validate on `val`, and write `6_model/`.

    The folder holds `best.safetensors`, `last.safetensors`, `model.json` (see `ModelRecord`) and `history.tsv` (a row
    an epoch). All are bit-identical on the same machine. Where `val` has no samples, training runs for all epochs and
    the last one counts as the best. With several seeds there are also the same files in `seed-<seed>/` for each but the
    first, and `seeds.tsv`, the row of each one's history whose weights are evaluated.

    A run that was stopped goes on from its saved state.

    Raises:
        InputError: the dataset is missing, damaged, without training samples, without what the task learns, or lacks a
            modality; the task has no score of the name `train.monitor`; or `train.tensorboard` lacks its package.
        PipelineError: the loss is not a number; the message has the keys of the batch.
    """
    from pipeline.models.determinism import choose_device
    from pipeline.models.seed_folders import name_folder
    from pipeline.train.efficiency import MIN_SECONDS, describe_efficiency
    from pipeline.train.resume_key import compute_key
    from pipeline.train.saved_states import remove_others
    from pipeline.train.scalar_events import check_installed
    from pipeline.train.team import join_team
    from pipeline.train.training_log import TRAINING, TrainingLog
    from pipeline.train.write_model import write_model, write_seeds

    data, val = open_splits(workspace.data)
    course = plan_course(params, data, val)
    if isinstance(course, Untrained):
        return skip_training(course, len(data), workspace)
    lesson, task = course.lesson, TASKS[course.lesson.task]
    folder = workspace.work / MODEL_FOLDER
    folder.mkdir(parents=True)
    worked, runs = 0, []
    check_installed(params)
    events = workspace.data / EVENTS_NAME if params.tensorboard else None
    log = TrainingLog(workspace.data / LIVE_NAME, workspace.run, params.processes, events)
    with join_team(params) as team:
        saved = find_states(workspace) / compute_key(params, data.hash, choose_device(params.device))
        remove_others(saved)
        for number, seed in enumerate(seeds := list_seeds(params)):
            trainer, steps = train_once(course.choose_seed(seed), team, saved / f"seed-{seed}", log)
            worked += course.samples * steps * params.epochs // trainer.steps
            write_model(folder / name_folder(number, seed), lesson, data, trainer)
            runs.append(trainer.progress)
    notes = [describe_fit(runs[0], params, task.scores), *task.describe_plan(lesson.plan)]
    if params.task.name == AUTO and not data.classes:
        notes.insert(0, f"no labels, so train.task: auto is {lesson.task}: {task.describe_model(lesson.plan)}")
    if len(runs) > 1:
        chosen = [find_epoch(progress, params) for progress in runs]
        write_seeds(folder, seeds, chosen)
        notes.insert(1, describe_seeds(chosen, task.scores))
    if log.samples:
        notes.append(log.describe(trainer.device))
    if log.seconds[TRAINING] >= MIN_SECONDS and params.sharding == "none":  # a copy of the model must fit
        notes.append(describe_efficiency(trainer, data, log.find_rate()))
    return Outcome("sample", course.samples, course.samples, notes=notes, worked=worked)


def follow(params: TrainParams, folder: Path) -> None:
    """Train together with the process that `train` runs in, on the same data, and write nothing."""
    from pipeline.train.team import join_team
    from pipeline.train.training_log import TrainingLog

    course = plan_course(params, *open_splits(folder))
    if isinstance(course, Untrained):
        return
    with join_team(params) as team:
        for seed in list_seeds(params):
            train_once(course.choose_seed(seed), team, Path(), TrainingLog(None, RunParams()))


@dataclass(frozen=True)
class Course:
    """What is learned, from which samples, and how.

    Attributes:
        params: with the seed of one run.
        data: the split `train`.
        val: the split `val`, if it has samples.
        lesson: what is learned.
    """

    params: TrainParams
    data: "ShardDataset"
    val: "ShardDataset | None"
    lesson: Lesson

    @property
    def samples(self) -> int:
        """The samples of both splits."""
        return len(self.data) + (0 if self.val is None else len(self.val))

    def choose_seed(self, seed: int) -> "Course":
        """Return the same with another seed."""
        return replace(self, params=self.params.model_copy(update={"seed": seed}))


def open_splits(folder: Path) -> tuple["ShardDataset", "ShardDataset | None"]:
    """Open the splits `train` and `val` of the dataset in the folder of the outputs; None for one without samples.

    Raises:
        InputError: as `train` says of the dataset.
    """
    from pipeline.models.batches import check_splits, open_split

    root = folder / SHARDS_FOLDER
    data, val = open_split(root, "train"), open_split(root, "val")
    if data is None:
        raise InputError(f"{root} has no samples in the split `train`: look at align.split and align.shares")
    check_splits(root)
    return data, val


def plan_course(params: TrainParams, data: "ShardDataset", val: "ShardDataset | None") -> Course | Untrained:
    """Plan what is learned from the splits, if there is anything.

    Raises:
        InputError: as `train` says of the params.
    """
    inputs = list_inputs(params, data)
    options = choose_task(params.task, data, inputs)
    if options is None:
        return explain_nothing(inputs, data)
    lesson = plan_lesson(params, options, data, inputs)
    check_monitor(params, TASKS[options.name])
    return Course(params, data, val, lesson)


def explain_nothing(inputs: Sequence["PartInput"], data: "ShardDataset") -> Untrained:
    """Return why there is no model."""
    parts = ", ".join(source.part for source in inputs)
    reason = (
        f"nothing to learn: the dataset has no labels, and its samples have one part ({parts}); set align.label to "
        "where labels come from, or add a part in align.modalities or align.parts"
    )
    return Untrained(data.hash, reason)


def skip_training(untrained: Untrained, samples: int, workspace: Workspace) -> Outcome:
    """Write a model folder that says why there is no model."""
    folder = workspace.work / MODEL_FOLDER
    folder.mkdir(parents=True)
    write_untrained(folder, untrained)
    return Outcome("sample", samples, samples, notes=[untrained.reason], worked=0)


def list_seeds(params: TrainParams) -> tuple[int, ...]:
    """Return the seeds of the runs."""
    return params.seeds or (params.seed,)


def train_once(course: Course, team: "Team", saved: Path, log: "TrainingLog") -> tuple["Trainer", int]:
    """Train a model, going on from the latest of the states in the folder `saved`; return the trainer, and the steps
    taken now.

    Where there are further runs, the last state is kept there, to go on with the next one.
    """
    from pipeline.models.determinism import choose_device, deterministic_mode
    from pipeline.models.inputs import read_vocabulary
    from pipeline.train.saved_states import SavedStates
    from pipeline.train.training_loop import Trainer, fit, is_finished
    from pipeline.train.training_state import unpack_state

    params = course.params
    with deterministic_mode(params.seed, params.threads):
        states = SavedStates(saved, say_line)
        model = course.lesson.build_model()
        notes = prepare_encoders(model, params, read_vocabulary(course.data.root, course.data.manifest))
        trainer = Trainer(team.place(model, choose_device(params.device)), params, len(course.data), team)
        team.separate_generators(params.seed)
        state = team.broadcast(states.read_latest() if team.leads else None)
        if state is not None:
            unpack_state(state, trainer)
        done = trainer.progress.step
        if not is_finished(trainer):
            if state is not None:
                of = f" with seed {params.seed}" if params.seeds else ""
                notes = [f"resuming at step {done} of {trainer.steps}{of}"]
            for note in notes if team.leads else []:
                say_line(f"train: {note}")
            fit(trainer, (course.data, course.val), states, log)
            if params.seeds:
                trainer.save(states)
        trainer.publish()
    return trainer, trainer.progress.step - done


def check_monitor(params: TrainParams, task: "Task[Any]") -> None:
    """Check that the task has the score that selects the best epoch.

    Raises:
        InputError: it has not; the message lists those that it has.
    """
    known = [LOSS, *task.scores]
    if params.monitor is not None and params.monitor not in known:
        raise InputError(f"train.monitor is {params.monitor}; it must be one of {', '.join(known)}, or null")


def find_states(workspace: Workspace) -> Path:
    """Return the folder of the saved states of this stage in this checkout; several checkouts may share a cache."""
    return workspace.cache / "training" / workspace.work.name


def remove_states(workspace: Workspace) -> None:
    """Remove the saved states and the live history: the model is published."""
    (workspace.data / LIVE_NAME).unlink(missing_ok=True)
    shutil.rmtree(find_states(workspace), ignore_errors=True)


def describe_fit(progress: Progress, params: TrainParams, titles: Mapping[str, str]) -> str:
    """Return the chosen epoch and its scores, called by their `titles`, for the summary."""
    epoch, epochs = find_epoch(progress, params), len(progress.history)
    scores = [f"{titles[name]} {value:.3f}" for name, value in epoch.val_scores.items() if value is not None]
    if not scores:
        return f"no validation samples: the last of {epochs} epochs is taken"
    return f"{params.select_epoch} epoch {epoch.number} of {epochs}: validation {', '.join(reversed(scores))}"


def describe_seeds(epochs: Sequence[Epoch], titles: Mapping[str, str]) -> str:
    """Return the mean, the standard deviation and the extremes of each validation score over the seeds."""
    texts = []
    for name, title in titles.items():
        values = [score for epoch in epochs if (score := epoch.val_scores[name]) is not None]
        if len(values) > 1:
            spread = f"{mean(values):.3f} ± {stdev(values):.3f} ({min(values):.3f} to {max(values):.3f})"
            texts.append(f"{title} {spread}")
    return f"{len(epochs)} seeds: validation {', '.join(reversed(texts)) or 'without scores'}"
