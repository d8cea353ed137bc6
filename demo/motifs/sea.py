"""Draw the things of the sea: a boat, a whale, a breaking wave."""

import numpy as np

from demo.canvas import INK, WHITE, Colour, Pen, darken, lighten, mix, ring, vary
from demo.scenery import Light

WATER: Colour = (54, 122, 152)


def draw_water_line(pen: Pen, reach: float, light: Light, rng: np.random.Generator) -> None:
    """Draw waves in front of whatever floats, with foam where they meet it."""
    water = darken(vary(WATER, rng, 10), light.shade)
    x = np.linspace(-reach, reach, 15)
    crest = [(float(a), 0.03 * (-1) ** i) for i, a in enumerate(x)]
    pen.blob([*crest, (reach * 0.8, 0.16), (0, 0.22), (-reach * 0.8, 0.16)], water, 0.9)
    pen.curve(crest, 0.035, lighten(water, 0.65), 0.8)


def draw_boat(pen: Pen, light: Light, rng: np.random.Generator) -> None:
    """Draw a small fishing boat with a wheelhouse, a funnel that puffs, and a flag."""
    hulls = ((186, 58, 48), (38, 92, 132), (44, 112, 92), (236, 226, 206), (222, 150, 52))
    hull = darken(vary(hulls[rng.integers(len(hulls))], rng), light.shade * 0.8)
    white, wood = darken(WHITE, light.shade * 0.8), darken((146, 98, 62), light.shade * 0.8)
    puffs = [ring((-0.24 - 0.2 * i, -0.93 - 0.1 * i), (0.1 + 0.04 * i, 0.09 + 0.035 * i)) for i in range(4)]
    pen.fill_all(puffs, lighten(light.low, 0.5), 0.7)
    pen.line([(0.42, -0.1), (0.42, -1.05)], 0.035, wood)
    pen.line([(0.42, -1.0), (0.92, -0.2)], 0.012, INK, 0.6)
    pen.fill([(0.42, -1.05), (0.42, -0.85), (0.14, -0.95)], vary((220, 80, 60), rng, 60))
    pen.box((-0.3, -0.85), (-0.12, -0.4), darken(INK, 0.1))
    pen.box((-0.3, -0.78), (-0.12, -0.66), hull)
    pen.box((-0.5, -0.52), (0.2, -0.05), white)
    pen.box((-0.56, -0.58), (0.26, -0.5), wood)
    for x in (-0.4, -0.18, 0.04):
        pen.box((x, -0.42), (x + 0.13, -0.25), (255, 216, 130) if light.lamps else (86, 120, 138))
    pen.blob([(-0.95, -0.18), (-0.9, 0.1), (-0.7, 0.32), (0.55, 0.34), (0.8, 0.1), (1.0, -0.28), (0, -0.08)], hull)
    pen.curve([(-0.95, -0.16), (0, -0.06), (1.0, -0.26)], 0.05, white)
    pen.curve([(-0.84, 0.14), (0, 0.2), (0.78, 0.1)], 0.045, darken(hull, 0.4))
    pen.disc((0.62, -0.02), 0.05, darken(hull, 0.5))
    draw_water_line(pen.move(0, 0.3), 1.25, light, rng)


def draw_whale(pen: Pen, light: Light, rng: np.random.Generator) -> None:
    """Draw a whale at the surface, with its tail up and its breath in the air."""
    skin = darken(vary((74, 98, 128), rng, 16), light.shade * 0.7)
    belly = lighten(skin, 0.55)
    spray = lighten(light.low, 0.6)
    for reach in (-0.3, -0.15, 0.15, 0.3):
        pen.curve([(0.48, -0.42), (0.48 + reach * 0.3, -0.85), (0.48 + reach, -0.72 + abs(reach))], 0.045, spray, 0.85)
    pen.blob([(-0.7, 0.2), (-0.78, -0.2), (-0.9, -0.5), (-0.72, -0.5), (-0.6, -0.2), (-0.45, 0.1)], skin)
    pen.blob([(-0.81, -0.42), (-1.05, -0.5), (-1.22, -0.78), (-0.95, -0.74), (-0.8, -0.56)], skin)
    pen.blob([(-0.81, -0.42), (-0.58, -0.48), (-0.38, -0.74), (-0.66, -0.74), (-0.8, -0.56)], skin)
    body = [(-0.8, 0.3), (-0.5, -0.02), (0.0, -0.36), (0.5, -0.42), (0.88, -0.22), (1.0, 0.08), (0.9, 0.34), (0, 0.44)]
    pen.blob(body, skin)
    pen.blob([(0.98, 0.08), (0.6, 0.14), (0.1, 0.3), (0.1, 0.42), (0.85, 0.38)], belly)
    for i in range(4):
        pen.curve(
            [(0.9 - 0.05 * i, 0.16 + 0.05 * i), (0.55, 0.2 + 0.05 * i), (0.15, 0.34 + 0.03 * i)], 0.015, skin, 0.7
        )
    pen.curve([(0.0, -0.28), (0.4, -0.35), (0.7, -0.26)], 0.04, lighten(skin, 0.3), 0.6)
    pen.disc((0.66, -0.0), 0.055, WHITE)
    pen.disc((0.67, 0.0), 0.035, INK)
    draw_water_line(pen.move(0, 0.34), 1.35, light, rng)


def draw_surf(pen: Pen, light: Light, rng: np.random.Generator) -> None:
    """Draw a wave that curls over, with foam at its lip and spray above."""
    water = darken(vary((36, 116, 148), rng, 16), light.shade)
    foam = mix(WHITE, light.low, 0.15 + light.shade * 0.5)
    back = [(-2.2, 0.9), (-1.5, 0.45), (-0.9, -0.05), (-0.35, -0.62), (0.2, -0.86), (0.66, -0.72), (0.84, -0.4)]
    hollow = [(0.72, -0.3), (0.46, -0.5), (0.16, -0.36), (0.06, 0.05), (0.3, 0.4), (0.9, 0.6), (2.2, 0.72), (2.2, 1.2)]
    pen.blob([*back, *hollow, (-2.2, 1.2)], water)
    pen.blob(
        [(0.6, -0.44), (0.3, -0.46), (0.1, -0.2), (0.08, 0.12), (0.28, 0.4), (0.3, 0.05), (0.42, -0.2)],
        darken(water, 0.35),
    )
    for i in range(6):
        start = -1.3 + 0.25 * i
        streak = [
            (start, 0.75),
            (start + 0.45, 0.25 - 0.05 * i),
            (start + 0.75, -0.25 - 0.06 * i),
            (0.2 + 0.05 * i, -0.62),
        ]
        pen.curve(streak, 0.035, lighten(water, 0.35), 0.6)
    lip = [(-0.35, -0.62), (-0.05, -0.8), (0.2, -0.87), (0.45, -0.83), (0.66, -0.72), (0.8, -0.55), (0.86, -0.36)]
    for x, y in lip:
        for _ in range(3):
            at = (x + rng.uniform(-0.09, 0.09), y + rng.uniform(-0.07, 0.07))
            pen.disc(at, rng.uniform(0.05, 0.11), foam)
    for _ in range(28):
        pen.disc((rng.uniform(-0.2, 1.3), rng.uniform(-1.1, -0.3)), rng.uniform(0.012, 0.03), foam, 0.85)
    for x in np.linspace(0.1, 1.9, 12):
        at = (float(x), 0.62 + 0.1 * abs(x - 1) + rng.uniform(-0.06, 0.06))
        pen.fill(ring(at, (rng.uniform(0.12, 0.24), 0.07)), foam, 0.9)
