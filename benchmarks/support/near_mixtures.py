"""Make the cells of perceptual hashes of any number of items that are as alike as real ones: mixtures of images, and
of narrations.

Noise would not do: its bits are even, and those of real items are not, which is what makes the search slow. Cells are
mixed, not files, as encoding and decoding 10 million files would take days.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.formats.media_type import find_media_type
from pipeline.modalities.audio.check import CELL_FLOOR, plan_cells, scale_decibels
from pipeline.modalities.audio.decode import read_blocks
from pipeline.modalities.audio.mel import build_filter_bank, compute_energies
from pipeline.modalities.audio.mono import mix_to_mono
from pipeline.modalities.image.params import WHITE
from pipeline.modalities.image.pixels import blend_to_rgb, decode_pixels, load_opencv
from pipeline.modalities.perceptual_hash import SIDE

Cells = NDArray[np.uint8]
Mixer = Callable[[np.random.Generator, int], Cells]
"""Draws the cells of so many items, uint8 (n, 16, 16)."""

CROPS = 32  # of each image
PIECES = 3  # of narrations in a recording
SECONDS = (0.8, 5.0)
FRAME_SECONDS = 1 / 64
TILT_DB = 6.0  # standard deviation, from the lowest band to the highest


def mix_images(folder: Path) -> Mixer:
    """Mix parts of the PNGs below `folder`: two blended, or one pasted into the other."""
    cv2, draw, crops = load_opencv(), np.random.default_rng(0), []
    for path in sorted(folder.rglob("*.png")):
        pixels = decode_pixels(path.read_bytes())
        assert pixels is not None, path
        levels = cv2.cvtColor(blend_to_rgb(pixels, WHITE), cv2.COLOR_RGB2GRAY)
        for _ in range(CROPS):
            height, width = (max(1, int(side * draw.uniform(0.4, 1))) for side in levels.shape)
            top, left = draw.integers(levels.shape[0] - height + 1), draw.integers(levels.shape[1] - width + 1)
            crop = levels[top : top + height, left : left + width]
            crops.append(cv2.resize(crop, (SIDE, SIDE), interpolation=cv2.INTER_AREA))
    pool = np.stack(crops)

    def mix(draw: np.random.Generator, count: int) -> Cells:
        one, other = (pool[draw.integers(len(pool), size=count)] for _ in range(2))
        shares = draw.uniform(0, 1, (count, 1, 1)).astype(np.float32)
        corners = np.sort(draw.integers(SIDE + 1, size=(count, 2, 2)), axis=2)
        inside = [
            (corners[:, axis, :1] <= np.arange(SIDE)) & (np.arange(SIDE) < corners[:, axis, 1:]) for axis in (0, 1)
        ]
        pasted = (inside[0][:, :, None] & inside[1][:, None, :]).astype(np.float32)
        weights = np.where(draw.random((count, 1, 1)) < 0.5, shares, pasted)
        mixed: Cells = np.rint(one * (1 - weights) + other * weights).astype(np.uint8)
        return mixed

    return mix


def mix_narrations(folder: Path) -> Mixer:
    """Mix the recordings below `folder`: pieces of a few, of any length and from any place, one after another, with the
    colour of another microphone."""
    energies = np.concatenate([read_energies(path) for path in sorted(folder.rglob("*.ogg"))])
    total = np.vstack([np.zeros(SIDE), np.cumsum(energies, axis=0, dtype=np.float64)])

    def mix(draw: np.random.Generator, count: int) -> Cells:
        frames = draw.uniform(*SECONDS, size=(count, 1)) / FRAME_SECONDS
        starts = draw.uniform(0, 1, (count, PIECES)) * (len(total) - frames - 2)
        piece = (np.sort(draw.integers(SIDE + 1, size=(count, PIECES - 1)), axis=1)[:, :, None] <= np.arange(SIDE)).sum(
            1
        )
        places = np.take_along_axis(starts, piece, axis=1) + frames * np.arange(SIDE) / SIDE
        sums = _interpolate(total, places + frames / SIDE) - _interpolate(total, places)
        tilt = draw.normal(0, TILT_DB, (count, 1, 1)) * np.linspace(-0.5, 0.5, SIDE)
        return scale_decibels(10 * np.log10(np.maximum(sums, CELL_FLOOR)) + tilt)

    return mix


def read_energies(source: Path | bytes) -> NDArray[np.float32]:
    """Return the energies of a recording, (frames, 16), as its check computes them."""
    parts = []
    data = source if isinstance(source, bytes) else source.read_bytes()
    for block, rate, _ in read_blocks(data, find_media_type(data)):
        framing = plan_cells(rate)
        parts.append(compute_energies(mix_to_mono(block), framing, build_filter_bank(framing)))
    return np.concatenate(parts)


def _interpolate(total: NDArray[np.float64], places: NDArray[np.float64]) -> NDArray[np.float64]:
    whole = places.astype(np.int64)
    share = (places - whole)[..., None]
    return total[whole] * (1 - share) + total[whole + 1] * share
