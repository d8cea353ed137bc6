"""Define the block `extract.video`."""

from typing import Annotated

from pydantic import Field as Limits

from pipeline.config.params import Params
from pipeline.modalities.audio.params import AudioFeatures
from pipeline.modalities.image.params import Level
from pipeline.modalities.image.pixels import Fit


class VideoFeatures(Params):
    """How videos are stored in the shards."""

    frames: Annotated[int, Limits(ge=1, le=4096)] = 8
    """Frames, evenly spaced."""
    height: Annotated[int, Limits(ge=1, le=8192)] = 64
    """Pixels."""
    width: Annotated[int, Limits(ge=1, le=8192)] = 64
    """Pixels."""
    fit: Fit = "crop"
    """`crop` cuts frames to the shape about their centre, `pad` fills them up with background, `stretch` distorts
    them."""
    background: Annotated[tuple[Level, Level, Level], Limits(strict=False)] = (0, 0, 0)
    """R, G, B around frames that `pad` fits, and under the transparency of animated images."""
    sound: AudioFeatures = AudioFeatures()
    """The features of the video's audio."""
