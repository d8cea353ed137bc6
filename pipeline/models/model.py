"""The multimodal classifier: an encoder a modality, a fusion, a linear head."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.models.encoders.table import ENCODERS
from pipeline.models.fusions import FUSIONS
from pipeline.models.inputs import ModalityInput


@dataclass(frozen=True)
class Architecture:
    """All that it takes to build a model, but for its weights.

    Attributes:
        inputs: the modalities, in the order in which `present` counts through them.
        encoders: the name of each modality's encoder.
        width: of each modality's embedding.
        fusion: its name.
        dropout: between fusion and head.
        classes: how many the head tells apart.
    """

    inputs: tuple[ModalityInput, ...]
    encoders: Mapping[str, str]
    width: int
    fusion: str
    dropout: float
    classes: int


class Model(nn.Module):
    """Takes batches as a loader gives them: a dict with a tensor a field, samples first. It knows the fields of its
    inputs and looks at no others. A modality that a sample lacks cannot influence what comes out for it.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.inputs = architecture.inputs
        self.classes = architecture.classes
        width = architecture.width
        self.encoders = nn.ModuleDict(
            {
                source.modality: ENCODERS[source.modality][architecture.encoders[source.modality]](source, width)
                for source in self.inputs
            }
        )
        self.fusion = FUSIONS[architecture.fusion](len(self.inputs), width)
        self.head = nn.Sequential(nn.Dropout(architecture.dropout), nn.Linear(width, architecture.classes))

    def embed(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """An embedding a modality, (batch, width) float32; of whatever stands there where it is missing."""
        return {
            source.modality: self.encoders[source.modality](
                batch[source.field], None if source.length is None else batch[source.length]
            )
            for source in self.inputs
        }

    def find_present(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Which modalities each sample has, (batch, modalities) bool."""
        columns = []
        for source in self.inputs:
            samples = batch[source.field]
            everywhere = torch.ones(len(samples), dtype=torch.bool, device=samples.device)
            columns.append(everywhere if source.present is None else batch[source.present] != 0)
        return torch.stack(columns, dim=1)

    def fuse(self, embeddings: Mapping[str, Tensor], present: Tensor) -> Tensor:
        """(batch, width): what the modalities that `present` (batch, modalities) lets through say together."""
        stacked = torch.stack([embeddings[source.modality] for source in self.inputs], dim=1)
        # A fill, not a product: 0 × NaN is NaN.
        fused: Tensor = self.fusion(stacked.masked_fill(~present.unsqueeze(2), 0), present)
        return fused

    def classify(self, embeddings: Mapping[str, Tensor], present: Tensor) -> Tensor:
        """Logits, (batch, classes) float32."""
        logits: Tensor = self.head(self.fuse(embeddings, present))
        return logits

    def forward(self, batch: Mapping[str, Tensor], present: Tensor | None = None) -> Tensor:
        """Logits, (batch, classes) float32. `present` hides modalities that the batch has; None shows them all."""
        return self.classify(self.embed(batch), self.find_present(batch) if present is None else present)
