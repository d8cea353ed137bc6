"""From one embedding a modality to one embedding a sample. To add a fusion: a class here, a line in `FUSIONS`.

All take `embeddings` (batch, modalities, width) and `present` (batch, modalities) bool, and give (batch, width). The
embedding of a modality that is not present is zeros when it comes here (`Model` sees to it), so that nothing of it can
get through; a sample may have no modality at all.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

HEADS = 4


class Concat(nn.Module):
    """All embeddings side by side, through one hidden layer. Strong where all modalities are there."""

    def __init__(self, modalities: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(modalities * width, width), nn.ReLU())

    def forward(self, embeddings: Tensor, present: Tensor) -> Tensor:
        """(batch, modalities, width) and (batch, modalities) to (batch, width)."""
        fused: Tensor = self.layers(embeddings.flatten(1))
        return fused


class Mean(nn.Module):
    """The mean over what is present: without parameters of its own, and of one scale however much is missing."""

    def __init__(self, modalities: int, width: int) -> None:
        super().__init__()

    def forward(self, embeddings: Tensor, present: Tensor) -> Tensor:
        """(batch, modalities, width) and (batch, modalities) to (batch, width)."""
        return embeddings.sum(1) / present.sum(1, keepdim=True).clamp(min=1)


class Attention(nn.Module):
    """A learned query attends to the modalities that are present and to itself, so that its weights always sum to 1;
    then one hidden layer. Each sample weighs its own modalities."""

    def __init__(self, modalities: int, width: int) -> None:
        super().__init__()
        self.heads = next(heads for heads in range(HEADS, 0, -1) if width % heads == 0)
        self.query = nn.Parameter(0.02 * torch.randn(width))
        self.kinds = nn.Parameter(0.02 * torch.randn(modalities, width))
        self.norm = nn.LayerNorm(width)
        self.key = nn.Linear(width, width, bias=False)  # a bias would shift all scores alike, which softmax undoes
        self.value = nn.Linear(width, width)
        self.layers = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, embeddings: Tensor, present: Tensor) -> Tensor:
        """(batch, modalities, width) and (batch, modalities) to (batch, width)."""
        batch, _, width = embeddings.shape
        query = self.query.expand(batch, 1, width)
        tokens = self.norm(torch.cat([query, embeddings + self.kinds], dim=1))
        absent = torch.cat([present.new_zeros(batch, 1), ~present], dim=1)
        split = (batch, tokens.shape[1], self.heads, width // self.heads)
        keys, values = self.key(tokens).reshape(split), self.value(tokens).reshape(split)
        scores = torch.einsum("hc,bthc->bth", self.query.reshape(split[2:]), keys) * split[3] ** -0.5
        # Written out: with four tokens a fused kernel gains nothing, and this is deterministic on every device.
        weights = scores.masked_fill(absent.unsqueeze(2), float("-inf")).softmax(1)
        fused: Tensor = self.query + (weights.unsqueeze(3) * values).sum(1).flatten(1)
        fused = fused + self.layers(fused)
        return fused


FUSIONS: Mapping[str, Callable[[int, int], nn.Module]] = {"concat": Concat, "mean": Mean, "attention": Attention}
"""By name; each is built from the number of modalities and the width of the embeddings."""
