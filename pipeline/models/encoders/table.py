"""List the encoders by modality and name. To add one: a class in a file of this folder, and a line here.

An encoder is built as `Encoder(source, width)` from a `PartInput` and the width of the embedding. The module that
comes of it maps `(values, length)` to `EncodedPart`, and says in `channels` how many channels its tokens have; one
without tokens maps them to (batch, width) float32. `values` is a batch of the modality's field, `length` (batch,) the
number of valid frames or tokens, None where the modality has no length.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from pipeline.config.lazy_import import LazyObject, LazyTable

if TYPE_CHECKING:
    from torch import nn

    from pipeline.models.inputs import PartInput

BuildEncoder: TypeAlias = "Callable[[PartInput, int], nn.Module]"

ENCODERS: Mapping[str, LazyTable[BuildEncoder]] = {
    "image": LazyTable(
        {
            "cnn": LazyObject("pipeline.models.encoders.image:ImageCnn"),
        }
    ),
    "audio": LazyTable(
        {
            "cnn": LazyObject("pipeline.models.encoders.audio:AudioCnn"),
            "gru": LazyObject("pipeline.models.encoders.audio:AudioGru"),
        }
    ),
    "text": LazyTable(
        {
            "gru": LazyObject("pipeline.models.encoders.text:TextGru"),
            "transformer": LazyObject("pipeline.models.encoders.text:TextTransformer"),
        }
    ),
    "video": LazyTable(
        {
            "cnn": LazyObject("pipeline.models.encoders.video:VideoCnn"),
        }
    ),
}
