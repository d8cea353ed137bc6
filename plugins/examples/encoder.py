"""An encoder of images: a linear map of their mean colours on a coarse grid."""

from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from pipeline.models.encoders.layers import Scale
from pipeline.models.inputs import PartInput

GRID = 4


class Colours(nn.Module):
    """Colours of 4 × 4 cells, standardised."""

    def __init__(self, source: PartInput, width: int) -> None:
        super().__init__()
        self.scale = Scale(source)
        self.outlet = nn.Linear(GRID * GRID * source.shape[2], width)

    def forward(self, pixels: Tensor, length: Tensor | None = None) -> Tensor:
        """Encode `pixels` (batch, height, width, channels) uint8 as (batch, width); images have no `length`."""
        cells = adaptive_avg_pool2d(self.scale(pixels).permute(0, 3, 1, 2), GRID)
        embedding: Tensor = self.outlet(cells.flatten(1))
        return embedding
