"""Draw the things of the meadow: a frog, a bird, a shower."""

import numpy as np

from demo.canvas import INK, WHITE, Colour, Pen, darken, lighten, mix, ring, vary
from demo.scenery import Light


def draw_frog(pen: Pen, light: Light, rng: np.random.Generator) -> None:
    """Draw a frog on a leaf of a pond, its throat full of air."""
    skin = darken(vary((112, 168, 62), rng, 24), light.shade * 0.6)
    pale, leaf = lighten(skin, 0.55), darken(vary((62, 132, 88), rng, 12), light.shade)
    pond = darken((92, 154, 176), light.shade)
    pen.fill(ring((0, 0.62), (1.5, 0.42)), darken(pond, 0.2))
    pen.fill(ring((0, 0.64), (1.42, 0.36)), pond)
    pen.fill([(0.1, 0.62), *map(tuple, ring((0, 0.62), (0.95, 0.25), 0, (20, 340)))], leaf)
    for side in (-1, 1):
        pen.fill(ring((side * 0.52, 0.36), (0.34, 0.2), side * -25), darken(skin, 0.15))
        pen.fill(ring((side * 0.66, 0.56), (0.24, 0.07), side * 8), darken(skin, 0.22))
    pen.blob([(-0.5, 0.5), (-0.46, 0.0), (0, -0.25), (0.46, 0.0), (0.5, 0.5), (0, 0.62)], skin)
    pen.blob([(-0.3, 0.5), (-0.28, 0.12), (0, 0.0), (0.28, 0.12), (0.3, 0.5), (0, 0.58)], pale)
    for side in (-1, 1):
        pen.line([(side * 0.3, 0.2), (side * 0.36, 0.58)], 0.12, skin)
        pen.fill(ring((side * 0.4, 0.6), (0.14, 0.045)), skin)
    pen.blob([(-0.52, -0.22), (-0.34, -0.48), (0, -0.52), (0.34, -0.48), (0.52, -0.22), (0.3, 0.0), (-0.3, 0.0)], skin)
    pen.disc((0, 0.1), rng.uniform(0.17, 0.27), lighten(pale, 0.3))
    for side in (-1, 1):
        pen.disc((side * 0.3, -0.5), 0.17, skin)
        pen.disc((side * 0.3, -0.52), 0.12, mix(WHITE, (240, 214, 90), 0.5))
        pen.fill(ring((side * 0.3, -0.52), (0.09, 0.045)), INK)
        pen.disc((side * 0.07, -0.3), 0.018, darken(skin, 0.5))
    pen.curve([(-0.42, -0.2), (-0.2, -0.09), (0, -0.07), (0.2, -0.09), (0.42, -0.2)], 0.03, darken(skin, 0.55))
    for _ in range(6):
        pen.disc((rng.uniform(-0.35, 0.35), rng.uniform(-0.44, -0.34)), 0.03, darken(skin, 0.25), 0.7)


def draw_bird(pen: Pen, light: Light, rng: np.random.Generator) -> None:
    """Draw a small bird that sings on a branch in leaf."""
    coats: tuple[tuple[Colour, Colour], ...] = (
        ((128, 100, 78), (222, 104, 58)),
        ((84, 122, 158), (240, 208, 120)),
        ((112, 116, 70), (226, 214, 130)),
        ((92, 84, 92), (226, 184, 176)),
    )
    coat, breast = coats[rng.integers(len(coats))]
    coat, breast = darken(vary(coat, rng), light.shade * 0.6), darken(vary(breast, rng), light.shade * 0.6)
    wood = darken((104, 76, 58), light.shade)
    pen.curve([(-1.9, 0.72), (-0.8, 0.56), (0.1, 0.62), (1.1, 0.46), (1.9, 0.5)], 0.12, wood)
    pen.curve([(0.5, 0.56), (0.9, 0.3), (1.1, 0.0)], 0.06, wood)
    for _ in range(14):
        at = rng.uniform(-1.7, 1.7)
        leaf = darken(vary((110, 158, 72), rng, 26), light.shade)
        pen.fill(ring((at, 0.6 + rng.uniform(-0.25, 0.2)), (0.17, 0.075), rng.uniform(0, 180)), leaf)
    pen.fill([(-0.42, 0.22), (-1.0, 0.72), (-0.86, 0.8), (-0.28, 0.42)], darken(coat, 0.25))
    pen.fill(ring((-0.02, 0.1), (0.52, 0.4), -30), coat)
    pen.fill(ring((0.17, 0.16), (0.34, 0.32), -35), breast)
    pen.disc((0.36, -0.3), 0.29, coat)
    pen.fill(ring((0.44, -0.18), (0.2, 0.19)), breast)
    pen.fill([(0.6, -0.42), (0.95, -0.5), (0.64, -0.32)], (232, 172, 62))
    pen.fill([(0.62, -0.3), (0.9, -0.24), (0.6, -0.2)], (206, 142, 48))
    pen.blob([(-0.32, -0.08), (0.02, -0.12), (0.06, 0.18), (-0.28, 0.42), (-0.62, 0.5)], darken(coat, 0.28))
    pen.curve([(-0.26, 0.02), (-0.1, 0.2), (-0.5, 0.44)], 0.03, lighten(coat, 0.3), 0.8)
    pen.disc((0.44, -0.38), 0.062, INK)
    pen.disc((0.46, -0.4), 0.02, WHITE)
    for x in (0.02, 0.16):
        pen.line([(x, 0.42), (x + 0.02, 0.6)], 0.035, darken((190, 120, 70), light.shade))


def draw_rain(pen: Pen, light: Light, rng: np.random.Generator) -> None:
    """Draw a heavy cloud over the meadow, and somebody's umbrella under it."""
    grey = darken(vary((128, 138, 154), rng, 8), light.shade)
    pen.wash(lighten(grey, 0.1), 0.5)
    for x, y, radius in (
        (-1.0, -0.7, 0.36),
        (-0.5, -0.86, 0.5),
        (0.1, -0.95, 0.56),
        (0.65, -0.8, 0.46),
        (1.1, -0.66, 0.32),
    ):
        pen.disc((x, y), radius, mix(grey, (70, 78, 98), 0.55))
    for x, y, radius in ((-0.6, -0.98, 0.34), (0.0, -1.1, 0.4), (0.6, -0.95, 0.3)):
        pen.disc((x, y), radius, lighten(grey, 0.2))
    slant = rng.uniform(0.05, 0.25)
    for _ in range(90):
        x, y, length = rng.uniform(-2.2, 2.2), rng.uniform(-0.6, 1.3), rng.uniform(0.12, 0.26)
        pen.line([(x, y), (x - slant * length * 3, y + length)], 0.02, lighten(grey, 0.55), 0.7)
    cloths = ((206, 58, 52), (236, 178, 48), (60, 120, 170), (96, 150, 104))
    cloth = darken(cloths[rng.integers(len(cloths))], light.shade * 0.5)
    draw_umbrella(pen.move(rng.uniform(-0.3, 0.3), 0.45), cloth)
    for _ in range(9):
        pen.fill(ring((rng.uniform(-1.5, 1.5), rng.uniform(0.95, 1.2)), (0.13, 0.035)), lighten(grey, 0.4), 0.6)


def draw_umbrella(pen: Pen, cloth: Colour) -> None:
    """Draw an open umbrella with its handle down."""
    pen.curve([(0, -0.5), (0, 0.45), (0.06, 0.58), (0.15, 0.5)], 0.045, (92, 64, 48))
    pen.fill(ring((0, 0), (0.68, 0.52), 0, (180, 360)), cloth)
    pen.fill(ring((0, 0), (0.26, 0.52), 0, (180, 360)), lighten(cloth, 0.2))
    for x in (-0.51, -0.17, 0.17, 0.51):
        pen.fill(ring((x, 0), (0.17, 0.09), 0, (0, 180)), cloth)
    pen.line([(0, -0.62), (0, -0.5)], 0.04, (92, 64, 48))
