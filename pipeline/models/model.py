"""Build the multimodal model: an encoder a part, a fusion, a linear head."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.models.encoders.layers import find_valid
from pipeline.models.encoders.table import ENCODERS
from pipeline.models.fusions.table import FUSIONS
from pipeline.models.inputs import PartInput


@dataclass(frozen=True)
class Architecture:
    """All that it takes to build a model, except its weights.

    Attributes:
        inputs: the parts, in the order of the columns of `present`.
        encoders: the name of each modality's encoder; each of its parts has one of its own.
        width: of each part's embedding.
        fusion: its name.
        dropout: between fusion and head.
        outputs: how many numbers the head gives for a sample; the task knows what they mean.
    """

    inputs: tuple[PartInput, ...]
    encoders: Mapping[str, str]
    width: int
    fusion: str
    dropout: float
    outputs: int


class Model(nn.Module):
    """Maps a batch, a dict with a tensor a field, samples first, to outputs. It reads the fields of its inputs only.

    A part that a sample lacks does not influence its outputs. Where a part has several items, its embedding is the mean
    of theirs.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.inputs = architecture.inputs
        self.outputs = architecture.outputs
        width = architecture.width
        self.encoders = nn.ModuleList(  # not by name: a dict of modules refuses the names of its own methods
            ENCODERS[source.modality][architecture.encoders[source.modality]](source, width) for source in self.inputs
        )
        self.fusion = FUSIONS[architecture.fusion](len(self.inputs), width)
        self.head = nn.Sequential(nn.Dropout(architecture.dropout), nn.Linear(width, architecture.outputs))

    def embed(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return an embedding a part, (batch, width) float32; arbitrary where a sample lacks the part."""
        return {
            source.part: encode_part(encoder, source, batch)
            for source, encoder in zip(self.inputs, self.encoders, strict=True)
        }

    def find_present(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return which parts each sample has, (batch, parts) bool."""
        columns = []
        for source in self.inputs:
            samples = batch[source.field]
            everywhere = torch.ones(len(samples), dtype=torch.bool, device=samples.device)
            columns.append(everywhere if source.present is None else batch[source.present] != 0)
        return torch.stack(columns, dim=1)

    def fuse(self, embeddings: Mapping[str, Tensor], present: Tensor) -> Tensor:
        """Fuse the embeddings of the parts that are `present` (batch, parts) to (batch, width)."""
        stacked = torch.stack([embeddings[source.part] for source in self.inputs], dim=1)
        # A fill, not a product: 0 × NaN is NaN.
        fused: Tensor = self.fusion(stacked.masked_fill(~present.unsqueeze(2), 0), present)
        return fused

    def predict(self, embeddings: Mapping[str, Tensor], present: Tensor) -> Tensor:
        """Return the outputs, (batch, outputs) float32, from embeddings: cheap beside the encoders."""
        outputs: Tensor = self.head(self.fuse(embeddings, present))
        return outputs

    def forward(self, batch: Mapping[str, Tensor], present: Tensor | None = None) -> Tensor:
        """Return the outputs, (batch, outputs) float32. `present` hides parts of the batch; None shows all."""
        return self.predict(self.embed(batch), self.find_present(batch) if present is None else present)


def encode_part(encoder: nn.Module, source: PartInput, batch: Mapping[str, Tensor]) -> Tensor:
    """Return a part's embeddings, (batch, width) float32: of several items the mean over those that a sample has.

    The encoder sees these items alone: no other entry can change a bit of the embeddings or of the gradients.
    """
    values, length = batch[source.field], None if source.length is None else batch[source.length]
    if source.count is None:
        one: Tensor = encoder(values, length)
        return one
    there = find_valid(values, batch[source.count])
    if not there.any():
        # Not every encoder takes an empty batch; in this way all parameters have gradients, of zero.
        blank: Tensor = encoder(torch.zeros_like(values[:1, 0]), None if length is None else length.new_zeros(1))
        return blank.mul(0).expand(len(values), -1)
    encoded: Tensor = encoder(values[there], None if length is None else length[there])
    places = there.flatten().nonzero().squeeze(1)
    each = encoded.new_zeros(there.numel(), encoded.shape[1]).index_copy(0, places, encoded)
    return each.reshape(*there.shape, -1).sum(1) / there.sum(1, keepdim=True).clamp(min=1)
