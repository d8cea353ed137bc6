"""Encode texts: token ids (batch, tokens) int32 or uint16 and valid tokens (batch,) to `EncodedPart`.

Where a token has several ids, they are int32 (batch, tokens, kinds). The ids after the valid tokens do not influence
the embedding.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.models.encoders.encoded_part import EncodedPart
from pipeline.models.encoders.layers import (
    build_projection,
    build_transformer,
    find_valid,
    pool_valid,
    run_transformer,
)
from pipeline.models.encoders.options import TextCnnSizes, TextRecurrentSizes, TextSizes, TextTransformerSizes
from pipeline.models.encoders.recurrent import add_recurrent, run_recurrent
from pipeline.models.encoders.words import Words
from pipeline.models.inputs import PartInput


class TextMean(nn.Module):
    """The mean of the embeddings of the valid tokens, in whatever order (Iyyer et al. 2015, without hidden layers)."""

    def __init__(self, source: PartInput, width: int, options: TextSizes) -> None:
        super().__init__()
        self.channels = options.channels
        self.words = Words(source, options.channels, options.embedding_range)
        self.outlet = build_projection(self.channels, width)

    def forward(self, tokens: Tensor, length: Tensor | None = None) -> EncodedPart:
        """Encode `tokens` (batch, tokens) with `length` (batch,)."""
        valid = find_valid(tokens, length)
        words = self.words(tokens, valid)
        mean = pool_valid(words, valid)[:, : self.channels]
        return EncodedPart(self.outlet(mean), words, valid)


class TextCnn(nn.Module):
    """Token embeddings and convolutions over them; of each filter the largest value, then dropout.

    Kim 2014, "Convolutional Neural Networks for Sentence Classification". A window begins at each valid token, and may
    go beyond the last one, over zeros: a text of one token has windows too.
    """

    def __init__(self, source: PartInput, width: int, options: TextCnnSizes) -> None:
        super().__init__()
        self.words = Words(source, options.channels, options.embedding_range)
        self.convolutions = nn.ModuleList(nn.Conv1d(options.channels, options.filters, k) for k in options.kernels)
        self.kernels = options.kernels
        self.channels = options.filters * len(options.kernels)
        self.dropout = nn.Dropout(options.dropout)
        self.outlet = build_projection(self.channels, width)

    def forward(self, tokens: Tensor, length: Tensor | None = None) -> EncodedPart:
        """Encode `tokens` (batch, tokens) with `length` (batch,)."""
        valid = find_valid(tokens, length)
        words = self.words(tokens, valid).masked_fill(~valid.unsqueeze(2), 0).transpose(1, 2)
        found = [
            torch.relu(convolution(functional.pad(words, (0, kernel - 1))))
            for kernel, convolution in zip(self.kernels, self.convolutions, strict=True)
        ]
        windows = torch.cat(found, dim=1).transpose(1, 2)
        largest = windows.masked_fill(~valid.unsqueeze(2), 0).amax(1)  # after relu no value is below 0
        return EncodedPart(self.outlet(self.dropout(largest)), windows, valid)


class TextGru(nn.Module):
    """Token embeddings and a gated recurrent unit over them; both are pooled over the valid tokens."""

    cell: ClassVar[str] = "gru"

    def __init__(self, source: PartInput, width: int, options: TextRecurrentSizes) -> None:
        super().__init__()
        self.words = Words(source, options.channels, options.embedding_range)
        self.channels = options.channels + add_recurrent(self, self.cell, options.channels, options)
        self.outlet = build_projection(2 * self.channels, width)

    def forward(self, tokens: Tensor, length: Tensor | None = None) -> EncodedPart:
        """Encode `tokens` (batch, tokens) with `length` (batch,)."""
        valid = find_valid(tokens, length)
        words = self.words(tokens, valid)
        tokens = torch.cat([words, run_recurrent(self, self.cell, words, valid)], dim=2)
        return EncodedPart(self.outlet(pool_valid(tokens, valid)), tokens, valid)


class TextLstm(TextGru):
    """As `TextGru`, with long short-term memory."""

    cell = "lstm"


class TextTransformer(nn.Module):
    """Token embeddings plus learned positions, transformer layers, then pooling over the valid tokens."""

    def __init__(self, source: PartInput, width: int, options: TextTransformerSizes) -> None:
        super().__init__()
        self.channels = options.channels
        self.words = Words(source, options.channels, options.embedding_range)
        self.positions = nn.Parameter(0.02 * torch.randn(source.shape[0], self.channels))
        self.layers = build_transformer(options)
        self.outlet = build_projection(2 * self.channels, width)

    def forward(self, tokens: Tensor, length: Tensor | None = None) -> EncodedPart:
        """Encode `tokens` (batch, tokens) with `length` (batch,)."""
        valid = find_valid(tokens, length)
        values = self.words(tokens, valid) + self.positions[: tokens.shape[1]]
        values = run_transformer(self.layers, values, valid)
        return EncodedPart(self.outlet(pool_valid(values, valid)), values, valid)
