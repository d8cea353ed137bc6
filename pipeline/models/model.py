"""Build the multimodal model: an encoder a modality, a fusion, a linear head."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.models.encoders.table import ENCODERS
from pipeline.models.fusions.table import FUSIONS
from pipeline.models.inputs import ModalityInput


@dataclass(frozen=True)
class Architecture:
    """All that it takes to build a model, except its weights.

    Attributes:
        inputs: the modalities, in the order of the columns of `present`.
        encoders: the name of each modality's encoder.
        width: of each modality's embedding.
        fusion: its name.
        dropout: between fusion and head.
        outputs: how many numbers the head gives for a sample; the task knows what they mean.
    """

    inputs: tuple[ModalityInput, ...]
    encoders: Mapping[str, str]
    width: int
    fusion: str
    dropout: float
    outputs: int


class Model(nn.Module):
    """Maps a batch, a dict with a tensor a field, samples first, to outputs. It reads the fields of its inputs only.

    A modality that a sample lacks does not influence its outputs.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.inputs = architecture.inputs
        self.outputs = architecture.outputs
        width = architecture.width
        self.encoders = nn.ModuleDict(
            {
                source.modality: ENCODERS[source.modality][architecture.encoders[source.modality]](source, width)
                for source in self.inputs
            }
        )
        self.fusion = FUSIONS[architecture.fusion](len(self.inputs), width)
        self.head = nn.Sequential(nn.Dropout(architecture.dropout), nn.Linear(width, architecture.outputs))

    def embed(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return an embedding a modality, (batch, width) float32; arbitrary where a sample lacks the modality."""
        return {
            source.modality: self.encoders[source.modality](
                batch[source.field], None if source.length is None else batch[source.length]
            )
            for source in self.inputs
        }

    def find_present(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return which modalities each sample has, (batch, modalities) bool."""
        columns = []
        for source in self.inputs:
            samples = batch[source.field]
            everywhere = torch.ones(len(samples), dtype=torch.bool, device=samples.device)
            columns.append(everywhere if source.present is None else batch[source.present] != 0)
        return torch.stack(columns, dim=1)

    def fuse(self, embeddings: Mapping[str, Tensor], present: Tensor) -> Tensor:
        """Fuse the embeddings of the modalities that are `present` (batch, modalities) to (batch, width)."""
        stacked = torch.stack([embeddings[source.modality] for source in self.inputs], dim=1)
        # A fill, not a product: 0 × NaN is NaN.
        fused: Tensor = self.fusion(stacked.masked_fill(~present.unsqueeze(2), 0), present)
        return fused

    def predict(self, embeddings: Mapping[str, Tensor], present: Tensor) -> Tensor:
        """Return the outputs, (batch, outputs) float32, from embeddings: cheap beside the encoders."""
        outputs: Tensor = self.head(self.fuse(embeddings, present))
        return outputs

    def forward(self, batch: Mapping[str, Tensor], present: Tensor | None = None) -> Tensor:
        """Return the outputs, (batch, outputs) float32. `present` hides modalities of the batch; None shows all."""
        return self.predict(self.embed(batch), self.find_present(batch) if present is None else present)
