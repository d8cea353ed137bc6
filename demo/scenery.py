"""Draw the four places at five times of day: the background of every thing, and all that is visible in the fog.

The pen's unit is the height of the picture: y goes from 0 at the top to 1, x from 0 to the picture's aspect.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from demo.canvas import INK, WHITE, Colour, Pen, darken, lighten, mix, ring, smooth, vary
from demo.composition import Hour
from demo.kinds import Place


@dataclass(frozen=True)
class Light:
    """A time of day."""

    high: Colour
    """Colour of the sky at its top."""
    low: Colour
    """Colour of the sky at the horizon."""
    sun: Colour
    shade: float
    """The share by which everything under the sky is darkened."""
    lamps: bool


LIGHTS = {
    Hour.NOON: Light((88, 156, 214), (206, 231, 240), (255, 244, 200), 0.0, False),
    Hour.MORNING: Light((126, 188, 222), (246, 236, 206), (255, 250, 225), 0.0, False),
    Hour.DAWN: Light((112, 128, 184), (250, 200, 168), (255, 220, 170), 0.12, False),
    Hour.DUSK: Light((74, 72, 128), (242, 148, 112), (255, 190, 120), 0.28, True),
    Hour.NIGHT: Light((22, 28, 62), (62, 84, 128), (240, 240, 225), 0.45, True),
}


def draw_scenery(place: Place, pen: Pen, light: Light, rng: np.random.Generator) -> None:
    """Fill the whole picture with the place."""
    PLACES[place](pen, light, rng)


def draw_gradient(pen: Pen, top: float, bottom: float, colours: tuple[Colour, Colour]) -> None:
    """Draw full-width bands from one height to another, from one colour to another."""
    height = pen.pixels.shape[0]
    first, last = max(0, round(top * height)), min(height, round(bottom * height))
    ramp = np.linspace(0, 1, max(1, last - first))[:, None, None]
    band = (1 - ramp) * np.array(colours[0]) + ramp * np.array(colours[1])
    pen.pixels[first:last] = band.astype(np.uint8)


def draw_sky(pen: Pen, light: Light, horizon: float, rng: np.random.Generator) -> None:
    """Draw the sky down to the horizon, with sun or moon, stars at night, and a few clouds."""
    draw_gradient(pen, 0, horizon + 0.01, (vary(light.high, rng), vary(light.low, rng, 8)))
    x, y = rng.uniform(0.1, 0.9) * pen.aspect, rng.uniform(0.08, 0.5) * horizon
    if light.shade > 0.4:
        for _ in range(40):
            star = (rng.uniform(0, pen.aspect), rng.uniform(0, horizon))
            pen.disc(star, 0.003, WHITE, rng.uniform(0.3, 0.9))
    pen.glow((x, y), 0.45, light.sun, 0.4)
    pen.disc((x, y), rng.uniform(0.035, 0.06), light.sun)
    for _ in range(int(rng.integers(1, 4))):
        draw_cloud(pen.move(rng.uniform(0, pen.aspect), rng.uniform(0.08, 0.35)), mix(light.low, WHITE, 0.6), rng)


def draw_cloud(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    """Draw a long flat cloud."""
    size = rng.uniform(0.08, 0.16)
    puffs = []
    for i in range(-2, 3):
        radius = size * (0.42 - 0.09 * abs(i)) * rng.uniform(0.85, 1.15)
        puffs.append(ring((i * 0.42 * size, -radius * 0.3), (size * 0.5, radius)))
    pen.fill_all(puffs, colour, 0.7)


def draw_hill(pen: Pen, level: float, height: float, colour: Colour, rng: np.random.Generator) -> None:
    """Draw a rolling line of hills, filled down to the bottom of the picture."""
    x = np.linspace(-0.1, pen.aspect + 0.1, 7)
    ridge = smooth(list(zip(x, level + height * rng.uniform(-1, 1, 7), strict=True)), closed=False)
    pen.fill([*map(tuple, ridge), (pen.aspect + 0.1, 1.1), (-0.1, 1.1)], colour)


def draw_sea(pen: Pen, light: Light, rng: np.random.Generator) -> None:
    """Draw open water to the horizon, a far coast, glints on the waves, and sometimes a lighthouse."""
    horizon = rng.uniform(0.42, 0.52)
    draw_sky(pen, light, horizon, rng)
    coast = darken(mix((120, 150, 150), light.low, 0.5), light.shade * 0.6)
    draw_hill(pen, horizon, 0.03, coast, rng)
    if rng.random() < 0.4:
        draw_lighthouse(pen.move(rng.uniform(0.1, 0.9) * pen.aspect, horizon), light)
    far, near = vary((96, 166, 182), rng), vary((22, 88, 128), rng)
    draw_gradient(pen, horizon, 1, (darken(mix(far, light.low, 0.3), light.shade), darken(near, light.shade)))
    for _ in range(36):
        depth = rng.uniform(0, 1) ** 1.5
        x, y = rng.uniform(0, pen.aspect), horizon + 0.02 + depth * (1 - horizon)
        length = 0.03 + 0.09 * depth
        wave = [(x - length, y), (x - length / 2, y - 0.012 * depth), (x, y), (x + length / 2, y - 0.012 * depth)]
        pen.curve(wave, 0.004 + 0.006 * depth, lighten(light.low, 0.2), 0.45)


def draw_lighthouse(pen: Pen, light: Light) -> None:
    """Draw a striped tower, small with distance, lit when the lamps are."""
    white, red = darken(WHITE, light.shade), darken((190, 62, 50), light.shade)
    pen.fill([(-0.018, 0.01), (-0.012, -0.15), (0.012, -0.15), (0.018, 0.01)], white)
    pen.box((-0.016, -0.06), (0.016, -0.03), red)
    pen.box((-0.014, -0.12), (0.014, -0.09), red)
    pen.fill([(-0.016, -0.16), (0, -0.19), (0.016, -0.16)], red)
    if light.lamps:
        pen.glow((0, -0.155), 0.25, (255, 220, 140), 0.8)


def draw_meadow(pen: Pen, light: Light, rng: np.random.Generator) -> None:
    """Draw green hills with a tree or two, grass and flowers in front."""
    horizon = rng.uniform(0.5, 0.58)
    draw_sky(pen, light, horizon + 0.08, rng)
    green = vary((112, 164, 84), rng, 18)
    draw_hill(pen, horizon, 0.07, darken(mix(green, light.low, 0.45), light.shade), rng)
    for _ in range(int(rng.integers(1, 4))):
        draw_tree(pen.move(rng.uniform(0, pen.aspect), horizon + 0.08, rng.uniform(0.7, 1.3)), light, rng)
    draw_hill(pen, horizon + 0.1, 0.04, darken(green, light.shade), rng)
    draw_hill(pen, horizon + 0.27, 0.03, darken(mix(green, (60, 120, 62), 0.5), light.shade), rng)
    petals = ((245, 238, 220), (240, 196, 70), (222, 92, 96), (170, 120, 200))
    for _ in range(60):
        x, y = rng.uniform(0, pen.aspect), rng.uniform(horizon + 0.25, 1.0)
        tall = 0.03 + 0.05 * (y - horizon)
        pen.line([(x, y), (x + rng.uniform(-0.01, 0.01), y - tall)], 0.005, darken((70, 128, 62), light.shade))
        if rng.random() < 0.35:
            pen.disc((x, y - tall), 0.007 + 0.006 * (y - horizon), darken(petals[rng.integers(4)], light.shade))


def draw_tree(pen: Pen, light: Light, rng: np.random.Generator) -> None:
    """Draw a round tree at the pen's origin."""
    leaf = darken(vary((84, 140, 78), rng, 22), light.shade)
    pen.box((-0.012, -0.12), (0.012, 0.02), darken((112, 82, 60), light.shade))
    for x, y, radius in ((-0.05, -0.14, 0.06), (0.05, -0.15, 0.06), (0, -0.2, 0.075)):
        pen.disc((x, y), radius, leaf)
    pen.disc((-0.02, -0.21), 0.04, lighten(leaf, 0.15))


def draw_town(pen: Pen, light: Light, rng: np.random.Generator) -> None:
    """Draw a row of narrow houses with gables along a street of stone."""
    street = rng.uniform(0.66, 0.74)
    draw_sky(pen, light, street, rng)
    x = -rng.uniform(0, 0.15)
    while x < pen.aspect:
        width = rng.uniform(0.16, 0.26)
        draw_house(pen.move(x, street), width, light, rng)
        x += width
    stone = darken((176, 166, 156), light.shade)
    draw_gradient(pen, street, 1, (stone, darken(stone, 0.25)))
    for row in range(4):
        y = street + 0.04 + row * 0.075
        pen.line([(0, y), (pen.aspect, y)], 0.004, darken(stone, 0.35), 0.5)
        for column in range(int(pen.aspect / 0.12) + 2):
            left = 0.12 * (column - 0.5 * (row % 2))
            pen.line([(left, y), (left - 0.015, y + 0.075)], 0.004, darken(stone, 0.35), 0.4)


def draw_house(pen: Pen, width: float, light: Light, rng: np.random.Generator) -> None:
    """Draw a house right of the pen's origin, with lit windows when the lamps are on."""
    walls = ((222, 184, 132), (206, 126, 98), (188, 196, 178), (226, 208, 178), (170, 132, 122), (146, 164, 178))
    wall = darken(vary(walls[rng.integers(len(walls))], rng, 8), light.shade)
    roof = darken(vary((146, 84, 70), rng, 20), light.shade)
    top, ridge = -rng.uniform(0.28, 0.44), rng.uniform(0.08, 0.15)
    pen.box((0, top), (width, 0), wall)
    pen.fill([(-0.01, top), (width / 2, top - ridge), (width + 0.01, top)], roof)
    pane = (255, 214, 130) if light.lamps else mix((92, 112, 128), light.high, 0.3)
    for y in np.arange(top + 0.05, -0.12, 0.11):
        for x in (width * 0.28, width * 0.72):
            lit = pane if not light.lamps or rng.random() < 0.7 else darken(wall, 0.5)
            pen.box((x - 0.024, y - 0.004), (x + 0.024, y + 0.064), lighten(wall, 0.4))
            pen.box((x - 0.018, y), (x + 0.018, y + 0.06), lit)
    pen.box((width * 0.5 - 0.024, -0.09), (width * 0.5 + 0.024, 0), darken(roof, 0.3))


def draw_room(pen: Pen, light: Light, rng: np.random.Generator) -> None:
    """Draw a papered wall and a wooden floor, with a picture or a window on the wall."""
    papers = ((214, 186, 146), (186, 150, 128), (176, 178, 150), (206, 168, 156), (150, 160, 166))
    paper = darken(vary(papers[rng.integers(len(papers))], rng, 8), light.shade * 0.6)
    floor_level = rng.uniform(0.76, 0.82)
    draw_gradient(pen, 0, floor_level, (lighten(paper, 0.08), darken(paper, 0.06)))
    draw_wallpaper(pen, floor_level, darken(paper, 0.1), rng)
    wood = darken(vary((150, 102, 66), rng, 12), light.shade * 0.6)
    draw_gradient(pen, floor_level, 1, (wood, darken(wood, 0.3)))
    for i in range(-2, 14):
        x = pen.aspect * i / 10
        pen.line([(x, floor_level), (pen.aspect / 2 + (x - pen.aspect / 2) * 1.7, 1)], 0.004, darken(wood, 0.4), 0.6)
    pen.box((0, floor_level - 0.035), (pen.aspect, floor_level), lighten(paper, 0.45))
    side = rng.choice([0.12, 0.88]) * pen.aspect
    draw_window(pen.move(side, rng.uniform(0.26, 0.34)), light)


def draw_wallpaper(pen: Pen, bottom: float, colour: Colour, rng: np.random.Generator) -> None:
    """Draw stripes or a pattern of small flowers."""
    step = rng.uniform(0.07, 0.12)
    if rng.random() < 0.5:
        for x in np.arange(0, pen.aspect, step):
            pen.box((x, 0), (x + step * 0.4, bottom), colour, 0.7)
        return
    for row, y in enumerate(np.arange(step / 2, bottom, step)):
        for x in np.arange(step * (row % 2) / 2, pen.aspect + step, step):
            pen.disc((x, y), step * 0.12, colour)


def draw_window(pen: Pen, light: Light) -> None:
    """Draw a small window that shows the time of day."""
    pen.box((-0.12, -0.16), (0.12, 0.16), lighten((150, 112, 80), 0.1))
    pen.box((-0.1, -0.14), (0.1, 0.02), light.high)
    pen.box((-0.1, 0.0), (0.1, 0.14), mix(light.low, light.high, 0.3))
    pen.line([(0, -0.14), (0, 0.14)], 0.014, (150, 112, 80))
    pen.line([(-0.1, 0), (0.1, 0)], 0.014, (150, 112, 80))
    pen.box((-0.14, 0.15), (0.14, 0.175), darken((150, 112, 80), 0.15))
    pen.line([(-0.12, -0.16), (0.12, -0.16)], 0.006, INK, 0.3)


PLACES: dict[Place, Callable[[Pen, Light, np.random.Generator], None]] = {
    Place.SEA: draw_sea,
    Place.MEADOW: draw_meadow,
    Place.TOWN: draw_town,
    Place.ROOM: draw_room,
}
"""Every place that a picture can show."""
