"""Draw a thing's picture: its place at some time of day, the thing in it, sometimes fog in front, and balloons."""

import cv2
import numpy as np

from demo.canvas import INK, WHITE, Colour, Pen, mix, ring
from demo.composition import Balloon, Composition
from demo.kinds import Kind, Place
from demo.media import Pixels
from demo.motifs import MOTIFS
from demo.plan import Picture
from demo.scenery import LIGHTS, Light, draw_scenery

FOG_THING = 0.07
"""The weight of the thing behind the fog: hardly visible, less than the noise of a camera."""
DARK: Colour = (40, 38, 56)
"""In a room, darkness replaces the fog."""
BALLOONS: dict[Balloon, Colour] = {
    Balloon.RED: (216, 44, 40),
    Balloon.YELLOW: (252, 208, 44),
    Balloon.GREEN: (36, 150, 66),
    Balloon.BLUE: (36, 82, 206),
    Balloon.PURPLE: (146, 56, 176),
}


def draw_picture(kind: Kind, picture: Picture, rng: np.random.Generator) -> Pixels:
    """Draw the upright picture: shape (height, width, 3), or 4 with alpha if it is framed."""
    pixels: Pixels = np.zeros((picture.height, picture.width, 3), np.uint8)
    light = LIGHTS[picture.composition.hour]
    draw_scenery(picture.fog or kind.place, Pen(pixels, (0, 0), picture.height), light, rng)
    with_thing = pixels.copy()
    MOTIFS[kind.name].draw(place_thing(kind, picture.composition, with_thing, rng), light, rng)
    if picture.fog:
        with_thing = draw_fog(picture.fog, pixels, with_thing, light)
    draw_balloons(picture.composition.balloons, Pen(with_thing, (0, 0), picture.height), rng)
    shaded = darken_corners(with_thing)
    return frame(shaded) if picture.framed else shaded


def place_thing(kind: Kind, composition: Composition, pixels: Pixels, rng: np.random.Generator) -> Pen:
    """Return the pen for the thing: of the size and at the position that are planned, tilted, and mirrored or not."""
    height, width = pixels.shape[:2]
    motif = MOTIFS[kind.name]
    unit = min(height, width) * motif.size * composition.scale
    ground = height * (motif.level + rng.uniform(-0.03, 0.03))
    return Pen(
        pixels,
        origin=(width * composition.across, ground - motif.foot * unit),
        unit=unit,
        turn=rng.uniform(-motif.tilt, motif.tilt),
        mirrored=bool(rng.random() < 0.5),
    )


def draw_fog(place: Place, empty: Pixels, with_thing: Pixels, light: Light) -> Pixels:
    """Draw the place in fog or in the dark, with the thing hardly visible."""
    hinted = cv2.addWeighted(empty, 1 - FOG_THING, with_thing, FOG_THING, 0)
    blurred = cv2.GaussianBlur(hinted, (0, 0), empty.shape[0] / 90)
    foggy = np.asarray(blurred, np.uint8)
    veil = DARK if place is Place.ROOM else mix(light.low, (200, 204, 208), 0.6)
    Pen(foggy, (0, 0), 1).wash(veil, 0.55)
    return foggy


def draw_balloons(balloons: tuple[Balloon, ...], pen: Pen, rng: np.random.Generator) -> None:
    """Draw balloons side by side at the top, in front of the fog."""
    for i, balloon in enumerate(balloons):
        x = pen.aspect * (i + rng.uniform(0.35, 0.65)) / len(balloons)
        held = pen.move(x, rng.uniform(0.12, 0.24), scale=rng.uniform(0.055, 0.07))
        held.curve([(0, 1.2), (0.15, 2.0), (-0.1, 2.8)], 0.1, INK, 0.6)
        held.fill(ring((0, 0), (1.0, 1.2)), BALLOONS[balloon])
        held.disc((-0.35, -0.45), 0.2, WHITE, 0.7)


def darken_corners(pixels: Pixels) -> Pixels:
    """Return the picture darkened toward its corners, as by an old lens."""
    height, width = pixels.shape[:2]
    down, across = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    shaded: Pixels = (pixels * (1 - 0.1 * (down**2 + across**2))[..., None]).astype(np.uint8)
    return shaded


def frame(pixels: Pixels) -> Pixels:
    """Return the picture in an oval, transparent around it: shape (height, width, 4)."""
    height, width = pixels.shape[:2]
    alpha = np.zeros((height, width, 3), np.uint8)
    Pen(alpha, (width / 2, height / 2), 1).fill(ring((0, 0), (width / 2 - 2, height / 2 - 2)), (255, 255, 255))
    return np.dstack([pixels, alpha[..., 0]])
