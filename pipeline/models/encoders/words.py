"""Embed tokens."""

import torch
from torch import Tensor, nn

from pipeline.models.inputs import PartInput


class Words(nn.Embedding):
    """Embeddings of tokens; where tokens have several ids, such as a word and its part of speech, the sum of one a
    kind, each kind from a table of its own.

    They start normal with variance 1, or uniform in ± `reach`.
    """

    def __init__(self, source: PartInput, channels: int, reach: float | None = None) -> None:
        super().__init__(source.words, channels)
        self.others = nn.ModuleList(nn.Embedding(count, channels) for count in source.joined_words)
        if reach is not None:
            for table in (self, *self.others):
                nn.init.uniform_(table.get_parameter("weight"), -reach, reach)

    def forward(self, ids: Tensor, valid: Tensor) -> Tensor:  # type: ignore[override]
        """Return (batch, tokens, channels) of `ids` (batch, tokens) or (batch, tokens, kinds) of any integer type; ids
        that are not `valid` (batch, tokens) count as 0.

        They are converted with `int()`, as PyTorch has the dtype uint16 but no embedding lookup for it.
        """
        kinds = ids.int().unsqueeze(2) if ids.ndim == 2 else ids.int()
        first, *others = kinds.masked_fill(~valid.unsqueeze(2), 0).unbind(2)
        total = super().forward(first)
        for table, column in zip(self.others, others, strict=True):
            total = torch.add(total, table(column))
        return total
