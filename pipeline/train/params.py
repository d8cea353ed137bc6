"""Declare the block `train:` of `params.yaml`."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, create_model

from pipeline.config.params import OneOf, Params, Share
from pipeline.models.encoders.table import ENCODERS
from pipeline.models.fusions.table import FUSIONS
from pipeline.models.readers import READERS
from pipeline.tasks.table import TASKS


def _check_distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError("a list without repeats")
    return names


_encoder_fields: dict[str, Any] = {
    modality: (
        Annotated[str, OneOf(names), Field(description=f"Encoder of the modality {modality}.")],
        next(iter(names)),
    )
    for modality, names in ENCODERS.items()
}
EncoderParams = create_model("EncoderParams", __base__=Params, **_encoder_fields)
EncoderParams.__doc__ = "The encoder of each modality by name; only those of `train.modalities` are used."


class TrainParams(Params):
    """How the model is built and trained."""

    task: Annotated[str, OneOf(TASKS)] = "classification"
    """What the model learns."""
    modalities: Annotated[
        tuple[Annotated[str, OneOf(ENCODERS)], ...],
        Field(strict=False, min_length=1),
        AfterValidator(_check_distinct),
    ]
    """The modalities that the model sees; each must be in the dataset."""
    reader: Annotated[str, OneOf(READERS)]
    """What reads the shards. `shardwright` shuffles the whole split, `webdataset` the shards and within a buffer."""
    encoders: EncoderParams  # type: ignore[valid-type]  # made from the table
    """The encoder of each modality."""
    width: Annotated[int, Field(ge=4, le=4096)]
    """Numbers in each modality's embedding."""
    fusion: Annotated[str, OneOf(FUSIONS)]
    """How the embeddings of the modalities become one."""
    dropout: Annotated[float, Field(ge=0, lt=1)]
    """Share of the fused embedding that is zeroed in training."""
    modality_dropout: Annotated[float, Field(ge=0, lt=1)]
    """Chance that a modality of a sample is hidden in training, never all of them: the model learns to do without."""
    augment: bool
    """Augment the training samples: flip and shift images, roll and mask audio, replace words by the unknown word."""
    label_smoothing: Share
    """Share of the target that is spread over all classes: keeps a model of few samples from being overconfident."""
    epochs: Annotated[int, Field(ge=1, le=100_000)]
    """Passes over the training split at most."""
    patience: Annotated[int, Field(ge=1)]
    """Epochs without a better validation score after which training stops."""
    batch_size: Annotated[int, Field(ge=1)]
    """Samples a step."""
    learning_rate: Annotated[float, Field(gt=0, le=1)]
    """The highest one: it rises over the first tenth of the steps and falls to 0 along a cosine."""
    weight_decay: Annotated[float, Field(ge=0, le=1)]
    """Of AdamW, on weight matrices only."""
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    """Of the initial weights, the order of samples, dropout and augmentation."""
    threads: Annotated[int, Field(ge=1, le=1024)]
    """CPU threads. Another number may change bits of the weights."""
    device: Literal["auto", "cpu", "cuda"]
    """`auto` is the GPU if there is one."""
