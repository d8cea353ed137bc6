"""Declare the block `train:` of `params.yaml`."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from pipeline.config.params import OneOf, Params, add_keys
from pipeline.models.encoders.table import ENCODERS
from pipeline.models.fusions.table import FUSIONS
from pipeline.models.readers import READERS
from pipeline.tasks.options import AutoOptions, TaskChoice


def _check_distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError("a list without repeats")
    return names


@add_keys(
    {
        modality: (
            Annotated[str, OneOf(names, plugins=True)],
            Field(default=next(iter(names)), description=f"Encoder of the modality {modality}."),
        )
        for modality, names in ENCODERS.items()
    }
)
class EncoderParams(Params):
    """The encoder of each modality by name; only those of the modalities in use count. Each part of a modality has an
    encoder of its own."""


class TrainParams(Params):
    """How the model is built and trained."""

    task: TaskChoice = AutoOptions()
    """What the model learns: the name of a task, or a mapping with its `name` and its options. `auto`: classification
    where the dataset has labels, else retrieval where samples have several parts."""
    modalities: (
        Annotated[
            tuple[Annotated[str, OneOf(ENCODERS)], ...],
            Field(strict=False, min_length=1),
            AfterValidator(_check_distinct),
        ]
        | None
    ) = None
    """The modalities that the model sees, with all their parts; each must be in the dataset. Null: all that the dataset
    has."""
    reader: Annotated[str, OneOf(READERS, plugins=True)] = "shardwright"
    """What reads the shards. `shardwright` shuffles the whole split, `webdataset` the shards and within a buffer."""
    encoders: EncoderParams = EncoderParams()
    """The encoder of each modality."""
    width: Annotated[int, Field(ge=4, le=4096)] = 64
    """Numbers in each part's embedding."""
    fusion: Annotated[str, OneOf(FUSIONS, plugins=True)] = "attention"
    """How the embeddings of the parts become one."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Share of the fused embedding that is zeroed in training."""
    modality_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.15
    """Chance that a part of a sample is hidden in training, never all of them: the model learns to do without."""
    augment: bool = True
    """Augment the training samples: flip and shift images, roll and mask audio, replace words by the unknown word."""
    epochs: Annotated[int, Field(ge=1, le=100_000)] = 30
    """Passes over the training split at most."""
    patience: Annotated[int, Field(ge=1)] = 8
    """Epochs without a better validation score after which training stops."""
    batch_size: Annotated[int, Field(ge=1)] = 32
    """Samples a step."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.002
    """The highest one: it rises over the first tenth of the steps and falls to 0 along a cosine."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Of AdamW, on weight matrices only."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Of the initial weights, the order of samples, dropout and augmentation."""
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    """CPU threads. Another number may change bits of the weights."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` is the GPU if there is one."""
