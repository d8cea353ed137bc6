"""List the rules of `clean.audio`."""

import math
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field as Limits

from pipeline.modalities.audio.mono import MAX_CANCELLATION
from pipeline.modalities.rules import CleaningRule, NearDuplicates, add_rules
from pipeline.modalities.strip_file import Damaged
from pipeline.tables.drops import Reason


@dataclass(frozen=True, slots=True)
class AudioFacts:
    """What rules compare: Hz, samples per channel and channels; once decoded the largest peak of any channel, by how
    many decibels the mean of several channels is quieter than they are, the share of samples at full scale, and by how
    many decibels loud moments are louder than quiet ones.

    Full scale is 1.
    """

    rate: int
    frames: int
    channels: int
    peak: float | None = None
    cancellation: float | None = None
    clipped: float | None = None
    dynamics: float | None = None

    @property
    def seconds(self) -> float:
        """The length."""
        return self.frames / self.rate

    @property
    def level(self) -> float | None:
        """The peak in decibels relative to full scale, at least -240."""
        return None if self.peak is None else 20 * math.log10(max(self.peak, 1e-12))


MAX_SECONDS: CleaningRule[AudioFacts] = CleaningRule(
    setting="max_seconds",
    type=Annotated[float, Limits(gt=0)],
    default=600.0,
    meaning="Seconds; read in the header before anything is decoded, and counted again while decoding.",
    source="chosen by hand: 10 minutes of 48 kHz stereo are 230 MB decoded, a fraction of run.memory",
    bound="max",
    measure=lambda facts: facts.seconds,
    details={"header": "seconds, by the header", "decoded": "seconds, decoded"},
    reason=Reason.TOO_LONG,
    format=".2f",
)

RULES: tuple[CleaningRule[AudioFacts], ...] = (
    MAX_SECONDS,
    CleaningRule(
        setting="min_seconds",
        type=Annotated[float, Limits(ge=0)],
        default=0.1,
        meaning="Seconds, as decoded.",
        source="chosen by hand: half a spoken syllable",
        bound="min",
        measure=lambda facts: facts.seconds,
        details={"decoded": "seconds, decoded"},
        reason=Reason.TOO_SHORT,
        format=".3f",
    ),
    CleaningRule(
        setting="max_channels",
        type=Annotated[int, Limits(ge=1, le=64)],
        default=8,
        meaning="Channels, by the header.",
        source="7.1 surround has 8",
        bound="max",
        measure=lambda facts: facts.channels,
        details={"header": "channels, by the header"},
        reason=Reason.TOO_MANY_CHANNELS,
    ),
    CleaningRule(
        setting="min_level",
        type=Annotated[float, Limits(ge=-200, le=0)],
        default=-60.0,
        meaning="Decibels relative to full scale: a recording whose peak lies below is silence.",
        source="the `top_db` below which librosa.effects.trim takes sound for silence",
        bound="min",
        measure=lambda facts: facts.level,
        details={"decoded": "peak in dB relative to full scale"},
        reason=Reason.SILENT,
        format=".1f",
    ),
    CleaningRule(
        setting="max_cancellation",
        type=Annotated[float, Limits(ge=0, le=240)],
        default=MAX_CANCELLATION,
        meaning="Decibels that the mean of the channels may be quieter than they are: beyond, they cancel each other, "
        "as where one is the other turned over. 240 keeps all, for `extract.audio.mono: first` or `loudest`.",
        source="channels that have nothing in common lose 3 dB, 8 of them 9; turned over, 40 and more",
        bound="max",
        measure=lambda facts: facts.cancellation,
        details={
            "decoded": "dB that the mean of the channels is quieter than they are: they cancel each other; to keep "
            "them set this to 240 and extract.audio.mono to first or loudest"
        },
        reason=Reason.CANCELLED_CHANNELS,
        format=".1f",
    ),
    CleaningRule(
        setting="max_clipped",
        type=Annotated[float, Limits(ge=0, le=1)],
        default=1.0,
        meaning="Share of samples at 0.999 of full scale or beyond; 1 drops nothing. In speech 0.001 is heard.",
        source="off: music is often limited to full scale on purpose",
        bound="max",
        measure=lambda facts: facts.clipped,
        details={"decoded": "share of samples at full scale: the recording is clipped"},
        reason=Reason.CLIPPED,
        format=".3g",
        off=1.0,
    ),
    CleaningRule(
        setting="min_dynamics",
        type=Annotated[float, Limits(ge=0)],
        default=0.0,
        meaning="Decibels by which loud moments (95 of 100 are quieter) are above quiet ones (10 of 100): for speech "
        "with pauses an estimate of its distance to the noise. 0 drops nothing.",
        source="off: steady sounds have none",
        bound="min",
        measure=lambda facts: facts.dynamics,
        details={"decoded": "dB between loud and quiet moments: nothing stands out of the noise"},
        reason=Reason.NOISY,
        format=".1f",
        off=0.0,
    ),
)
"""In the order in which they are checked, which is that of the keys."""


@add_rules(RULES)
class AudioCheck(NearDuplicates):
    """Limits that recordings are held to, and when two of them are near-duplicates."""

    near_bits: Annotated[int, Limits(ge=0, le=16)] = 5
    """Of the 64 bits of the perceptual hash, as many as may differ between near-duplicates."""
    damaged: Damaged = "drop"
    """Recordings that end before their container says so, such as Ogg files without their last page. `keep` keeps them,
    with what is wrong in the column `flaw` and how much is missing, where that is known, in `missing_frames`."""
