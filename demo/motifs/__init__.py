"""List the drawings of the twelve kinds, which are in a module a place. To add one, draw it there and add its row here.

A motif fills about the square from -1 to 1 around the pen's origin.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from demo.canvas import Pen
from demo.motifs.meadow import draw_bird, draw_frog, draw_rain
from demo.motifs.room import draw_clock, draw_fire, draw_violin
from demo.motifs.sea import draw_boat, draw_surf, draw_whale
from demo.motifs.town import draw_bell, draw_siren, draw_train
from demo.scenery import Light


@dataclass(frozen=True, slots=True)
class Motif:
    """How a thing is drawn, and how it is positioned in its place."""

    draw: Callable[[Pen, Light, np.random.Generator], None]
    foot: float
    """Distance below its origin at which it touches the ground, the water or the wall, in its own units."""
    level: float
    """Position of that point in the picture, as a share of the height from the top."""
    size: float
    """Its unit, as a share of the smaller side of the picture."""
    tilt: float
    """Largest tilt, in degrees to either side."""


MOTIFS: dict[str, Motif] = {
    "boat": Motif(draw_boat, 0.3, 0.66, 0.28, 7),
    "whale": Motif(draw_whale, 0.34, 0.70, 0.28, 7),
    "surf": Motif(draw_surf, 0.7, 0.84, 0.30, 4),
    "frog": Motif(draw_frog, 0.6, 0.77, 0.30, 3),
    "bird": Motif(draw_bird, 0.6, 0.74, 0.30, 9),
    "rain": Motif(draw_rain, 1.0, 0.86, 0.29, 3),
    "bell": Motif(draw_bell, 1.0, 0.80, 0.28, 0),
    "siren": Motif(draw_siren, 0.69, 0.84, 0.29, 2),
    "train": Motif(draw_train, 0.7, 0.86, 0.29, 1),
    "clock": Motif(draw_clock, 0.0, 0.44, 0.29, 2),
    "violin": Motif(draw_violin, 0.0, 0.46, 0.31, 8),
    "fire": Motif(draw_fire, 1.0, 0.83, 0.31, 0),
}
"""Every motif by the name of its kind."""
