"""Define the errors that stop a stage.

PipelineError               printed as one line; the stage exits with code 1
├── ParamsError             params.yaml does not fit the types; raised before any work is done
├── InputError              an input file or folder is missing or cannot be used
├── CountMismatch           counts that must agree do not (seen = kept + dropped): a bug, whatever the data
├── TooManyDrops            a larger share was dropped than the params allow
├── MachineDrops            items were dropped that a larger or faster machine would have kept
└── RunningElsewhere        another run uses this folder

Bad data raises nothing: it becomes a row of a table `dropped` (see `pipeline.tables.drops`).
"""


class PipelineError(Exception):
    """A message for the user: what is wrong, where, and what to do."""


class ParamsError(PipelineError):
    """A key of `params.yaml` is unknown or missing, or its value has the wrong type or range."""


class InputError(PipelineError):
    """A file or folder that the stage reads is missing or cannot be used."""


class CountMismatch(PipelineError):  # noqa: N818 - the name says what is wrong
    """Counts that must agree do not."""


class TooManyDrops(PipelineError):  # noqa: N818
    """The share of dropped items is above the limit in the params."""


class MachineDrops(PipelineError):  # noqa: N818
    """Items were dropped because they needed more time or memory than this machine gives them."""


class RunningElsewhere(PipelineError):  # noqa: N818
    """Another process uses the same folder."""
