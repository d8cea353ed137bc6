"""List the encoders by modality and name. To add one: a class in a file of this folder, and a line here.

An encoder is built as `Encoder(source, width)` from a `ModalityInput` and the width of the embedding. The module that
comes of it maps `(values, length)` to (batch, width) float32: `values` is a batch of the modality's field, `length`
(batch,) the number of valid frames or tokens, None where the modality has no length.
"""

from collections.abc import Mapping

from pipeline.config.lazy_import import LazyObject

ENCODERS: Mapping[str, Mapping[str, LazyObject]] = {
    "image": {"cnn": LazyObject("pipeline.models.encoders.image:ImageCnn")},
    "audio": {
        "cnn": LazyObject("pipeline.models.encoders.audio:AudioCnn"),
        "gru": LazyObject("pipeline.models.encoders.audio:AudioGru"),
    },
    "text": {
        "gru": LazyObject("pipeline.models.encoders.text:TextGru"),
        "transformer": LazyObject("pipeline.models.encoders.text:TextTransformer"),
    },
    "video": {"cnn": LazyObject("pipeline.models.encoders.video:VideoCnn")},
}
