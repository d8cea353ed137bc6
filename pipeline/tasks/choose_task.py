"""Choose what a model learns: what the params say, or what suits the dataset."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from pipeline.errors import ParamsError
from pipeline.tasks.options import AUTO, TaskOptions
from pipeline.tasks.table import TASKS

if TYPE_CHECKING:
    from pipeline.models.inputs import PartInput
    from shardwright import ShardDataset


def choose_task(options: TaskOptions, data: "ShardDataset", inputs: "Sequence[PartInput]") -> TaskOptions | None:
    """Return the options of the task to learn; for `auto` the defaults of the first of `TASKS` that suits the dataset,
    None where none does.

    Raises:
        ParamsError: the options do not fit the task.
    """
    if options.name == AUTO:
        suiting = (name for name in TASKS if TASKS[name].suits(data, inputs))
        name = next(suiting, None)
        return None if name is None else _check_options(name, {"name": name})
    return _check_options(options.name, options.model_dump())


def _check_options(name: str, given: dict[str, Any]) -> TaskOptions:
    """Return the options as the task's own type; the name is that in the table, or of the plugin."""
    kind = TASKS[name].options
    try:
        return kind.model_validate({**given, "name": kind.model_fields["name"].default}).model_copy(
            update={"name": name}
        )
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise ParamsError(f"train.task does not fit {name}: {faults}") from None
