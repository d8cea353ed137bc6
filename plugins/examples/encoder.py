"""An encoder of images: a linear map of their mean colours on a coarse grid."""

from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from pipeline.models.encoders.layers import Scale
from pipeline.models.inputs import PartInput


class Colours(nn.Module):
    """Colours of `grid` × `grid` cells, standardised."""

    def __init__(self, source: PartInput, width: int, grid: int = 4) -> None:
        super().__init__()
        self.scale = Scale(source)
        self.grid = grid
        self.outlet = nn.Linear(grid * grid * source.shape[2], width)

    def forward(self, pixels: Tensor, length: Tensor | None = None) -> Tensor:
        """Encode `pixels` (batch, height, width, channels) uint8 as (batch, width); images have no `length`."""
        cells = adaptive_avg_pool2d(self.scale(pixels).permute(0, 3, 1, 2), self.grid)
        embedding: Tensor = self.outlet(cells.flatten(1))
        return embedding
