"""Declare what `train.encoders` may say of each modality: the name of an encoder alone, or with its options.

The types stand apart from the encoders, since params are checked long before PyTorch is needed. Sizes belong to the
model and are kept in `model.json`; `TrainingOptions` say how the encoder learns.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, create_model, model_validator

from pipeline.config.named_options import NamedOptions
from pipeline.config.params import OneOf, Params, add_keys
from pipeline.models.encoders.table import ENCODERS

Width = Annotated[int, Field(ge=1, le=8192)]
Eights = Annotated[int, Field(ge=8, le=8192, multiple_of=8)]
Widths = Annotated[tuple[Width, ...], Field(strict=False, min_length=1)]
Layers = Annotated[int, Field(ge=1, le=128)]
Zeroed = Annotated[float, Field(ge=0, lt=1)]


class Sizes(Params):
    """Options of an encoder that belong to the model."""

    name: str = ""
    """Of the encoder."""


class OtherSizes(Sizes):
    """An encoder of the user's own, which gets these keys, but for those of `TrainingOptions`, as keyword arguments."""

    model_config = ConfigDict(extra="allow")


class ImageCnnSizes(Sizes):
    """A small network of convolutions, then the mean over all positions."""

    channels: Annotated[tuple[Eights, ...], Field(strict=False, min_length=1)] = (16, 32, 64, 128)
    """Of the convolutions, each of which halves the side; multiples of 8. The default ends 64 × 64 pixels as 4 × 4: 0.2
    million parameters, 13 million multiplications an image, of which two cores train on some 1,500 a second."""


class BackboneSizes(Sizes):
    """A network whose weights have the names that torchvision gives them."""

    scale: Literal["dataset", "imagenet"] = "dataset"
    """Whose mean and standard deviation scale the colours: those of the training split, or those of ImageNet, with
    which weights from elsewhere were trained."""


class ResnetSizes(BackboneSizes):
    """A residual network (He et al. 2016), with weights named as torchvision's."""

    channels: Annotated[tuple[Width, ...], Field(strict=False, min_length=4, max_length=4)] = (64, 128, 256, 512)
    """Of the four groups of blocks; with others no weights from elsewhere fit."""


class VggSizes(BackboneSizes):
    """A network of the Visual Geometry Group (Simonyan and Zisserman 2015), with weights named as torchvision's."""

    channels: Annotated[tuple[Width, ...], Field(strict=False, min_length=5, max_length=5)] = (64, 128, 256, 512, 512)
    """Of the five groups of convolutions; with others no weights from elsewhere fit."""


class TransformerSizes(Sizes):
    """A transformer."""

    channels: Width = 64
    """Of a token."""
    layers: Layers = 2
    """One after the other."""
    heads: Layers = 4
    """Of attention; they must divide `channels`."""
    dropout: Zeroed = 0.1
    """Within the layers, as in "Attention Is All You Need" (Vaswani et al. 2017, section 5.4)."""

    @model_validator(mode="after")
    def _check_heads(self) -> Self:
        if self.channels % self.heads:
            raise self.refuse("heads", f"it must divide channels ({self.channels})")
        return self


class VitSizes(TransformerSizes):
    """A small vision transformer, whose tokens are squares of the image."""

    patch: Annotated[int, Field(ge=1, le=256)] = 8
    """Side of a square, in pixels; it must divide height and width."""
    layers: Layers = 4
    """One after the other."""


class RecurrentSizes(Sizes):
    """A recurrent network."""

    hidden: Width = 96
    """Numbers in a state."""
    layers: Layers = 1
    """One upon the other."""
    bidirectional: bool = False
    """Read backwards too, from the last valid step."""
    dropout: Zeroed = 0.0
    """Between layers."""


class AudioSizes(Sizes):
    """An encoder of audio."""

    subtract_mean: bool = False
    """Subtract each clip's own mean over its frames: takes off level and microphone, and what they tell."""


class AudioCnnSizes(AudioSizes):
    """Convolutions over frames."""

    channels: Widths = (64, 96, 128)
    """Of the convolutions, each of which halves the number of frames."""
    reach: Annotated[int, Field(ge=0, le=32)] = 2
    """Frames on each side that a convolution sees."""


class AudioRecurrentSizes(AudioSizes, RecurrentSizes):
    """A recurrent network over frames."""


class CrnnSizes(AudioCnnSizes, AudioRecurrentSizes):
    """Convolutions over frames, and a recurrent network over what they give."""


class AudioTransformerSizes(AudioSizes, TransformerSizes):
    """A transformer over frames."""


class TextSizes(Sizes):
    """An encoder of text."""

    channels: Width = 64
    """Numbers in the embedding of a token."""
    embedding_range: Annotated[float, Field(gt=0, le=10)] | None = None
    """The embeddings of tokens start uniform in ± this; null: normal with variance 1. On few texts 0.25 is better by
    one to two points."""


class TextRecurrentSizes(TextSizes, RecurrentSizes):
    """A recurrent network over tokens."""

    hidden: Width = 64
    """Numbers in a state."""


class TextTransformerSizes(TextSizes, TransformerSizes):
    """A transformer over tokens."""


class TextCnnSizes(TextSizes):
    """Convolutions over tokens (Kim 2014)."""

    kernels: Annotated[tuple[Annotated[int, Field(ge=1, le=31)], ...], Field(strict=False, min_length=1)] = (3, 4, 5)
    """Tokens that each kind of filter sees."""
    filters: Width = 64
    """Of each kind."""
    dropout: Zeroed = 0.5
    """Of what the filters found."""


class TransformersSizes(Sizes):
    """A network of the package `transformers`, from a folder."""

    pooling: Literal["mean", "first"] = "mean"
    """Of its last states: the mean over the tokens, or that of the first token, as the network was trained."""
    config: dict[str, Any] = Field(default={})
    """Keys of the folder's `config.json` to replace, such as `hidden_dropout_prob: 0`."""


SIZES: dict[str, dict[str, type[Sizes]]] = {
    "image": {
        "cnn": ImageCnnSizes,
        **dict.fromkeys(("resnet18", "resnet34", "resnet50"), ResnetSizes),
        **dict.fromkeys(("vgg11", "vgg16"), VggSizes),
        "vit": VitSizes,
    },
    "audio": {
        "cnn": AudioCnnSizes,
        "crnn": CrnnSizes,
        **dict.fromkeys(("gru", "lstm"), AudioRecurrentSizes),
        "transformer": AudioTransformerSizes,
    },
    "text": {
        "mean": TextSizes,
        "cnn": TextCnnSizes,
        **dict.fromkeys(("gru", "lstm"), TextRecurrentSizes),
        "transformer": TextTransformerSizes,
        "transformers": TransformersSizes,
    },
    "vector": {},
}
"""The types of the options of encoders that have any, by modality and name."""


class TrainingOptions(Params):
    """Options of an encoder that say how it learns."""

    name: str = ""
    """Of the encoder."""
    freeze: bool = False
    """Keep all its weights but those of the last projection, to `width`."""
    lr_mult: Annotated[float, Field(gt=0, le=100)] = 1.0
    """The learning rate of its weights is this many times that of the others."""
    init_from: str | None = None
    """File of weights to start from, safetensors or what `torch.save` wrote, in `weights/` so that DVC watches it."""


class TextTrainingOptions(TrainingOptions):
    """Of text also the vectors that words start from."""

    vectors: str | None = None
    """File of word vectors to start from, text or npz, in `weights/` so that DVC watches it; or `spacy:` and the name
    of an installed pipeline of spaCy, or its folder. `channels` must be their length."""


class FolderOptions(TrainingOptions):
    """Of a network that starts from a folder."""

    folder: Annotated[str, Field(min_length=1)]
    """With `config.json`, weights as safetensors and `tokenizer.json`, as `transformers` writes them; in `weights/`, so
    that DVC watches it. The dataset's tokens must be those of its tokenizer."""
    freeze: bool = True
    """Keep all its weights but those of the last projection, to `width`."""


def list_options(modality: str, *bases: type[Params], others: Mapping[str, type[Params]] | None = None) -> NamedOptions:
    """Return the annotation of a key that names an encoder of a modality: its sizes and the keys of `bases`; for the
    names in `others`, of the type there in their place."""
    own_bases = others or {}
    types = {
        name: _make_type(
            f"{modality}_{name}",
            (*([own_bases[name]] if name in own_bases else bases), SIZES[modality].get(name, Sizes)),
            Literal[name],
            name,
        )
        for name in ENCODERS[modality]
    }
    own = _make_type(f"{modality}_other", (*bases, OtherSizes), Annotated[str, OneOf(types, plugins=True)], ...)
    return NamedOptions(types, own)


def _make_type(title: str, bases: tuple[type[Params], ...], names: Any, default: Any) -> type[Params]:
    """Return a type with the keys of the bases, the last of which describes it, whose `name` is one of `names`."""
    made: type[Params] = create_model(
        "".join(word.capitalize() for word in title.split("_")) + ("" if len(bases) == 1 else "Encoder"),
        __base__=bases,
        __module__=__name__,
        name=(names, Field(default=default, description="Of the encoder.")),
    )
    made.__doc__ = bases[-1].__doc__
    return made


FRAMES = list_options("image")


@add_keys(
    {
        "frames": (
            Annotated[FRAMES.union, FRAMES],
            Field(
                default=FRAMES.types["cnn"](),
                description="The encoder of images, by name alone or with its sizes.",
            ),
        )
    }
)
class VideoSizes(Sizes):
    """An encoder of images on each frame, then over the frames."""

    frames: Sizes = Sizes()
    pooling: Literal["mean", "gru", "attention"] = "mean"
    """How the embeddings of frames become one: their mean, which sees no motion; a recurrent network, then the mean of
    its states; or a mean with weights that attention gives."""


SIZES["video"] = {"cnn": VideoSizes}

OPTIONS: Mapping[str, NamedOptions] = {
    modality: list_options(
        modality,
        TextTrainingOptions if modality == "text" else TrainingOptions,
        others={"transformers": FolderOptions},
    )
    for modality in ENCODERS
}
"""Of `train.encoders.<modality>`."""


def list_sizes(options: Params) -> dict[str, Any]:
    """Return the options that belong to the model, as JSON, without the name."""
    learning = {*TextTrainingOptions.model_fields, *FolderOptions.model_fields}
    return options.model_dump(mode="json", exclude={"name", *learning})
