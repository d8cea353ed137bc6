"""Declare what `train.task` may say: the name of a task alone, or with its options.

The types stand apart from the tasks, since params are checked long before PyTorch is needed.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Discriminator, Tag

from pipeline.config.params import OneOf, Params, Share
from pipeline.tasks.table import TASKS

AUTO: Literal["auto"] = "auto"


class TaskOptions(Params):
    """The name of a task and its options."""

    name: str
    """Of the task, or `auto`."""


class AutoOptions(TaskOptions):
    """Choose the first task of the table that suits the dataset: classification where it has labels, else retrieval
    where samples have several parts. Where none does, nothing is trained."""

    name: Literal["auto"] = AUTO
    """Of the task, or `auto`."""


class ClassificationOptions(TaskOptions):
    """Predict the label of a sample."""

    name: Literal["classification"] = "classification"
    """Of the task."""
    label_smoothing: Share = 0.05
    """Share of the target that is spread over all classes: keeps a model of few samples from being overconfident."""


class OtherOptions(TaskOptions):
    """A task of the user's own, whose options are checked when it is loaded."""

    model_config = ConfigDict(extra="allow")

    name: Annotated[str, OneOf((AUTO, *TASKS), plugins=True)]
    """Of the task."""


OPTIONS: Mapping[str, type[TaskOptions]] = {AUTO: AutoOptions, "classification": ClassificationOptions}
"""The tasks whose options are checked with all other params, before the first stage works."""


def _name_task(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _find_tag(value: Any) -> str:
    name = value.get("name", AUTO) if isinstance(value, Mapping) else getattr(value, "name", AUTO)
    return f"<{name}>" if isinstance(name, str) and name in OPTIONS else "<other>"


TaskChoice = Annotated[
    Annotated[AutoOptions, Tag("<auto>")]
    | Annotated[ClassificationOptions, Tag("<classification>")]
    | Annotated[OtherOptions, Tag("<other>")],
    Discriminator(_find_tag),
    BeforeValidator(_name_task),
]
"""Of `train.task`: a name, or a mapping with `name` and the task's options."""
