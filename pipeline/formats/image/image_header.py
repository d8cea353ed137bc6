"""Define the header of an image whose format says nothing else that decoding needs."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """Size in pixels as stored, and channels as decoded: 1 grey, 2 grey and alpha, 3 colours, 4 colours and alpha."""

    width: int
    height: int
    channels: int
