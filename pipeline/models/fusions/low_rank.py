"""Fuse by a product of the parts of low rank (Liu et al. 2018, Low-rank Multimodal Fusion)."""

import torch
from torch import Tensor, nn

RANK = 8


class LowRank(nn.Module):
    """`Σ_r w_r (⊙_m W_m^r [z_m; 1])`: the outer product's interactions at a cost that is linear in the parts.

    Each factor starts near 1: a product of factors around 0 would vanish, and its gradients with it.
    """

    def __init__(self, parts: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(parts, width, RANK, width).uniform_(-1, 1) / width**0.5)
        self.bias = nn.Parameter(torch.ones(parts, RANK, width))
        self.ranks = nn.Parameter(torch.randn(RANK) / RANK**0.5)

    def forward(self, embeddings: Tensor, present: Tensor) -> Tensor:
        """Fuse (batch, parts, width) to (batch, width)."""
        factors = torch.einsum("bpw,pwro->bpro", embeddings, self.weight) + self.bias
        product = factors[:, 0]
        for factor in factors.unbind(1)[1:]:  # not `prod`, whose gradient takes another way where a factor is 0
            product = product * factor
        return torch.einsum("bro,r->bo", product, self.ranks)
