"""Fuse by attention across the parts: each reads the frames, words and positions of the others."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline.models.encoders.encoded_part import EncodedPart
from pipeline.models.fusions.attention import HEADS


class CrossAttention(nn.Module):
    """The embedding of each part attends to itself and to the tokens of the other parts that are present, as in a
    layer of Multimodal Transformer (Tsai et al. 2019); then the mean over the present parts and one hidden layer.
    """

    reads_tokens = True

    def __init__(self, parts: int, width: int, channels: Sequence[int]) -> None:
        """Args: `parts`, their `width`, and how many channels the tokens of each part have."""
        super().__init__()
        self.heads = next(heads for heads in range(HEADS, 0, -1) if width % heads == 0)
        self.narrow = nn.ModuleList(nn.Sequential(nn.Linear(each, width), nn.LayerNorm(width)) for each in channels)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.layers = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU())

    def forward(self, embeddings: Tensor, present: Tensor, encoded: Sequence[EncodedPart]) -> Tensor:
        """Fuse (batch, parts, width) with `present` (batch, parts) and what was encoded of each part to
        (batch, width)."""
        batch, parts, width = embeddings.shape
        eye = torch.eye(parts, dtype=torch.bool, device=embeddings.device)
        tokens, seen = [embeddings], [eye.expand(batch, parts, parts)]
        for part, (narrow, each) in enumerate(zip(self.narrow, encoded, strict=True)):
            valid = each.valid & present[:, part : part + 1]
            tokens.append(narrow(each.tokens.masked_fill(~valid.unsqueeze(2), 0)))  # a weight of 0 × NaN is NaN
            seen.append(valid.unsqueeze(1) & ~eye[part].unsqueeze(1))
        sequence, visible = torch.cat(tokens, dim=1), torch.cat(seen, dim=2)
        split = (self.heads, width // self.heads)
        queries = self.query(embeddings).unflatten(2, split)
        keys, values = (layer(sequence).unflatten(2, split) for layer in (self.key, self.value))
        scores = torch.einsum("bphc,bthc->bhpt", queries, keys) * split[1] ** -0.5
        weights = scores.masked_fill(~visible.unsqueeze(1), float("-inf")).softmax(3)
        attended = torch.einsum("bhpt,bthc->bphc", weights, values).flatten(2)
        summed = (embeddings + attended).masked_fill(~present.unsqueeze(2), 0).sum(1)
        fused: Tensor = self.layers(summed / present.sum(1, keepdim=True).clamp(min=1))
        return fused
