"""Define the block `clean`: the limits of the checks, and the distances of near-duplicates."""

from collections.abc import Mapping
from typing import NamedTuple

from pipeline.config.params import Params, Share
from pipeline.modalities.audio.modality import AudioCheck
from pipeline.modalities.image.modality import ImageCheck
from pipeline.modalities.text.check import TextCheck
from pipeline.modalities.video.modality import VideoCheck


class Nearness(NamedTuple):
    """Two items are near if their perceptual hashes differ in at most `bits` of 64, and their thumbnails, normalized to
    one brightness and contrast (`pipeline.clean.near_duplicates`), by at most `difference` levels of 256 on average."""

    bits: int
    difference: float


class CleanParams(Params):
    """Limits and rules for each modality."""

    image: ImageCheck
    """Images."""
    audio: AudioCheck
    """Audio."""
    text: TextCheck
    """Text."""
    video: VideoCheck
    """Video."""
    max_dropped: Share
    """The largest share of the items that may be dropped; more stops the run."""

    @property
    def checks(self) -> Mapping[str, ImageCheck | AudioCheck | TextCheck | VideoCheck]:
        """Return the params of each modality's check, by its name."""
        return {"image": self.image, "audio": self.audio, "text": self.text, "video": self.video}

    @property
    def nearness(self) -> Mapping[str, Nearness]:
        """Return the distances of near items by modality. Texts are near if only case and punctuation differ."""
        return {
            "image": Nearness(self.image.near_bits, self.image.near_difference),
            "audio": Nearness(self.audio.near_bits, self.audio.near_difference),
            "text": Nearness(0, 0.0),
            "video": Nearness(self.video.near_bits, self.video.near_difference),
        }
