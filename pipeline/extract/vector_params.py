"""Declare the block `extract.vectors`: by modality a frozen encoder, what of it the shards hold."""

from typing import Annotated

from pydantic import Field

from pipeline.config.params import Params, add_keys
from pipeline.models.encoders.options import list_options

ENCODED = ("image", "audio", "text")
"""The modalities whose items may have a vector."""


class FileOptions(Params):
    """Of an encoder that starts from a file."""

    name: str = ""
    """Of the encoder."""
    init_from: Annotated[str, Field(min_length=1)]
    """File of its weights, safetensors or what `torch.save` wrote, in `weights/` so that DVC watches it; or of a model
    that was trained here, beside its `model.json`."""


class NetworkOptions(Params):
    """Of a network of `transformers`."""

    name: str = ""
    """Of the encoder."""
    folder: Annotated[str, Field(min_length=1)]
    """With `config.json`, weights as safetensors and `tokenizer.json`, in `weights/` so that DVC watches it."""


CHOICES = {
    modality: list_options(modality, FileOptions, others={"transformers": NetworkOptions}) for modality in ENCODED
}


@add_keys(
    {
        modality: (
            Annotated[options.union, options] | None,
            Field(
                default=None,
                description=f"Encoder of {modality} items, whose vector is the field `{modality}_vector`; null: none.",
            ),
        )
        for modality, options in CHOICES.items()
    }
)
class VectorParams(Params):
    """Frozen encoders whose output, before their last layer, the shards hold beside the items."""

    def find(self, modality: str) -> Params | None:
        """Return the encoder of a modality, if there is one."""
        found: Params | None = getattr(self, modality, None)
        return found
