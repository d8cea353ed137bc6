"""A fusion: the largest value of each number among the parts that are present."""

from torch import Tensor, nn


class Largest(nn.Module):
    """No parameters; a part that is missing cannot win."""

    def __init__(self, parts: int, width: int) -> None:
        super().__init__()

    def forward(self, embeddings: Tensor, present: Tensor) -> Tensor:
        """Fuse `embeddings` (batch, parts, width) with `present` (batch, parts) to (batch, width)."""
        hidden = embeddings.masked_fill(~present[:, :, None], float("-inf")).amax(1)
        return hidden.masked_fill(~present.any(1, keepdim=True), 0.0)
