"""Encode texts: token ids (batch, tokens) int32 or uint16 and valid tokens (batch,) to `EncodedPart`.

The ids after the valid tokens do not influence the embedding. Ids are converted with `int()`, as PyTorch has the dtype
uint16 but no embedding lookup for it.
"""

import torch
from torch import Tensor, nn

from pipeline.models.encoders.encoded_part import EncodedPart
from pipeline.models.encoders.layers import build_projection, find_valid, pool_valid
from pipeline.models.inputs import PartInput

CHANNELS = 64
HEADS = 4
LAYERS = 2
DROPOUT = 0.1
"""Within the transformer, as in Attention Is All You Need (Vaswani et al. 2017, section 5.4)."""


class TextGru(nn.Module):
    """Token embeddings and a gated recurrent unit over them; both are pooled over the valid tokens.

    It runs forwards only, so that no state of a valid token depends on the padding after it.
    """

    def __init__(self, source: PartInput, width: int) -> None:
        super().__init__()
        self.channels = 2 * CHANNELS
        self.words = nn.Embedding(source.words, CHANNELS)
        self.gru = nn.GRU(CHANNELS, CHANNELS, batch_first=True)
        self.outlet = build_projection(4 * CHANNELS, width)

    def forward(self, tokens: Tensor, length: Tensor | None = None) -> EncodedPart:
        """Encode `tokens` (batch, tokens) with `length` (batch,)."""
        valid = find_valid(tokens, length)
        words = self.words(tokens.int().masked_fill(~valid, 0))
        states, _ = self.gru(words)
        tokens = torch.cat([words, states], dim=2)
        return EncodedPart(self.outlet(pool_valid(tokens, valid)), tokens, valid)


class TextTransformer(nn.Module):
    """Token embeddings plus learned positions, two transformer layers, then pooling over the valid tokens."""

    def __init__(self, source: PartInput, width: int) -> None:
        super().__init__()
        self.channels = CHANNELS
        self.words = nn.Embedding(source.words, CHANNELS)
        self.positions = nn.Parameter(0.02 * torch.randn(source.shape[0], CHANNELS))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(CHANNELS, HEADS, 2 * CHANNELS, DROPOUT, batch_first=True, norm_first=True)
            for _ in range(LAYERS)
        )
        self.outlet = build_projection(2 * CHANNELS, width)

    def forward(self, tokens: Tensor, length: Tensor | None = None) -> EncodedPart:
        """Encode `tokens` (batch, tokens) with `length` (batch,)."""
        valid = find_valid(tokens, length)
        # A text without tokens attends to its first padding: attention over no token is NaN. Pooling gives zeros.
        padding = ~valid
        padding[:, 0] = False
        values = self.words(tokens.int().masked_fill(~valid, 0)) + self.positions[: tokens.shape[1]]
        for layer in self.layers:
            values = layer(values, src_key_padding_mask=padding)
        return EncodedPart(self.outlet(pool_valid(values, valid)), values, valid)
