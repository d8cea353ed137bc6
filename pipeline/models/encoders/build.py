"""Build an encoder by the name of its row, or of a plugin."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from pipeline.config.plugins import is_plugin
from pipeline.models.encoders.options import SIZES
from pipeline.models.encoders.table import ENCODERS
from pipeline.models.inputs import PartInput


def build_encoder(source: PartInput, width: int, name: str, sizes: Mapping[str, Any]) -> nn.Module:
    """Return the encoder of this name for items of the modality of `source`, with sizes as `list_sizes` gives them.

    A plugin gets them as keyword arguments.

    Raises:
        InputError: the sizes do not fit the shape of the input.
    """
    build = ENCODERS[source.modality][name]
    if is_plugin(name):
        return build(source, width, **sizes)
    options = SIZES[source.modality].get(name)
    return build(source, width) if options is None else build(source, width, options.model_validate(sizes))
