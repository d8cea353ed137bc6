"""Define the header of a recording whose format says nothing else that decoding needs."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AudioHeader:
    """Sample rate in Hz, channels (0 where only a decoder knows), and samples per channel: as declared, 0 where they
    are not, or as counted in the file, see each parser.

    A decoder of AAC may give twice the rate and the samples, and other channels: HE-AAC does not say so in its header.
    """

    rate: int
    channels: int
    frames: int
