"""Run the stage train: read the shards, write a model folder."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import InputError
from pipeline.runtime.progress import say_line
from pipeline.runtime.run_stage import Workspace
from pipeline.tables.contracts import MODALITIES, MODEL_FOLDER, SHARDS_FOLDER
from pipeline.tables.drops import Outcome
from pipeline.tasks.choose_task import choose_task
from pipeline.tasks.options import AUTO
from pipeline.tasks.table import TASKS
from pipeline.train.params import TrainParams
from shardwright.format.canonical_json import decode_json

if TYPE_CHECKING:
    from pipeline.models.inputs import PartInput
    from pipeline.models.model import Architecture, Model
    from pipeline.tasks.options import TaskOptions
    from pipeline.tasks.task import Plan
    from pipeline.train.progress import Progress
    from pipeline.train.saved_states import SavedStates
    from pipeline.train.training_loop import Trainer
    from shardwright import ShardDataset


def train(params: TrainParams, workspace: Workspace) -> Outcome:
    """Train on the split `train`, validate on `val`, and write `6_model/`.

    The folder holds `best.safetensors`, `last.safetensors`, `model.json` (see `ModelRecord`) and `history.tsv` (a row
    an epoch). All are bit-identical on the same machine. Where `val` has no samples, training runs for all epochs and
    the last one counts as the best.

    Raises:
        InputError: the dataset is missing, damaged, without training samples, without what the task learns, or lacks a
            modality.
        PipelineError: the loss is not a number; the message has the keys of the batch.
    """
    from pipeline.models.batches import check_splits, open_split
    from pipeline.models.determinism import choose_device, deterministic_mode
    from pipeline.train.resume_key import compute_key
    from pipeline.train.saved_states import SavedStates
    from pipeline.train.training_loop import Trainer, count_steps, fit

    root = workspace.data / SHARDS_FOLDER
    data, val = open_split(root, "train"), open_split(root, "val")
    if data is None:
        raise InputError(f"{root} has no samples in the split `train`: look at align.split and align.shares")
    check_splits(root)
    inputs = list_inputs(params, data)
    options = choose_task(params.task, data, inputs)
    if options is None:
        raise InputError(f"{root} has no labels to learn: set align.label to where they come from")
    lesson = plan_lesson(params, options, data, inputs)
    with deterministic_mode(params.seed, params.threads):
        device = choose_device(params.device)
        states = SavedStates(find_states(workspace) / compute_key(params, data.hash, device), say_line)
        trainer = Trainer(lesson.build_model().to(device), params, count_steps(data, params))
        done = resume(trainer, states)
        fit(trainer, (data, val), states, workspace.run)
    folder = workspace.work / MODEL_FOLDER
    folder.mkdir(parents=True)
    write_model(folder, lesson, data, trainer)
    seen = len(data) + (0 if val is None else len(val))
    task = trainer.model.task
    notes = [describe_fit(trainer.progress, task.scores), *task.describe_plan(lesson.plan)]
    if params.task.name == AUTO and not data.classes:
        notes.insert(0, f"no labels, so train.task: auto is {options.name}: {task.describe_model(lesson.plan)}")
    worked = seen * (trainer.progress.step - done) // trainer.epoch_steps
    return Outcome("sample", seen, seen, notes=notes, worked=worked)


def resume(trainer: "Trainer", states: "SavedStates") -> int:
    """Give the trainer the latest of the saved states, if there is one, and say so; return the steps it has taken."""
    from pipeline.train.training_state import unpack_state

    state = states.read_latest()
    if state is None:
        return 0
    unpack_state(state, trainer)
    say_line(f"train: resuming at step {state.step} of {trainer.steps}")
    return state.step


def find_states(workspace: Workspace) -> Path:
    """Return the folder of the saved states of this stage in this checkout; several checkouts may share a cache."""
    return workspace.cache / "training" / workspace.work.name


def remove_states(workspace: Workspace) -> None:
    """Remove the saved states: the model is published."""
    shutil.rmtree(find_states(workspace), ignore_errors=True)


@dataclass(frozen=True)
class Lesson:
    """A task by name, its plan for a dataset, and the architecture of the model that learns it."""

    task: str
    plan: "Plan"
    architecture: "Architecture"

    def build_model(self) -> "Model":
        """Return the model, with random weights."""
        from pipeline.models.model import Model

        return Model(self.architecture, TASKS[self.task], self.plan)


def list_inputs(params: TrainParams, data: "ShardDataset") -> tuple["PartInput", ...]:
    """Return the inputs of all parts that the params let a model see.

    Raises:
        InputError: the dataset lacks a modality that `train.modalities` names.
    """
    from pipeline.models.inputs import list_parts, read_inputs

    present = set(list_parts(data.manifest).values())
    modalities = params.modalities or tuple(name for name in MODALITIES if name in present)
    return read_inputs(data.root, data.manifest, modalities)


def plan_lesson(
    params: TrainParams, options: "TaskOptions", data: "ShardDataset", inputs: Sequence["PartInput"]
) -> Lesson:
    """Plan what is learned from the dataset, and the model: it sees the parts that the task leaves it.

    Raises:
        InputError: the dataset lacks what the task learns.
    """
    from pipeline.models.model import Architecture

    task = TASKS[options.name]
    plan = task.make_plan(options, data, inputs)
    seen = tuple(source for source in inputs if source.part in plan.parts)
    architecture = Architecture(
        inputs=seen,
        encoders={source.modality: getattr(params.encoders, source.modality) for source in seen},
        width=params.width,
        fusion=params.fusion if task.fuses else None,
        dropout=params.dropout,
    )
    return Lesson(options.name, plan, architecture)


def write_model(folder: Path, lesson: Lesson, data: "ShardDataset", trainer: "Trainer") -> None:
    """Write the model's four files into `folder`, and the tokenizer where token ids are parts of words."""
    import torch

    from pipeline.models.checkpoint import BEST, LAST, ModelRecord, write_record, write_weights
    from pipeline.models.history import HISTORY_NAME, write_history
    from pipeline.models.inputs import read_vocabulary

    params, best = trainer.params, trainer.progress.best_epoch
    assert best is not None, "there is at least one epoch"
    record = ModelRecord(
        task=lesson.task,
        plan=asdict(lesson.plan),
        architecture=lesson.architecture,
        classes=tuple(data.classes or ()),
        dataset=data.hash,
        fields={name: field.to_json() for name, field in data.fields.items()},
        extract=dict(data.manifest.extract or {}),
        vocabulary=tuple(read_vocabulary(data.root, data.manifest)),
        params=params.model_dump(mode="json"),
        best=best.to_row(),
        made_with={"torch": torch.__version__, "device": trainer.device.type},
        weights={
            BEST: write_weights(folder / BEST, trainer.best_state),
            LAST: write_weights(folder / LAST, trainer.model.state_dict()),
            **copy_tokenizer(data, folder),
        },
    )
    write_record(folder, record)
    write_history(folder / HISTORY_NAME, trainer.progress.history)


def copy_tokenizer(data: "ShardDataset", folder: Path) -> dict[str, str]:
    """Copy the dataset's `tokenizer.json` to the model, and return its sha256 by name.

    A vocabulary of words is not copied, as the model's record has the words.
    """
    from pipeline.models.inputs import has_words, read_vocabulary_file

    record = data.manifest.vocabulary
    content = b"" if record is None else read_vocabulary_file(data.root, record)
    if record is None or has_words(decode_json(content)):
        return {}
    (folder / record.name).write_bytes(content)
    return {record.name: record.sha256}


def describe_fit(progress: "Progress", titles: Mapping[str, str]) -> str:
    """Return the best epoch and its scores, called by their `titles`, for the summary."""
    best, epochs = progress.best_epoch, len(progress.history)
    assert best is not None, "there is at least one epoch"
    scores = [f"{titles[name]} {value:.3f}" for name, value in best.val_scores.items() if value is not None]
    if not scores:
        return f"no validation samples: the last of {epochs} epochs is taken"
    return f"best epoch {best.number} of {epochs}: validation {', '.join(reversed(scores))}"
