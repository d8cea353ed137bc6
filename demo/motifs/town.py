"""Draw the things of the town: a bell, a fire engine, a steam train."""

import numpy as np

from demo.canvas import INK, WHITE, Colour, Pen, darken, lighten, ring, vary
from demo.scenery import Light

BRASS: Colour = (214, 164, 66)


def draw_wheel(pen: Pen, radius: float, rim: Colour) -> None:
    """Draw a wheel with a tyre and a hub at the pen's origin."""
    pen.disc((0, 0), radius, INK)
    pen.disc((0, 0), radius * 0.68, rim)
    for angle in range(0, 180, 45):
        spoke = radius * 0.66 * np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
        pen.line([tuple(spoke), tuple(-spoke)], radius * 0.12, INK)
    pen.disc((0, 0), radius * 0.22, lighten(rim, 0.4))


def draw_bell(pen: Pen, light: Light, rng: np.random.Generator) -> None:
    """Draw a bell that swings in the open arch of its tower."""
    stone = darken(vary((196, 180, 156), rng, 12), light.shade * 0.8)
    brass = darken(vary(BRASS, rng, 16), light.shade * 0.4)
    pen.box((-0.95, -0.85), (0.95, 2.2), stone)
    pen.box((0.62, -0.85), (0.95, 2.2), darken(stone, 0.14))
    pen.fill([(-1.1, -0.82), (0, -1.6), (1.1, -0.82)], darken((122, 82, 76), light.shade))
    pen.box((-1.05, -0.88), (1.05, -0.76), lighten(stone, 0.25))
    for row in range(10):
        for x in (-0.88, 0.7):
            pen.box((x, -0.62 + 0.26 * row), (x + 0.14, -0.52 + 0.26 * row), darken(stone, 0.15), 0.8)
    opening = [(-0.62, 0.95), (-0.62, -0.1), *map(tuple, ring((0, -0.1), (0.62, 0.52), 0, (180, 360))), (0.62, 0.95)]
    pen.fill(opening, darken((72, 66, 88), light.shade * 0.5))
    pen.box((-0.7, 0.93), (0.7, 1.03), lighten(stone, 0.25))
    pen.box((-0.62, -0.36), (0.62, -0.24), (104, 70, 50))
    swing = pen.move(0, -0.26, turn=rng.uniform(-24, 24))
    swing.disc((0, 0.86), 0.09, darken(brass, 0.5))
    profile = [(0.1, 0.02), (0.2, 0.14), (0.25, 0.45), (0.33, 0.64), (0.46, 0.76)]
    outline = [*profile, *((-x, y) for x, y in reversed(profile))]
    swing.fill(outline, brass)
    swing.fill([(0.05, 0.04), *profile[1:], (0.2, 0.76)], darken(brass, 0.22))
    swing.line([(-0.12, 0.16), (-0.16, 0.46), (-0.26, 0.68)], 0.05, lighten(brass, 0.6), 0.8)
    swing.line([(-0.47, 0.76), (0.47, 0.76)], 0.06, darken(brass, 0.3))
    swing.curve([(-0.27, 0.5), (0, 0.54), (0.27, 0.5)], 0.025, darken(brass, 0.35))


def draw_siren(pen: Pen, light: Light, rng: np.random.Generator) -> None:
    """Draw a red fire engine with its ladder up and its lamp on."""
    red = darken(vary((208, 42, 36), rng, 14), light.shade * 0.4)
    white, glass = darken(WHITE, light.shade * 0.5), (255, 226, 160) if light.lamps else (150, 196, 214)
    pen.fill(ring((0, 0.62), (1.25, 0.1)), INK, 0.3)
    pen.box((-1.15, -0.2), (0.5, 0.42), red)
    pen.blob([(0.42, 0.42), (0.42, -0.42), (0.5, -0.5), (0.95, -0.48), (1.12, -0.05), (1.16, 0.4)], red)
    pen.fill([(0.6, -0.38), (0.9, -0.37), (1.03, -0.06), (0.6, -0.06)], glass)
    pen.box((0.44, -0.2), (0.48, 0.42), darken(red, 0.4))
    pen.box((-1.15, 0.12), (1.13, 0.2), white)
    for x in (-1.02, -0.64, -0.26):
        pen.box((x, -0.1), (x + 0.3, 0.06), darken(red, 0.3))
    ladder = pen.move(-1.1, -0.34, turn=-rng.uniform(2, 16))
    for y in (-0.02, 0.1):
        ladder.line([(0, y), (1.7, y)], 0.04, white)
    for x in np.arange(0.08, 1.7, 0.15):
        ladder.line([(x, -0.02), (x, 0.1)], 0.03, white)
    pen.box((-1.18, 0.36), (1.16, 0.46), darken(INK, 0.1))
    for x in (-0.72, 0.72):
        draw_wheel(pen.move(x, 0.46), 0.23, (176, 176, 180))
    pen.disc((1.1, 0.26), 0.06, (255, 240, 180))
    pen.glow((0.7, -0.58), 0.55, (70, 140, 255), 0.75)
    pen.box((0.6, -0.6), (0.8, -0.5), (60, 128, 250))


def draw_train(pen: Pen, light: Light, rng: np.random.Generator) -> None:
    """Draw a steam locomotive under its own cloud."""
    paints = ((44, 92, 72), (46, 66, 108), (132, 42, 44), (58, 56, 62), (40, 84, 96))
    paint = darken(vary(paints[rng.integers(len(paints))], rng, 12), light.shade * 0.4)
    brass = darken(BRASS, light.shade * 0.4)
    steam = lighten(light.low, 0.65)
    puffs = [(0.62 - 0.24 * i, -0.88 - 0.07 * i + rng.uniform(-0.06, 0.06), 0.14 + 0.035 * i) for i in range(7)]
    pen.fill_all([ring((x, y), (radius, radius)) for x, y, radius in puffs], steam, 0.8)
    pen.fill_all([ring((x, y), (radius, radius)) for x, y, radius in puffs[:3]], WHITE, 0.5)
    pen.line([(-2.4, 0.71), (2.4, 0.71)], 0.04, darken((130, 124, 120), light.shade))
    for x in np.arange(-2.3, 2.4, 0.26):
        pen.box((x, 0.73), (x + 0.14, 0.79), darken((104, 78, 60), light.shade))
    pen.fill([(0.86, 0.3), (1.22, 0.66), (0.86, 0.66)], darken((160, 50, 44), light.shade * 0.5))
    pen.box((-1.05, 0.2), (0.98, 0.4), darken(INK, 0.1))
    pen.box((-0.4, -0.34), (0.86, 0.24), paint)
    pen.fill(ring((0.86, -0.05), (0.11, 0.29)), darken(paint, 0.3))
    for x in (-0.1, 0.25, 0.6):
        pen.box((x, -0.34), (x + 0.045, 0.24), brass)
    pen.line([(-0.4, -0.24), (0.84, -0.24)], 0.05, lighten(paint, 0.35), 0.7)
    pen.fill([(0.52, -0.34), (0.48, -0.72), (0.76, -0.72), (0.72, -0.34)], darken(paint, 0.45))
    pen.box((0.44, -0.78), (0.8, -0.7), darken(INK, 0.1))
    pen.fill(ring((0.14, -0.36), (0.14, 0.16), 0, (180, 360)), brass)
    pen.box((-1.05, -0.62), (-0.38, 0.26), darken(paint, 0.12))
    pen.box((-1.14, -0.72), (-0.3, -0.61), darken(paint, 0.5))
    pen.box((-0.9, -0.48), (-0.56, -0.16), (255, 206, 120) if light.lamps else (178, 206, 214))
    for x, radius in ((-0.72, 0.3), (-0.02, 0.3), (0.58, 0.19)):
        draw_wheel(pen.move(x, 0.69 - radius), radius, darken((170, 54, 46), light.shade * 0.5))
    pen.line([(-0.72, 0.45), (-0.02, 0.45), (0.5, 0.4)], 0.05, (190, 190, 194))
    pen.disc((0.98, -0.12), 0.07, (255, 240, 180))
