"""The block `evaluate:` of `params.yaml`."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.params import Params


class EvaluateParams(Params):
    """What is measured and shown."""

    split: Literal["train", "val", "test"]
    """The split to measure on."""
    batch_size: Annotated[int, Field(ge=1)]
    """Samples at a time."""
    worst: Annotated[int, Field(ge=0, le=1000)]
    """Samples to show that the model got most wrong."""
