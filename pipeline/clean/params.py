"""The block `clean`: what an item must be like to be of use, and when two items are near-duplicates."""

from collections.abc import Mapping
from typing import NamedTuple

from pipeline.config.params import Params, Share
from pipeline.modalities.audio.modality import AudioCheck
from pipeline.modalities.image.modality import ImageCheck
from pipeline.modalities.text.check import TextCheck
from pipeline.modalities.video.modality import VideoCheck


class Nearness(NamedTuple):
    """Two items are near if their fingerprints differ in at most `bits` of 64, and their thumbnails, brought to one
    brightness and contrast (`pipeline.clean.near_duplicates`), by at most `difference` levels of 256 on average."""

    bits: int
    difference: float


class CleanParams(Params):
    """Limits and rules for each modality."""

    image: ImageCheck
    """Pictures."""
    audio: AudioCheck
    """Sounds."""
    text: TextCheck
    """Texts."""
    video: VideoCheck
    """Videos."""
    max_dropped: Share
    """Share of the items that may be dropped; more stops the run."""

    @property
    def checks(self) -> Mapping[str, ImageCheck | AudioCheck | TextCheck | VideoCheck]:
        """The params of each modality's check, by its name."""
        return {"image": self.image, "audio": self.audio, "text": self.text, "video": self.video}

    @property
    def nearness(self) -> Mapping[str, Nearness]:
        """When two items of a modality are near. Texts: where they read the same but for case and punctuation."""
        return {
            "image": Nearness(self.image.near_bits, self.image.near_difference),
            "audio": Nearness(self.audio.near_bits, self.audio.near_difference),
            "text": Nearness(0, 0.0),
            "video": Nearness(self.video.near_bits, self.video.near_difference),
        }
