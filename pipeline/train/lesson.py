"""Plan what is learned from a dataset: the parts that the model sees, the task's plan, and the architecture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.errors import InputError
from pipeline.tables.contracts import MODALITIES
from pipeline.tasks.table import TASKS
from pipeline.train.initial_encoders import hash_initial_weights, read_options
from pipeline.train.params import TrainParams

if TYPE_CHECKING:
    from pipeline.models.inputs import PartInput
    from pipeline.models.model import Model
    from pipeline.models.record import Architecture
    from pipeline.tasks.options import TaskOptions
    from pipeline.tasks.task import Plan
    from shardwright import ShardDataset


@dataclass(frozen=True)
class Lesson:
    """A task by name, its plan for a dataset, the architecture of the model that learns it, and the sha256 of the files
    that its encoders start from."""

    task: str
    plan: "Plan"
    architecture: "Architecture"
    initial_weights: Mapping[str, str]

    def build_model(self) -> "Model":
        """Return the model, with random weights."""
        from pipeline.models.model import Model

        return Model(self.architecture, TASKS[self.task], self.plan)


def list_inputs(params: TrainParams, data: "ShardDataset") -> tuple["PartInput", ...]:
    """Return the inputs of all parts that the params let a model see.

    Raises:
        InputError: the dataset lacks a modality that `train.modalities` names, or a part or a field that `train.fields`
            does.
    """
    from pipeline.models.choose_fields import choose_fields
    from pipeline.models.inputs import list_parts, read_inputs

    present = set(list_parts(data.manifest).values())
    modalities = params.modalities or tuple(name for name in MODALITIES if name in present)
    inputs = read_inputs(data.root, data.manifest, modalities)
    known = [source.part for source in inputs]
    if absent := [part for part in params.fields if part not in known]:
        raise InputError(f"train.fields has the part `{absent[0]}`; it must name some of {', '.join(known)}")
    return tuple(
        chosen
        for source in inputs
        for chosen in choose_fields(source, params.fields.get(source.part, (source.field,)), data.manifest)
    )


def plan_lesson(
    params: TrainParams, options: "TaskOptions", data: "ShardDataset", inputs: Sequence["PartInput"]
) -> Lesson:
    """Plan what is learned from the dataset, and the model: it sees the parts that the task leaves it.

    Raises:
        InputError: the dataset lacks what the task learns.
    """
    from pipeline.models.pretrained_folder import read_sizes
    from pipeline.models.record import Architecture

    task = TASKS[options.name]
    plan = task.make_plan(options, data, inputs)
    seen = tuple(source for source in inputs if source.part in plan.parts)
    encoders = {source.modality: read_options(params, source.modality) for source in seen}
    architecture = Architecture(
        inputs=seen,
        encoders={modality: options.name for modality, options in encoders.items()},
        width=params.width,
        fusion=params.fusion if task.fuses else None,
        dropout=params.dropout,
        sizes={modality: read_sizes(options) for modality, options in encoders.items()},
    )
    return Lesson(options.name, plan, architecture, hash_initial_weights(params, encoders))
