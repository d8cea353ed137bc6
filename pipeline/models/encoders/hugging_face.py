"""Encode texts by a network of Hugging Face's `transformers`, built from its `config.json`; never downloaded."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.models.encoders.encoded_part import EncodedPart
from pipeline.models.encoders.layers import build_projection, find_valid, pool_valid
from pipeline.models.encoders.options import TransformersSizes
from pipeline.models.inputs import PartInput

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SETTING = "train.encoders.text"


class TransformersText(nn.Module):
    """A network that was trained elsewhere, and the mean of its last states over the valid tokens, or the first.

    The marks of start and end are tokens as others: `extract.text.tokenizer: file` puts them into the shards.
    """

    def __init__(self, source: PartInput, width: int, options: TransformersSizes) -> None:
        super().__init__()
        self.network = build_network(options.config)
        config = self.network.config
        check_tokens(source, config)
        self.pooling, self.padding = options.pooling, config.pad_token_id or 0
        self.channels = config.hidden_size
        self.outlet = build_projection(self.channels, width)

    def forward(self, tokens: Tensor, length: Tensor | None = None) -> EncodedPart:
        """Encode `tokens` (batch, tokens) with `length` (batch,)."""
        valid = find_valid(tokens, length)
        seen = valid.clone()
        seen[:, 0] = True  # attention over no token is NaN; pooling gives zeros
        ids = tokens.int().masked_fill(~valid, self.padding)
        states = self.network(input_ids=ids, attention_mask=seen.long()).last_hidden_state
        pooled = pool_valid(states, valid)[:, : self.channels] if self.pooling == "mean" else states[:, 0]
        return EncodedPart(self.outlet(pooled), states, valid)


def build_network(config: Mapping[str, Any]) -> "PreTrainedModel":
    """Return the network that a `config.json` describes, with random weights, in float32 and without its pooler.

    Raises:
        InputError: the package is missing, or knows no encoder of this kind; the message names the setting.
    """
    try:
        from transformers import AutoConfig, AutoModel
    except ImportError:
        raise InputError(
            f"{SETTING}.name is transformers, whose package is not installed: pip install transformers"
        ) from None
    kind = config.get("model_type", "")
    try:
        network: PreTrainedModel = AutoModel.from_config(AutoConfig.for_model(**config), dtype=torch.float32)
    except (ValueError, TypeError, KeyError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{SETTING}.folder has a config.json of the type `{kind}`: {reason}") from None
    if network.config.is_encoder_decoder:
        raise InputError(f"{SETTING}.folder has a config.json of the type `{kind}`; it must be an encoder alone")
    if getattr(network, "pooler", None) is not None:
        network.pooler = None
    return network


def check_tokens(source: PartInput, config: Any) -> None:
    """Check that a network can read the tokens of a part.

    Raises:
        InputError: they have several ids each, or are more, or of more kinds, than it knows; the message names the
            setting.
    """
    if source.joined_words:
        raise InputError(
            f"train.fields.{source.part} has several fields; it must have one where {SETTING}.name is transformers"
        )
    known = {
        "kinds of tokens": (source.words, config.vocab_size),
        "tokens, extract.text.length,": (source.shape[0], getattr(config, "max_position_embeddings", source.shape[0])),
    }
    for what, (count, most) in known.items():
        if count > most:
            raise InputError(f"{SETTING}.folder has a network of {most} {what} at most; the dataset has {count}")
