"""List the encoders by modality and name. To add one: a class in a file of this folder, and a line here.

An encoder is built as `Encoder(source, width)` from a `PartInput` and the width of the embedding; one with a type of
options in `pipeline.models.encoders.options.SIZES` gets these too. The module that comes of it maps `(values, length)`
to `EncodedPart`, and says in `channels` how many channels its tokens have; one without tokens maps them to (batch,
width) float32. `values` is a batch of the modality's field, `length` (batch,) the number of valid frames or tokens,
None where the modality has no length.

An encoder may say `mixes_samples = True`, where in training its samples influence each other: then it sees those alone
that have its part. In `unused_weights` it may list how names of weights begin that a file may have though it has none
such. Its last layer, to the width of the embedding, is called `outlet`.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from pipeline.config.lazy_import import LazyObject, LazyTable

if TYPE_CHECKING:
    from torch import nn

BuildEncoder: TypeAlias = "Callable[..., nn.Module]"

ENCODERS: Mapping[str, LazyTable[BuildEncoder]] = {
    "image": LazyTable(
        {
            "cnn": LazyObject("pipeline.models.encoders.image:ImageCnn"),
            "flat": LazyObject("pipeline.models.encoders.flat:Flat"),
            "resnet18": LazyObject("pipeline.models.encoders.resnet:ResNet18"),
            "resnet34": LazyObject("pipeline.models.encoders.resnet:ResNet34"),
            "resnet50": LazyObject("pipeline.models.encoders.resnet:ResNet50"),
            "vgg11": LazyObject("pipeline.models.encoders.vgg:Vgg11"),
            "vgg16": LazyObject("pipeline.models.encoders.vgg:Vgg16"),
            "vit": LazyObject("pipeline.models.encoders.vit:Vit"),
        }
    ),
    "audio": LazyTable(
        {
            "cnn": LazyObject("pipeline.models.encoders.audio:AudioCnn"),
            "crnn": LazyObject("pipeline.models.encoders.audio:AudioCrnn"),
            "flat": LazyObject("pipeline.models.encoders.flat:Flat"),
            "gru": LazyObject("pipeline.models.encoders.audio:AudioGru"),
            "lstm": LazyObject("pipeline.models.encoders.audio:AudioLstm"),
            "transformer": LazyObject("pipeline.models.encoders.audio:AudioTransformer"),
        }
    ),
    "text": LazyTable(
        {
            "gru": LazyObject("pipeline.models.encoders.text:TextGru"),
            "lstm": LazyObject("pipeline.models.encoders.text:TextLstm"),
            "cnn": LazyObject("pipeline.models.encoders.text:TextCnn"),
            "mean": LazyObject("pipeline.models.encoders.text:TextMean"),
            "flat": LazyObject("pipeline.models.encoders.flat:Flat"),
            "transformer": LazyObject("pipeline.models.encoders.text:TextTransformer"),
            "transformers": LazyObject("pipeline.models.encoders.hugging_face:TransformersText"),
        }
    ),
    "video": LazyTable(
        {
            "cnn": LazyObject("pipeline.models.encoders.video:VideoCnn"),
            "flat": LazyObject("pipeline.models.encoders.flat:Flat"),
        }
    ),
    "vector": LazyTable({"linear": LazyObject("pipeline.models.encoders.vector:VectorLinear")}),
}
