"""Declare the block `evaluate:` of `params.yaml`."""

from typing import Annotated

from pydantic import Field

from pipeline.config.params import OneOf, Params, PluginName, Strings
from pipeline.models.readers import READERS
from pipeline.tables.contracts import SPLITS

NoiseLevel = Annotated[float, Field(gt=0, le=100, strict=False)]


class EvaluateParams(Params):
    """What is measured and shown."""

    split: Annotated[str, OneOf(SPLITS)] = "test"
    """The split to measure on."""
    reader: Annotated[str, OneOf(READERS, plugins=True)] = "shardwright"
    """What reads the shards. The report is the same; webdataset takes some 0.3 ms of CPU more for a sample."""
    metrics: Annotated[tuple[PluginName, ...], Field(strict=False)] = ()
    """Metrics of your own beside those of the task, each `plugins/<file>.py:<Name>`, a function from
    `pipeline.tasks.task.Predictions` and the names of the classes to a number."""
    slices: Strings = ()
    """Columns of the samples' metadata by whose values the main scores are given too: `language`, `source`,
    `audio.licence`, `label`."""
    noise: dict[str, Annotated[tuple[NoiseLevel, ...], Field(strict=False, min_length=1)]] = Field(default={})
    """By part the levels of Gaussian noise to measure with too, in standard deviations of the training split: `image:
    [0.5, 1, 2]`. Each costs the part's encoder once more."""
    batch_size: Annotated[int, Field(ge=1)] = 64
    """Samples in a batch."""
    worst: Annotated[int, Field(ge=0, le=1000)] = 12
    """Samples to show of those that the model got most wrong."""
