"""Map the fused embedding to numbers by one linear layer: the head of tasks that predict numbers of a sample."""

from collections.abc import Mapping

from torch import Tensor, nn

from pipeline.models.model import Features


class LinearHead(nn.Sequential):
    """Dropout and a linear layer. A sequence of layers by its type for the names of its weights alone."""

    def __init__(self, width: int, outputs: int, dropout: float) -> None:
        super().__init__(nn.Dropout(dropout), nn.Linear(width, outputs))

    def forward(self, features: Features, batch: Mapping[str, Tensor]) -> Tensor:  # type: ignore[override]
        """Return (batch, outputs) float32 of `features.fused`."""
        assert features.fused is not None, "the task fuses"
        outputs = features.fused
        for layer in self:
            outputs = layer(outputs)
        return outputs
