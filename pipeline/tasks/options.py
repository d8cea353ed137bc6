"""Declare what `train.task` may say: the name of a task alone, or with its options.

The types stand apart from the tasks, since params are checked long before PyTorch is needed.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, WithJsonSchema, model_validator

from pipeline.config.named_options import NamedOptions
from pipeline.config.params import OneOf, Params, Share, Strings
from pipeline.config.plugins import PATTERN
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
    class_weights: Literal["none", "balanced", "root"] = "none"
    """How much a sample counts in training by its class: all alike, `balanced` by 1 / the number of the class's
    samples, `root` by the square root of that."""
    focus: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Exponent of the focal loss: a sample counts by (1 - its probability) to this power, so easy ones count little; 2
    in Lin et al. (2017), 0 for plain cross-entropy."""


class BinaryOptions(TaskOptions):
    """Tell the positive of two classes from the other, by one output."""

    name: Literal["binary"] = "binary"
    """Of the task."""
    positive: str | None = None
    """The positive class; null: the second."""
    class_weights: Literal["none", "balanced"] = "none"
    """`balanced`: the samples of both classes count as much in training."""


class MultiLabelOptions(TaskOptions):
    """Give a sample any number of tags: the parts of its label."""

    name: Literal["multi_label"] = "multi_label"
    """Of the task."""
    separator: Annotated[str, Field(min_length=1, max_length=10)] = "|"
    """What stands between the tags in a label: `guitar|drums`."""
    class_weights: Literal["none", "balanced"] = "none"
    """`balanced`: of each tag, samples with it count as much in training as those without."""


class RegressionOptions(TaskOptions):
    """Predict a number: labels that are numbers, or a field that holds one a sample."""

    name: Literal["regression"] = "regression"
    """Of the task."""
    field: str | None = None
    """The field with the number; null: the label, read as a number."""
    loss: Literal["squared", "absolute", "huber"] = "squared"
    """Of the error in standard deviations: `absolute` and `huber` are less bent by outliers."""


class RetrievalOptions(TaskOptions):
    """Find the other parts of a sample with one of them; needs no labels."""

    name: Literal["retrieval"] = "retrieval"
    """Of the task."""
    parts: Strings | None = None
    """The parts to compare, two or more; null: all that the model sees."""
    loss: Literal["infonce", "siglip"] = "infonce"
    """`infonce`: the right one among the samples of the batch; `siglip`: each pair is right or wrong by itself."""
    temperature: Annotated[float, Field(gt=0, le=1)] = 0.07
    """What similarities are divided by at the start of `infonce`; it is learned, and at least 0.01 (Radford et al.
    2021)."""
    bias: Annotated[float, Field(ge=-20, le=0)] = -3.5
    """What is added to similarities at the start of `siglip`; it is learned. The logarithm of the share of right pairs:
    -3.5 for batches of 32, as -10 is for the 32,768 of Zhai et al. (2023)."""
    width: Annotated[int, Field(ge=2, le=4096)] = 64
    """Numbers in the vector of a part."""


class GenerationOptions(TaskOptions):
    """Generate a text part of a sample from its others: captions, answers, translations."""

    name: Literal["generation"] = "generation"
    """Of the task."""
    target: str | None = None
    """The text part to generate, which the model does not see; null: the only text part."""
    layers: Annotated[int, Field(ge=1, le=48)] = 2
    """Of the decoder."""
    heads: Annotated[int, Field(ge=1, le=64)] = 4
    """Of attention in the decoder; they must divide `width`."""
    width: Annotated[int, Field(ge=4, le=4096)] = 64
    """Numbers in the embedding of a token in the decoder."""
    label_smoothing: Share = 0.1
    """Share of the target that is spread over all tokens, as in Vaswani et al. (2017)."""
    beam: Annotated[int, Field(ge=1, le=64)] = 4
    """Beginnings of a text that the search keeps; 1 takes the most probable token each time. 4, and the next option,
    are those of Vaswani et al. (2017)."""
    length_penalty: Annotated[float, Field(ge=0, le=5)] = 0.6
    """Exponent by which the search favours long texts (Wu et al. 2016); 0 does not."""
    longest: Annotated[int, Field(ge=1)] | None = None
    """Tokens of a generated text at most; null: those of a stored one, `extract.text.length`."""

    @model_validator(mode="after")
    def _check_heads(self) -> Self:
        if self.width % self.heads:
            raise self.refuse("heads", f"it must divide width ({self.width})")
        return self


class MaskedWordsOptions(TaskOptions):
    """Predict masked words of a text from the others: learns an encoder of text without labels."""

    name: Literal["masked_words"] = "masked_words"
    """Of the task."""
    part: str | None = None
    """The text part; null: the only one."""
    share: Annotated[float, Field(gt=0, lt=1)] = 0.15
    """Of the words that are masked, as in Devlin et al. (2019)."""


class OtherOptions(TaskOptions):
    """A task of the user's own, whose options are checked when it is loaded."""

    model_config = ConfigDict(extra="allow")

    name: Annotated[str, OneOf((AUTO, *TASKS), plugins=True), WithJsonSchema({"type": "string", "pattern": PATTERN})]
    """Of the task."""


OPTIONS: Mapping[str, type[TaskOptions]] = {
    AUTO: AutoOptions,
    "classification": ClassificationOptions,
    "binary": BinaryOptions,
    "multi_label": MultiLabelOptions,
    "regression": RegressionOptions,
    "retrieval": RetrievalOptions,
    "generation": GenerationOptions,
    "masked_words": MaskedWordsOptions,
}
"""The tasks whose options are checked with all other params, before the first stage works."""


UNTYPED = tuple(name for name in TASKS if name not in OPTIONS)

TaskChoice = Annotated[TaskOptions, NamedOptions(OPTIONS, OtherOptions, UNTYPED)]
"""Of `train.task`: a name, or a mapping with `name` and the task's options."""
