"""The block `train:` of `params.yaml`."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from pipeline.config.params import Params, Share


def _check_distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError("a list without repeats")
    return names


class EncoderParams(Params):
    """The name of each modality's encoder; those of modalities that are not used do not matter."""

    image: Literal["cnn"]
    """Of pictures."""
    audio: Literal["cnn", "gru"]
    """Of sounds."""
    text: Literal["gru", "transformer"]
    """Of texts."""
    video: Literal["cnn"]
    """Of videos."""


class TrainParams(Params):
    """How the model is built and trained."""

    modalities: Annotated[
        tuple[Literal["image", "audio", "text", "video"], ...],
        Field(strict=False, min_length=1),
        AfterValidator(_check_distinct),
    ]
    """What the model sees; each has to be in the dataset."""
    reader: Literal["shardwright", "webdataset"]
    """Who reads the shards. They shuffle differently: over the whole split, and within a buffer."""
    encoders: EncoderParams
    """The encoder of each modality."""
    width: Annotated[int, Field(ge=4, le=4096)]
    """Numbers in each modality's embedding."""
    fusion: Literal["concat", "mean", "attention"]
    """How the embeddings become one."""
    dropout: Annotated[float, Field(ge=0, lt=1)]
    """Share of the fused embedding that is zeroed in training."""
    modality_dropout: Annotated[float, Field(ge=0, lt=1)]
    """Chance that a modality is hidden from the model in training, never all of a sample's; it learns to do without."""
    augment: bool
    """Vary the samples in training: pictures flip and shift, sounds shift and lose a span, words go missing."""
    label_smoothing: Share
    """Share of the target that is spread over all classes: keeps a model of few samples from being too sure."""
    epochs: Annotated[int, Field(ge=1, le=100_000)]
    """Passes over the training split at most."""
    patience: Annotated[int, Field(ge=1)]
    """Epochs without a better validation score, after which training stops."""
    batch_size: Annotated[int, Field(ge=1)]
    """Samples a step."""
    learning_rate: Annotated[float, Field(gt=0, le=1)]
    """At its highest: it rises for the first tenth of the steps and falls to 0 along a cosine."""
    weight_decay: Annotated[float, Field(ge=0, le=1)]
    """Of AdamW, on weight matrices only."""
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    """Of the initial weights, the order, dropout and augmentation."""
    threads: Annotated[int, Field(ge=1, le=1024)]
    """Of the CPU. Another number may give other bits."""
    device: Literal["auto", "cpu", "cuda"]
    """`auto` takes a GPU where there is one."""
