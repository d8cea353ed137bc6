"""Define the block `extract.image`."""

from typing import Annotated, Literal, Self

from pydantic import Field as Limits
from pydantic import model_validator

from pipeline.config.params import Params
from pipeline.modalities.image.pixels import Fit

Level = Annotated[int, Limits(ge=0, le=255)]
WHITE = (255, 255, 255)


class ImageFeatures(Params):
    """How images are stored in the shards."""

    late_keys = ("depth",)

    height: Annotated[int, Limits(ge=1, le=8192)] = 64
    """Pixels."""
    width: Annotated[int, Limits(ge=1, le=8192)] = 64
    """Pixels."""
    fit: Fit = "crop"
    """`crop` cuts the image to the shape about its centre, `pad` fills it up with background, `stretch` distorts it."""
    background: Annotated[tuple[Level, Level, Level], Limits(strict=False)] = WHITE
    """R, G, B under transparency and around images that `pad` fits."""
    store: Literal["tensor", "jpeg"] = "tensor"
    """Pixels, or a JPEG file of them: a tenth of the bytes, decoded when it is loaded."""
    quality: Annotated[int, Limits(ge=1, le=100)] = 90
    """Quality of these JPEG files, on libjpeg's scale."""
    dtype: Literal["uint8", "float16", "float32"] = "uint8"
    """Of a tensor: uint8 levels 0 to 255, or floats from 0 to 1."""
    depth: Literal["type", "minmax"] | Annotated[tuple[float, float], Limits(strict=False)] = "type"
    """How levels of images of more than 8 bits become 0 to 255: `type` from all that 16 bits can hold (0 to 65535; of
    floats 0 to 1), `minmax` from the least and the most that each image has, `[low, high]` from these two, for all
    images alike. 12 bits in a file of 16 are dark by `type`: `[0, 4095]`."""

    @model_validator(mode="after")
    def _check_store(self) -> Self:
        if self.store == "jpeg" and self.dtype != "uint8":
            raise self.refuse("dtype", "it must be uint8, as store is jpeg: JPEG files have levels of 0 to 255")
        return self

    @model_validator(mode="after")
    def _check_depth(self) -> Self:
        if isinstance(self.depth, tuple) and not self.depth[0] < self.depth[1]:
            raise self.refuse("depth", "it must be type, minmax, or a low level and a higher one")
        return self
