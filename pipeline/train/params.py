"""Declare the block `train:` of `params.yaml`."""

from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, Field, model_validator

from pipeline.config.params import OneOf, Params, Share, add_keys
from pipeline.models.encoders.options import OPTIONS
from pipeline.models.fusions.table import FUSIONS
from pipeline.models.readers import READERS
from pipeline.tables.contracts import MODALITIES
from pipeline.tasks.options import AutoOptions, TaskChoice

Value = TypeVar("Value")

Seed = Annotated[int, Field(ge=0, lt=2**32)]


def _check_distinct(values: tuple[Value, ...]) -> tuple[Value, ...]:
    if len(set(values)) < len(values):
        raise ValueError("a list without repeats")
    return values


@add_keys(
    {
        modality: (
            Annotated[options.union, options],
            Field(
                default=next(iter(options.types.values()))(),
                description=f"Encoder of the modality {modality}: its name, or a mapping with `name` and its options.",
            ),
        )
        for modality, options in OPTIONS.items()
    }
)
class EncoderParams(Params):
    """The encoder of each modality; only those of the modalities in use count. Each part of a modality has an encoder
    of its own."""


class TrainParams(Params):
    """How the model is built and trained."""

    task: TaskChoice = AutoOptions()
    """What the model learns: the name of a task, or a mapping with its `name` and its options. `auto`: classification
    where the dataset has labels, else retrieval where samples have several parts."""
    modalities: (
        Annotated[
            tuple[Annotated[str, OneOf(MODALITIES)], ...],
            Field(strict=False, min_length=1),
            AfterValidator(_check_distinct),
        ]
        | None
    ) = None
    """The modalities that the model sees, with all their parts; each must be in the dataset. Null: all that the dataset
    has."""
    fields: dict[str, Annotated[tuple[str, ...], Field(strict=False, min_length=1)]] = Field(default={})
    """By part the fields that the model sees of it, side by side: `audio: [mfcc, mfcc_delta]`, `text: [tokens, pos]`,
    `video: [video, video_mfcc]`, whose audio is a part of its own. Of parts that are not named, the first field."""
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
    """Chance that a part of a sample is hidden in training, never all of them: the model learns to do without. Not
    used by retrieval, which fuses nothing."""
    augment: bool = True
    """Augment the training samples: flip and shift images, roll and mask audio, replace words by the unknown word."""
    epochs: Annotated[int, Field(ge=1, le=100_000)] = 30
    """Passes over the training split at most."""
    patience: Annotated[int, Field(ge=1)] = 8
    """Epochs without a better validation score after which training stops."""
    monitor: str | None = None
    """By which the best epoch is found: `loss`, or a score of the task. Null: the task's main score."""
    select_epoch: Literal["best", "last"] = "best"
    """Whose weights are evaluated. On few validation samples the best epoch is chosen by chance, and the last one, at
    the end of the cosine or averaged, varies less."""
    average_epochs: Annotated[int, Field(ge=1, le=1000)] = 1
    """Epochs over whose ends the weights are averaged; the average is validated and published."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of an exponential moving average of the weights over the steps, such as 0.999, which is validated and
    published; 0 keeps none."""
    batch_size: Annotated[int, Field(ge=1)] = 32
    """Samples that go through the model together."""
    accumulate: Annotated[int, Field(ge=1)] = 1
    """Batches a step: their gradients are summed, as those of one batch that would not fit in memory."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """AdamW, or SGD with Nesterov's momentum."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Of SGD."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.002
    """The highest one: it rises in `warm_up` and falls to 0 along a cosine."""
    warm_up: Share = 0.1
    """Share of the steps in which the learning rate rises: AdamW's first estimates of the variance are poor, and large
    steps on them do harm."""
    max_gradient: Annotated[float, Field(gt=0)] | None = 1.0
    """Norm to which gradients are clipped: one odd batch must not undo an epoch. Null: they are not."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.01
    """On weight matrices only."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of training: with bfloat16 PyTorch's autocast chooses it where it does no harm. Validation is in float32."""
    compile: bool = False
    """Compile the model for training with `torch.compile`: a minute at the start, and other last digits."""
    seed: Seed = 0
    """Of the initial weights, the order of samples, dropout and augmentation."""
    seeds: Annotated[tuple[Seed, ...], Field(strict=False, min_length=1), AfterValidator(_check_distinct)] | None = None
    """Train once with each, in place of `seed`, and report how the scores spread. The first one's model is published,
    the others' beside it."""
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    """CPU threads. Another number may change bits of the weights."""
    processes: Annotated[int, Field(ge=1, le=1024)] = 1
    """Processes that train together on this machine, started by torchrun; on GPUs one each. `batch_size` is that of all
    of them. Another number may change the last bits of the weights."""
    sharding: Literal["none", "full"] = "none"
    """What each of several processes holds. `none`: the whole model. `full`: its share of the parameters, the gradients
    and what the optimizer keeps (FSDP); a layer is put together while it computes."""
    tensorboard: bool = False
    """Write `data/tensorboard/seed-0` while training, for TensorBoard: loss, learning rate and samples a second of each
    step, and the validation scores of each epoch. It needs the package tensorboard."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` is the GPU if there is one."""

    @model_validator(mode="after")
    def _check_one_average(self) -> Self:
        if self.ema and self.average_epochs > 1:
            raise self.refuse("average_epochs", "it must be 1 where train.ema is set: one of them averages the weights")
        return self

    @model_validator(mode="after")
    def _check_processes(self) -> Self:
        if self.batch_size % self.processes:
            raise self.refuse("batch_size", f"it must be a multiple of train.processes ({self.processes})")
        if self.processes > 1 and self.reader != "shardwright":
            raise self.refuse("reader", "it must be shardwright where train.processes is over 1")
        return self

    @model_validator(mode="after")
    def _check_sharding(self) -> Self:
        if self.sharding == "full" and self.processes == 1:
            raise self.refuse("sharding", "it must be none where train.processes is 1: there is nobody to share with")
        if self.sharding == "full" and self.compile:
            raise self.refuse("compile", "it must be false where train.sharding is full")
        return self
