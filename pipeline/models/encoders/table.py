"""The encoders there are, by modality and name. To add one: a class in the modality's file, a line here."""

from collections.abc import Callable, Mapping

from torch import nn

from pipeline.models.encoders.audio import AudioCnn, AudioGru
from pipeline.models.encoders.image import ImageCnn
from pipeline.models.encoders.text import TextGru, TextTransformer
from pipeline.models.encoders.video import VideoCnn
from pipeline.models.inputs import ModalityInput

BuildEncoder = Callable[[ModalityInput, int], nn.Module]
"""From an input and the width of the embedding to a module `(values, length or None) -> (batch, width)`."""

ENCODERS: Mapping[str, Mapping[str, BuildEncoder]] = {
    "image": {"cnn": ImageCnn},
    "audio": {"cnn": AudioCnn, "gru": AudioGru},
    "text": {"gru": TextGru, "transformer": TextTransformer},
    "video": {"cnn": VideoCnn},
}
