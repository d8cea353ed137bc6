"""What can go wrong in the pipeline.

PipelineError               one clear message for the person at the terminal; the stage exits 1
├── ParamsError             params.yaml is not what the types allow; nothing was done
├── InputError              an input file is missing or cannot be used
├── LedgerError             in = kept + dropped does not hold: a fault of ours, never of the data
├── TooManyDrops            more was dropped than the params allow
├── MachineDrops            items were dropped that a larger or faster machine would have kept
└── RunningElsewhere        another run holds this folder

Bad data is not an exception: it is a row of `dropped.parquet` (see `pipeline.tables.drops`).
"""


class PipelineError(Exception):
    """A message for a person: what was wrong, where, and what to do."""


class ParamsError(PipelineError):
    """A key of `params.yaml` is unknown or missing, or its value is of the wrong type or range."""


class InputError(PipelineError):
    """A file or folder that the stage was told to read is missing or cannot be used."""


class LedgerError(PipelineError):
    """Counts that must agree do not."""


class TooManyDrops(PipelineError):  # noqa: N818 - it is a verdict, and reads as one
    """The share of dropped items is above the limit that the params set."""


class MachineDrops(PipelineError):  # noqa: N818
    """Items took more time or memory than this machine was told to give them."""


class RunningElsewhere(PipelineError):  # noqa: N818
    """Another process works in the same folder."""
