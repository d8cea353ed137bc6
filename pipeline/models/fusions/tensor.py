"""Fuse by the outer product of the parts (Zadeh et al. 2017, Tensor Fusion Network)."""

import torch
from torch import Tensor, nn

from pipeline.errors import InputError

MOST_PRODUCTS = 4096
"""Numbers in the outer product at most: 63 of each of two parts, 15 of three, 7 of four."""


class TensorFusion(nn.Module):
    """`W (⊗_m [V_m z_m; 1])`: all products of numbers of different parts. Of a part that is missing the 1 is left."""

    def __init__(self, parts: int, width: int) -> None:
        super().__init__()
        if 2**parts > MOST_PRODUCTS:
            raise InputError(
                f"train.fusion is tensor; it must be another one for {parts} parts, such as low_rank: "
                f"products of more than 12 parts are too many"
            )
        side = min(width, next(side for side in range(MOST_PRODUCTS, 0, -1) if (side + 1) ** parts <= MOST_PRODUCTS))
        self.narrow = nn.Parameter(torch.empty(parts, width, side).uniform_(-1, 1) / width**0.5)
        self.outlet = nn.Linear((side + 1) ** parts, width)

    def forward(self, embeddings: Tensor, present: Tensor) -> Tensor:
        """Fuse (batch, parts, width) to (batch, width)."""
        narrowed = torch.einsum("bpw,pws->bps", embeddings, self.narrow)
        factors = torch.cat([narrowed, torch.ones_like(narrowed[:, :, :1])], dim=2)
        product = factors[:, 0]
        for factor in factors.unbind(1)[1:]:
            product = (product.unsqueeze(2) * factor.unsqueeze(1)).flatten(1)
        fused: Tensor = self.outlet(product)
        return fused
