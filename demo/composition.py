"""Plan what a picture shows beside its thing, and describe it in words: the alt text of the image. Pure.

Hour, size, position and balloons do not depend on the kind, so an alt text says what the kind does not. It names
neither the thing nor a side, as training mirrors images, and it says only what can be seen: the fog hides the thing.
"""

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from demo.kinds import Place


class Hour(StrEnum):
    """A time of day, by its light."""

    NOON = "noon"
    MORNING = "morning"
    DAWN = "dawn"
    DUSK = "dusk"
    NIGHT = "night"


class Balloon(StrEnum):
    """The colour of a balloon."""

    RED = "red"
    YELLOW = "yellow"
    GREEN = "green"
    BLUE = "blue"
    PURPLE = "purple"


MOST_BALLOONS = 4
BALLOON_SHARE = 0.6
"""The share of them that a picture has on average: five in six pictures have one to three, one in forty has none."""

SMALL, LARGE = (0.74, 0.9), (1.1, 1.26)
"""The scale of a thing, in which half of the things are small. Nothing is between, so that it can be told."""
MIDDLE, SIDE = (0.46, 0.54), (0.28, 0.38)
"""The position of a thing across the picture, as a share of its width; mirrored for every other thing at the side."""

PLACES = {
    Place.SEA: "the open sea",
    Place.MEADOW: "a green meadow",
    Place.TOWN: "a street of houses",
    Place.ROOM: "a papered room",
}
HOURS = {
    Hour.NOON: "at noon",
    Hour.MORNING: "on a hazy morning",
    Hour.DAWN: "at dawn",
    Hour.DUSK: "at dusk",
    Hour.NIGHT: "at night",
}
NUMBERS = ("no", "one", "two", "three", "four")


@dataclass(frozen=True, slots=True)
class Composition:
    """What is drawn beside the kind and the place."""

    hour: Hour
    scale: float
    """Of the thing, of 1 on average."""
    across: float
    """The middle of the thing, as a share of the picture's width from the left."""
    balloons: tuple[Balloon, ...]
    """From left to right."""


def plan_composition(rng: np.random.Generator) -> Composition:
    """Plan a composition, each of its traits by itself."""
    hours, colours = list(Hour), list(Balloon)
    scale = rng.uniform(*(SMALL if rng.random() < 0.5 else LARGE))
    across = rng.uniform(*(MIDDLE if rng.random() < 0.5 else SIDE))
    balloons = rng.integers(len(colours), size=rng.binomial(MOST_BALLOONS, BALLOON_SHARE))
    return Composition(
        hours[int(rng.integers(len(hours)))],
        float(scale),
        float(1 - across if rng.random() < 0.5 else across),
        tuple(colours[int(colour)] for colour in balloons),
    )


def write_alt(composition: Composition, place: Place, fog: Place | None, framed: bool) -> str:
    """Write what the picture shows, in 5 to 26 words: always the same words for the same things to see."""
    seen = [f"{PLACES[fog or place]} {HOURS[composition.hour]}"]
    if fog is None:
        size = "small" if composition.scale < 1 else "large"
        where = "in the middle" if MIDDLE[0] <= composition.across <= MIDDLE[1] else "to one side"
        seen.append(f"something {size} {where}")
    else:
        seen.append("all dark" if fog is Place.ROOM else "all in fog")
    if composition.balloons:
        seen.append(f"{count_balloons(composition.balloons)} above")
    if framed:
        seen.append("in an oval")
    sentence = ", ".join(seen)
    return sentence[0].upper() + sentence[1:] + "."


def count_balloons(balloons: tuple[Balloon, ...]) -> str:
    """Return `two red and one blue balloons`, in the order of the colours."""
    counts = Counter(balloons)
    groups = [f"{NUMBERS[counts[colour]]} {colour}" for colour in Balloon if counts[colour]]
    listed = " and ".join([*([", ".join(groups[:-1])] if groups[1:] else []), groups[-1]])
    return f"{listed} {'balloon' if len(balloons) == 1 else 'balloons'}"
