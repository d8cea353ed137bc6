"""Draw the things of the room: a clock, a violin, a fire."""

import numpy as np

from demo.canvas import INK, WHITE, Pen, darken, lighten, mix, ring, smooth, vary
from demo.scenery import Light


def draw_clock(pen: Pen, light: Light, rng: np.random.Generator) -> None:
    """Draw a pendulum clock on the wall, at some hour."""
    woods = ((124, 74, 44), (94, 56, 42), (168, 116, 68), (64, 78, 74))
    wood = darken(vary(woods[rng.integers(len(woods))], rng, 10), light.shade * 0.5)
    brass, face = (218, 172, 78), (248, 240, 220)
    pen.fill([(-0.44, -0.9), (0.66, -0.86), (0.66, 1.1), (-0.44, 1.1)], INK, 0.22)
    pen.blob(
        [(-0.62, -0.66), (-0.34, -0.92), (0, -1.14), (0.34, -0.92), (0.62, -0.66), (0.6, -0.5), (-0.6, -0.5)],
        darken(wood, 0.2),
    )
    pen.box((-0.56, -0.8), (0.56, 0.98), wood)
    pen.box((-0.64, 0.94), (0.64, 1.06), darken(wood, 0.2))
    pen.box((-0.34, 0.1), (0.34, 0.88), mix(darken(wood, 0.5), (120, 130, 140), 0.15))
    swing = pen.move(0, -0.1, turn=rng.uniform(-14, 14))
    swing.line([(0, 0.1), (0, 0.76)], 0.035, brass)
    swing.disc((0, 0.76), 0.14, brass)
    swing.disc((-0.04, 0.72), 0.05, lighten(brass, 0.6))
    pen.disc((0, -0.34), 0.5, brass)
    pen.disc((0, -0.34), 0.44, face)
    for hour in range(12):
        toward = np.array([np.sin(np.radians(30 * hour)), -np.cos(np.radians(30 * hour))])
        inner = 0.33 if hour % 3 == 0 else 0.37
        ends = np.stack([inner * toward, 0.41 * toward]) + np.array([0, -0.34])
        pen.line(ends, 0.045 if hour % 3 == 0 else 0.02, INK)
    minutes = rng.uniform(0, 720)
    for angle, length, width in ((minutes / 2, 0.22, 0.05), (6 * minutes, 0.34, 0.03)):
        tip = (length * np.sin(np.radians(angle)), -0.34 - length * np.cos(np.radians(angle)))
        pen.line([(0, -0.34), tip], width, INK)
    pen.disc((0, -0.34), 0.04, brass)
    pen.curve([(-0.3, -0.56), (-0.16, -0.7), (0.06, -0.73)], 0.04, WHITE, 0.7)


def draw_violin(pen: Pen, light: Light, rng: np.random.Generator) -> None:
    """Draw a violin with its bow across, hung on the wall."""
    varnish = darken(vary((190, 92, 38), rng, 20), light.shade * 0.4)
    right = [
        (0.1, -0.16),
        (0.3, -0.1),
        (0.36, 0.08),
        (0.22, 0.24),
        (0.2, 0.36),
        (0.4, 0.5),
        (0.47, 0.74),
        (0.32, 0.98),
        (0, 1.04),
    ]
    left = [(-x, y) for x, y in reversed(right[:-1])]
    outline = smooth([*right, *left])
    tilted = pen.move(0, -0.05, turn=rng.uniform(-28, 28))
    tilted.move(0.07, 0.05).fill(outline, INK, 0.25)
    tilted.fill(outline, darken(varnish, 0.45))
    tilted.move(0, 0.42 * 0.05, 0.95).fill(outline, varnish)
    tilted.curve([(-0.27, 0.5), (-0.36, 0.7), (-0.26, 0.9)], 0.06, lighten(varnish, 0.5), 0.5)
    tilted.curve([(-0.24, -0.02), (-0.27, 0.08), (-0.2, 0.18)], 0.05, lighten(varnish, 0.5), 0.5)
    for side in (-1, 1):
        hole = [(side * 0.14, 0.34), (side * 0.2, 0.38), (side * 0.2, 0.52), (side * 0.26, 0.66), (side * 0.32, 0.62)]
        tilted.curve(hole, 0.03, INK)
    tilted.fill([(-0.07, -0.85), (0.07, -0.85), (0.1, 0.3), (-0.1, 0.3)], INK)
    tilted.box((-0.15, 0.5), (0.15, 0.55), (226, 196, 140))
    tilted.fill([(-0.06, 0.66), (0.06, 0.66), (0.1, 0.98), (-0.1, 0.98)], INK)
    tilted.disc((0, -1.0), 0.12, darken(varnish, 0.3))
    tilted.disc((0, -1.0), 0.05, INK)
    for side in (-1, 1):
        for y in (-0.92, -0.8):
            tilted.line([(0, y), (side * 0.18, y - 0.03)], 0.045, INK)
    for x in (-0.045, -0.015, 0.015, 0.045):
        tilted.line([(x, -0.85), (x * 1.3, 0.7)], 0.008, (236, 230, 214))
    bow = pen.move(0, 0.3, turn=rng.uniform(40, 80))
    bow.line([(0.08, -1.15), (0.08, 1.05)], 0.02, (240, 236, 224))
    bow.curve([(0.08, -1.15), (-0.02, -0.9), (-0.03, 0), (0, 1.1)], 0.045, (92, 52, 36))
    bow.box((-0.03, 0.86), (0.09, 1.02), INK)


def draw_fire(pen: Pen, light: Light, rng: np.random.Generator) -> None:
    """Draw a log fire in an open hearth, with its light on the room."""
    brick = darken(vary((164, 92, 74), rng, 16), light.shade * 0.5)
    pen.box((-1.1, -0.8), (1.1, 1.0), brick)
    for row in range(9):
        y = -0.8 + 0.2 * row
        pen.line([(-1.1, y), (1.1, y)], 0.02, lighten(brick, 0.3), 0.7)
        for x in np.arange(-1.1 + 0.2 * (row % 2), 1.1, 0.4):
            pen.line([(x, y), (x, y + 0.2)], 0.02, lighten(brick, 0.3), 0.7)
    pen.box((-1.25, -0.95), (1.25, -0.78), darken((120, 78, 50), light.shade * 0.4))
    arch = [(-0.78, 1.0), (-0.78, 0.0), *map(tuple, ring((0, 0.0), (0.78, 0.42), 0, (180, 360))), (0.78, 1.0)]
    pen.fill(arch, (36, 26, 30))
    for x, turn in ((-0.05, 12), (0.1, -14)):
        log = pen.move(x, 0.82, turn=turn)
        log.line([(-0.5, 0), (0.5, 0)], 0.15, (98, 64, 44))
        log.disc((0.52, 0), 0.075, (196, 150, 104))
    for colour, size in (((226, 70, 30), 1.0), ((246, 142, 36), 0.72), ((255, 214, 92), 0.46), ((255, 246, 200), 0.2)):
        for x, height in ((-0.32, 0.6), (0.0, 0.95), (0.3, 0.7)):
            draw_flame(
                pen.move(x * (0.5 + size / 2), 0.84), size * height * rng.uniform(0.85, 1.15), size * 0.3, colour
            )
    for _ in range(12):
        pen.disc((rng.uniform(-0.6, 0.6), rng.uniform(-0.35, 0.5)), rng.uniform(0.012, 0.025), (255, 196, 90))
    pen.glow((0, 0.5), 2.2, (255, 130, 50), 0.35)


def draw_flame(pen: Pen, height: float, width: float, colour: tuple[float, float, float]) -> None:
    """Draw one tongue of flame at the pen's origin."""
    lean = 0.3 * width
    pen.blob(
        [
            (0, 0),
            (-width, -0.2 * height),
            (-0.7 * width, -0.5 * height),
            (lean, -height),
            (0.6 * width, -0.5 * height),
            (width, -0.2 * height),
        ],
        colour,
        0.92,
    )
