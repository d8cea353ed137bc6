"""Fuse by gates: each sample weighs each number of each part (Arevalo et al. 2017, Gated Multimodal Units)."""

import torch
from torch import Tensor, nn


class Gated(nn.Module):
    """`Σ σ_m ⊙ tanh(V_m z_m)` with gates σ, the softmax over the present parts of a linear map of all embeddings."""

    def __init__(self, parts: int, width: int) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.empty(parts, width, width).uniform_(-1, 1) / width**0.5)
        self.gate = nn.Linear(parts * width, parts * width)

    def forward(self, embeddings: Tensor, present: Tensor) -> Tensor:
        """Fuse (batch, parts, width) with `present` (batch, parts) to (batch, width)."""
        values = torch.einsum("bpw,pwo->bpo", embeddings, self.value).tanh()
        scores = self.gate(embeddings.flatten(1)).reshape(embeddings.shape)
        # The lowest number, not minus infinity: the softmax over no part would be NaN; here its values are zeros.
        gates = scores.masked_fill(~present.unsqueeze(2), torch.finfo(scores.dtype).min).softmax(1)
        return torch.einsum("bpw,bpw->bw", gates, values)
