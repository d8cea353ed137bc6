"""Turn batches of pixels into what models are fed with, on the device where they are."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of pixels in 0 … 1, as weights that were trained on ImageNet expect them."""


@dataclass(frozen=True)
class Normalize:
    """A function of a batch of pixels, to be called after the loader moved it: bytes cross to the device, not floats.

    `ops.Normalize()(batch["image"])` takes uint8 (batch, …, height, width, 3) and returns float32 (batch, …, 3, height,
    width), (pixel / 255 − mean) / deviation, in the memory order of channels last, which convolutions prefer.

    Args:
        mean, deviation: of the channels, for pixels in 0 … 1; a channel each.

    Raises:
        ValueError: a deviation is not above 0, or there are not three of each.
    """

    mean: tuple[float, float, float] = IMAGENET_MEAN
    deviation: tuple[float, float, float] = IMAGENET_DEVIATION

    def __post_init__(self) -> None:
        if len(self.mean) != 3 or len(self.deviation) != 3 or min(self.deviation) <= 0:
            raise ValueError(f"mean is {self.mean!r}, deviation {self.deviation!r}; each has three numbers, above 0")

    def __call__(self, pixels: "torch.Tensor") -> "torch.Tensor":
        """Return the normalised pixels.

        Raises:
            ValueError: the pixels are not uint8 (batch, …, height, width, 3).
        """
        import torch

        if pixels.dtype != torch.uint8 or pixels.ndim < 4 or pixels.shape[-1] != 3:
            raise ValueError(
                f"pixels are {pixels.dtype} {tuple(pixels.shape)}; they are uint8 (batch, height, width, 3)"
            )
        scale = 1 / (255 * torch.tensor(self.deviation, device=pixels.device))
        shift = torch.tensor(self.mean, device=pixels.device) * 255 * scale
        return torch.addcmul(-shift, pixels.float(), scale).movedim(-1, -3)
