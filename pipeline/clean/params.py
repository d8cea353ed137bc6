"""Define the block `clean`: the limits of the checks, and the distances of near-duplicates."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pipeline.config.params import Params, Share, add_keys, describe_part
from pipeline.modalities.table import MODALITIES


class Nearness(NamedTuple):
    """Two items are near if their perceptual hashes differ in at most `bits` of 64, and their thumbnails, normalized to
    one brightness and contrast (`pipeline.clean.near_duplicates`), by at most `difference` levels of 256 on average."""

    bits: int
    difference: float


@add_keys({name: describe_part(MODALITIES[name].check_params, f"How {name} items are checked.") for name in MODALITIES})
class CleanParams(Params):
    """Which items are dropped, and what is removed from them; every item is checked, whatever samples are made of."""

    max_dropped: Share = 0.5
    """The largest share of the items that may be dropped; more stops the run."""

    @property
    def checks(self) -> Mapping[str, Any]:
        """Return the params of each modality's check, by its name."""
        return {name: getattr(self, name) for name in MODALITIES}

    @property
    def nearness(self) -> Mapping[str, Nearness]:
        """Return the distances of near items by modality. Texts are near if only case and punctuation differ."""
        return {
            name: Nearness(getattr(check, "near_bits", 0), getattr(check, "near_difference", 0.0))
            for name, check in self.checks.items()
        }
