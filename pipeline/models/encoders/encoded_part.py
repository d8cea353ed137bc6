"""Hold what an encoder gives of a part: one embedding, and the sequence that it was pooled from."""

from typing import NamedTuple

import torch
from torch import Tensor


class EncodedPart(NamedTuple):
    """What an encoder gives of the items of a batch.

    Attributes:
        pooled: an embedding an item, (batch, width) float32.
        tokens: what was pooled, in the encoder's own channels, (batch, steps, channels) float32: positions of an image,
            frames, words. A head that attends to them projects them by itself.
        valid: which of these steps count, (batch, steps) bool; the values of the others are arbitrary.
    """

    pooled: Tensor
    tokens: Tensor
    valid: Tensor

    @classmethod
    def read(cls, given: "EncodedPart | Tensor") -> "EncodedPart":
        """Return what an encoder gave. One without a sequence gives the embedding alone, which is its only token."""
        if isinstance(given, EncodedPart):
            return given
        return cls(given, given.unsqueeze(1), torch.ones(len(given), 1, dtype=torch.bool, device=given.device))

    def blank(self, batch: int) -> "EncodedPart":
        """Return zeros for `batch` samples without items, whose gradients are zeros, of what was encoded of one."""
        pooled = self.pooled.mul(0).expand(batch, -1)
        tokens = self.tokens.mul(0).expand(batch, -1, -1)
        return EncodedPart(pooled, tokens, torch.zeros_like(self.valid).expand(batch, -1))


def mean_items(encoded: EncodedPart, there: Tensor) -> EncodedPart:
    """Return the mean of the items of each sample, and the tokens of all of them one after the other.

    Args:
        encoded: of the items that are there, in order.
        there: where they are, (batch, most) bool.
    """
    batch, most = there.shape
    places = there.flatten().nonzero().squeeze(1)

    def spread(values: Tensor) -> Tensor:
        """Put each item's values (items, …) to its place (batch × most, …); zeros elsewhere."""
        return values.new_zeros(there.numel(), *values.shape[1:]).index_copy(0, places, values)

    pooled = spread(encoded.pooled).reshape(batch, most, -1).sum(1) / there.sum(1, keepdim=True).clamp(min=1)
    tokens = spread(encoded.tokens).reshape(batch, -1, encoded.tokens.shape[2])
    return EncodedPart(pooled, tokens, spread(encoded.valid).reshape(batch, -1))
