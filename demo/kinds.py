"""Define the twelve kinds of things, and the groups of kinds that each modality distinguishes.

A kind is a place that can be seen (4), a manner that can be heard (3) and a family that can be named (4). No two kinds
share place and manner. A clear picture, sound or caption shows the kind; a foggy picture shows only the place, a
distant recording only the manner, a vague caption only the family. So each modality alone leaves three or four kinds
where it is unclear. Together they rarely leave more than one, unless one of them was taken in the wrong place:

              strikes   sings    rushes
    sea       boat      whale    surf
    meadow    frog      bird     rain
    town      bell      siren    train
    room      clock     violin   fire
"""

from dataclasses import dataclass
from enum import StrEnum


class Place(StrEnum):
    """The place of a thing, which a foggy picture still shows."""

    SEA = "sea"
    MEADOW = "meadow"
    TOWN = "town"
    ROOM = "room"


class Manner(StrEnum):
    """How a thing sounds, which a distant recording still shows."""

    STRIKES = "strikes"
    SINGS = "sings"
    RUSHES = "rushes"


class Family(StrEnum):
    """The sort of a thing, which a vague caption still names."""

    ANIMAL = "animal"
    VEHICLE = "vehicle"
    ELEMENT = "element"
    MADE = "made"


@dataclass(frozen=True, slots=True)
class Kind:
    """One class of the corpus: `name` is its label."""

    name: str
    place: Place
    manner: Manner
    family: Family
    nouns: tuple[str, ...]
    verbs: tuple[str, ...]


KINDS: tuple[Kind, ...] = (
    Kind(
        "boat", Place.SEA, Manner.STRIKES, Family.VEHICLE,
        ("fishing boat", "harbour boat", "old boat", "ferry"),
        ("chugging", "puttering", "knocking along"),
    ),
    Kind(
        "whale", Place.SEA, Manner.SINGS, Family.ANIMAL,
        ("whale", "humpback whale", "blue whale", "young whale"),
        ("moaning", "singing low", "calling"),
    ),
    Kind(
        "surf", Place.SEA, Manner.RUSHES, Family.ELEMENT,
        ("wave", "breaking wave", "long wave", "line of surf"),
        ("breaking", "hissing on sand", "washing in"),
    ),
    Kind(
        "frog", Place.MEADOW, Manner.STRIKES, Family.ANIMAL,
        ("frog", "pond frog", "tree frog", "bullfrog"),
        ("croaking", "rattling", "grumbling"),
    ),
    Kind(
        "bird", Place.MEADOW, Manner.SINGS, Family.ANIMAL,
        ("bird", "songbird", "garden bird", "robin"),
        ("whistling", "trilling", "singing"),
    ),
    Kind(
        "rain", Place.MEADOW, Manner.RUSHES, Family.ELEMENT,
        ("rain shower", "summer rain", "steady rain", "downpour"),
        ("drumming", "pattering", "pouring down"),
    ),
    Kind(
        "bell", Place.TOWN, Manner.STRIKES, Family.MADE,
        ("bell", "church bell", "bronze bell", "tower bell"),
        ("tolling", "ringing", "striking"),
    ),
    Kind(
        "siren", Place.TOWN, Manner.SINGS, Family.VEHICLE,
        ("fire engine", "red engine", "siren truck", "ladder truck"),
        ("wailing", "blaring", "calling two notes"),
    ),
    Kind(
        "train", Place.TOWN, Manner.RUSHES, Family.VEHICLE,
        ("train", "steam train", "mail train", "locomotive"),
        ("puffing", "panting", "steaming"),
    ),
    Kind(
        "clock", Place.ROOM, Manner.STRIKES, Family.MADE,
        ("clock", "wall clock", "pendulum clock", "kitchen clock"),
        ("ticking", "tocking", "counting seconds"),
    ),
    Kind(
        "violin", Place.ROOM, Manner.SINGS, Family.MADE,
        ("violin", "old violin", "student violin", "fiddle"),
        ("tuning up", "playing a scale", "holding one note"),
    ),
    Kind(
        "fire", Place.ROOM, Manner.RUSHES, Family.ELEMENT,
        ("log fire", "hearth fire", "coal fire", "open fire"),
        ("crackling", "spitting", "roaring softly"),
    ),
)  # fmt: skip
