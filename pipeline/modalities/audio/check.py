"""Check recordings: by their header, then stripped of metadata, then decoded from start to end.

Samples are float32, full scale ±1.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.modalities.audio.block import MAX_RATE, MIN_RATE, UndecodableError
from pipeline.modalities.audio.decode import MAX_PEAK, REJECTED_PEAK, read_blocks
from pipeline.modalities.audio.formats import FORMATS
from pipeline.modalities.audio.mel import Framing, Samples, build_filter_bank, compute_energies
from pipeline.modalities.audio.mono import find_cancelled, measure_cancellation, measure_energies, mix_to_mono
from pipeline.modalities.audio.rules import MAX_SECONDS, RULES, AudioCheck, AudioFacts
from pipeline.modalities.modality import Checked
from pipeline.modalities.perceptual_hash import SIDE, TERMS, compute_perceptual_hash
from pipeline.modalities.rules import check_rules
from pipeline.modalities.strip_file import Parser, Parsers, strip_file
from pipeline.tables.drops import Reason, Rejection

PARSERS = {media_type: form.parser for media_type, form in FORMATS.items()}

_CELL_RATE = 8_000  # Hz; the perceptual hash covers half of it, so that a copy at a lower rate has the same
_CELL_LOW = 60.0  # Hz
FULL_SCALE = 0.999  # the largest sample of 16 bits is 0.99997
CELL_FLOOR = 1e-9  # energy, against the logarithm of zero
_CELL_RANGE_DB = 60.0  # below the loudest cell everything counts as silence
_BAND_LIMITS = (0.3, 0.3, 0.3, 0.4, 0.4, 0.4, 0.4, 0.4)
"""Of the contrast: what terms of the perceptual hash that vary in time must exceed, by their frequency over the bands.

Nearer to zero, bits are evener, so the search compares fewer pairs; further off, fewer of them flip. Of 13 copies of
each of 956 narrations, 8,465 have near thumbnails. With 5 bits the search misses 19 of them, and none of 187 copies of
the demo's clips; with 32 levels for all terms and 3 bits it missed 112 and 3. 0.25 for all terms would take a third of
the time and miss 45 and 5; 0.4 takes a fifth more and misses 18 and none; 0.54 takes 8 times as long."""

_SPECTRUM = (9.21, 0.12, 0.84, -0.67, -0.69, -0.11, -0.1)
"""In contrasts: medians over 956 narrations of the first 7 terms, those that are constant in time: the spectrum of
speech. The medians of most others are near zero, as speech is as often loud late as early."""

_SHARES = np.concatenate([_SPECTRUM, np.tile(_BAND_LIMITS, TERMS - 1)])


def find_hash_limits(contrasts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what the terms of the perceptual hash must exceed, (n, 63): see `compute_bits`."""
    limits: NDArray[np.float64] = contrasts[:, None] * _SHARES
    return limits


@dataclass(slots=True)
class _DecodedAudio:
    """What decoding shows.

    Attributes:
        rate, channels: Hz, and channels.
        frames: samples per channel.
        peak: of any channel.
        finite: whether all samples are finite and below `MAX_PEAK`.
        energy: of the channels on average, the sum of squares.
        mixed: that of their mean.
        full: samples of all channels at full scale.
        dynamics: decibels between loud and quiet moments.
        cells: the 16 × 16 cells of the perceptual hash.
    """

    rate: int
    channels: int
    frames: int = 0
    peak: float = 0.0
    finite: bool = True
    energy: float = 0.0
    mixed: float = 0.0
    full: int = 0
    dynamics: float = 0.0
    cells: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((SIDE, SIDE), np.uint8))


def check_audio(data: bytes, media_type: str, params: AudioCheck) -> Checked | Rejection:
    """Check a recording by its header, strip its metadata, then decode the stripped file, which is what is kept.

    The facts are sample_rate in Hz, frames (samples per channel), and channels, as decoded.
    """

    def check_header(facts: AudioFacts) -> Rejection | None:
        if not MIN_RATE <= facts.rate <= MAX_RATE:
            return Rejection(Reason.BAD_RATE, "Hz, by the header", str(facts.rate), f"{MIN_RATE} to {MAX_RATE}")
        return check_rules(RULES, "header", facts, params)

    file = strip_file(data, media_type, Parsers(PARSERS, _read_facts), check_header, params.damaged)
    if isinstance(file, Rejection):
        return file
    declared = file.facts
    try:
        decoded = _decode(file.data, media_type, declared, MAX_SECONDS.read_limit(params))
    except UndecodableError:
        return Rejection(Reason.BROKEN, "the decoder cannot read the samples")
    missing = _count_missing(decoded, declared, FORMATS[media_type].slack)
    if missing and params.damaged == "drop":
        shown = str(decoded.frames), str(decoded.frames + missing)
        return Rejection(Reason.TRUNCATED, "samples decoded, of those declared", *shown)
    if rejection := _check_decoded(decoded, params):
        return rejection
    facts = {"sample_rate": decoded.rate, "frames": decoded.frames, "channels": decoded.channels}
    if missing:
        facts["missing_frames"] = missing
    flaw = file.flaw or ("fewer samples than declared" if missing else "")
    return Checked(file.data, facts, compute_perceptual_hash(decoded.cells, find_hash_limits), flaw=flaw)


def _read_facts(parser: Parser, data: bytes) -> AudioFacts:
    header: Any = parser.read_header(data)
    return AudioFacts(header.rate, header.frames, header.channels)


def _count_missing(decoded: _DecodedAudio, declared: AudioFacts, slack: int) -> int:
    """Return how many samples per channel were declared and not decoded, at the decoded rate; 0 within `slack`."""
    if decoded.frames * declared.rate >= (declared.frames - slack) * decoded.rate:
        return 0
    return declared.frames * decoded.rate // declared.rate - decoded.frames


def _check_decoded(decoded: _DecodedAudio, params: AudioCheck) -> Rejection | None:
    if decoded.frames == 0:
        return Rejection(Reason.TOO_SHORT, "no samples")
    peak = decoded.peak if decoded.finite else None
    lost = measure_cancellation(decoded.energy, decoded.mixed, decoded.frames) if decoded.channels > 1 else None
    clipped = decoded.full / (decoded.frames * decoded.channels)
    facts = AudioFacts(decoded.rate, decoded.frames, decoded.channels, peak, lost, clipped, decoded.dynamics)
    if rejection := check_rules(RULES, "decoded", facts, params):
        return rejection
    return None if decoded.finite else REJECTED_PEAK


def _decode(data: bytes, media_type: str, declared: AudioFacts, max_seconds: float) -> _DecodedAudio:
    """Decode all, up to the first block that goes beyond `max_seconds` or has a sample beyond `MAX_PEAK`.

    Raises:
        UndecodableError: the decoder cannot read it, or gives another number of channels on the way.
    """
    decoded = _DecodedAudio(declared.rate, declared.channels)
    energies = [np.zeros((0, SIDE), np.float32)]
    for block, rate, start in read_blocks(data, media_type):
        if start and (rate, block.shape[1]) != (decoded.rate, decoded.channels):
            raise UndecodableError
        decoded.rate, decoded.channels = rate, block.shape[1]
        decoded.frames += len(block)
        levels = np.abs(block)
        peak = float(levels.max())
        decoded.full += int(np.count_nonzero(levels >= FULL_SCALE))
        decoded.finite = peak <= MAX_PEAK  # which no NaN is
        if decoded.frames > round(max_seconds * rate) or not decoded.finite:
            break
        decoded.peak = max(decoded.peak, peak)
        framing = plan_cells(rate)
        energies.append(compute_energies(_mix(block, decoded), framing, build_filter_bank(framing)))
    joined = np.concatenate(energies)
    decoded.cells = _make_cells(joined)
    decoded.dynamics = measure_dynamics(joined)
    return decoded


def _mix(block: NDArray[np.float32], decoded: _DecodedAudio) -> Samples:
    """Return the mean of the channels, and add up their energies; where they cancel each other, the loudest."""
    mixed = mix_to_mono(block)
    if block.shape[1] == 1:
        return mixed
    decoded.energy += float(measure_energies(block).mean())
    decoded.mixed += float(np.dot(mixed, mixed))
    return mix_to_mono(block, "loudest") if find_cancelled(block, mixed) else mixed


def measure_dynamics(energies: NDArray[np.float32]) -> float:
    """Return the decibels between the energies that 95 and 10 of 100 frames stay below, from (frames, bands)."""
    if not len(energies):
        return 0.0
    quiet, loud = np.percentile(energies.sum(axis=1), (10, 95))
    return float(10 * np.log10(max(loud, CELL_FLOOR) / max(quiet, CELL_FLOOR)))


def plan_cells(rate: int) -> Framing:
    """Return how a clip is cut for its cells: frames of some 16 ms, 16 bands up to 4 kHz or as far as the rate goes."""
    size = max(16, rate // 64)
    return Framing(rate, size, size, SIDE, _CELL_LOW, min(_CELL_RATE, rate) / 2)


def _make_cells(energies: NDArray[np.float32]) -> NDArray[np.uint8]:
    """uint8 (16 times, 16 bands) from (frames, 16): decibels, 255 at the clip's loudest, 0 at 60 below."""
    edges = np.linspace(0, len(energies), SIDE + 1)
    total = np.vstack([np.zeros(SIDE), np.cumsum(energies, axis=0, dtype=np.float64)])
    positions = np.arange(len(total))
    sums = np.stack([np.interp(edges, positions, total[:, band]) for band in range(SIDE)], axis=1)
    return scale_decibels(10 * np.log10(np.maximum(np.diff(sums, axis=0), CELL_FLOOR)))


def scale_decibels(decibels: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return cells, uint8 (…, 16, 16), of decibels: 255 at each clip's loudest, 0 at 60 below."""
    relative = (decibels - decibels.max(axis=(-2, -1), keepdims=True)) / _CELL_RANGE_DB + 1
    cells: NDArray[np.uint8] = (np.clip(relative, 0, 1) * 255).round().astype(np.uint8)
    return cells
