"""Plan the cabinet from its seed: every thing, its kind, its files and its flaws. Pure."""

from collections import Counter
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Literal, TypeVar

import numpy as np

from demo import words
from demo.composition import Composition, plan_composition
from demo.flaws import EXPECTED, ORIENTATIONS, Flaw
from demo.kinds import KINDS, Kind, Manner, Place
from demo.options import DemoOptions
from demo.planting import choose_originals, plant_flaws

HOST = "demo.test"
"""The site's host name, reserved for tests by RFC 2606, so that no real host is ever requested."""

PictureFormat = Literal["jpeg", "png"]
SoundFormat = Literal["wav", "ogg"]
Trait = TypeVar("Trait", Place, Manner)

FOGGY_SHARE = 0.5
DISTANT_SHARE = 0.5
VAGUE_SHARE = 0.4
"""The share of each modality that shows only a group of kinds, so that a model of several modalities is better."""

STRAY_SHARE = 0.25
"""The share of the foggy pictures and distant sounds that show another group, so that every model makes errors."""

JPEG_SIZES = ((320, 240), (400, 300), (480, 360), (240, 240), (240, 320))
PNG_SIZES = ((320, 240), (256, 256), (240, 320), (288, 216))
RATES = (8000, 16000, 22050, 44100)

FORMATS: dict[Flaw, PictureFormat] = {
    Flaw.TRUNCATED_JPEG: "jpeg",
    Flaw.TRUNCATED_PNG: "png",
    Flaw.HTML_AS_JPEG: "jpeg",
    Flaw.PNG_NAMED_JPEG: "png",
    Flaw.EXIF_GPS: "jpeg",
    Flaw.JPEG_COMMENT: "jpeg",
    Flaw.PNG_TEXT: "png",
    **dict.fromkeys(ORIENTATIONS, "jpeg"),
}
SOUND_FORMATS: dict[Flaw, SoundFormat] = {
    Flaw.TRUNCATED_WAV: "wav",
    Flaw.TRUNCATED_OGG: "ogg",
    Flaw.TEXT_AS_WAV: "wav",
    Flaw.OGG_COMMENT: "ogg",
}
COMMENTED = {Flaw.JPEG_COMMENT, Flaw.PNG_TEXT, Flaw.OGG_COMMENT}


class Draw(IntEnum):
    """The purpose of a random generator: every part of every thing has its own, so that none depends on another."""

    PLAN = 0
    PICTURE = 1
    SOUND = 2
    CAPTION = 3
    COMPOSITION = 4


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture's file and how it is drawn: width and height in pixels in upright orientation."""

    path: str
    format: PictureFormat
    width: int
    height: int
    fog: Place | None
    """The place that is shown in fog or in the dark, with the thing hardly visible; None: the thing is clear."""
    framed: bool
    """In an oval, transparent around it: the PNG has an alpha channel."""
    composition: Composition


@dataclass(frozen=True, slots=True)
class Sound:
    """A sound's file and how it is synthesized."""

    path: str
    format: SoundFormat
    rate: int
    """Hz."""
    channels: int
    seconds: float
    distant: Manner | None
    """The manner that is heard from far away, without the thing's own sound; None: the thing is close."""


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing of the cabinet, with its files, annotations and flaws."""

    number: int
    stem: str
    kind: Kind
    page: str
    picture: Picture | None
    sound: Sound | None
    caption: str
    author: str
    licence: str
    flaws: tuple[Flaw, ...] = ()
    copy_of: int | None = None
    """The number of the thing of which this one is an exact or a near duplicate."""
    comment: str = ""
    """A comment in the metadata of one of its files."""
    secrets: tuple[str, ...] = ()
    """Personal data in its caption or comment, which must be nowhere after clean."""

    @property
    def lost(self) -> bool:
        """Whether a flaw costs it a part, so that it is not a sample if all three modalities are required."""
        return any(EXPECTED[flaw].loses_thing for flaw in self.flaws if flaw is not Flaw.EXACT_DUPLICATE)


@dataclass(frozen=True)
class Site:
    """The plan of the site, which `site.render` renders."""

    seed: int
    things: tuple[Thing, ...]
    slow_seconds: float
    offsite_links: tuple[str, ...] = ("http://elsewhere.test/other-cabinets.html",)
    """Links on the front page to another host, which must not be crawled."""
    things_by_path: dict[str, Thing] = field(default_factory=dict, compare=False, repr=False)

    def find_flawed(self, flaw: Flaw) -> list[Thing]:
        """Return the things that have the flaw, in the order of their numbers."""
        return [thing for thing in self.things if flaw in thing.flaws]

    def count_flaws(self) -> dict[Flaw, int]:
        """Count the things that have each flaw."""
        return dict(Counter(flaw for thing in self.things for flaw in thing.flaws))


def make_rng(seed: int, number: int, draw: Draw) -> np.random.Generator:
    """Build the random generator of one part of one thing."""
    return np.random.default_rng([seed, number, draw])


def plan_site(options: DemoOptions) -> Site:
    """Plan the site of these options: the same for the same options, in every process."""
    rng = np.random.default_rng([options.seed])
    flaws = plant_flaws(options.things, rng)
    originals = choose_originals(flaws, rng)
    things = [
        plan_thing(options.seed, number, KINDS[number % len(KINDS)], flaws[number]) for number in range(options.things)
    ]
    for number, original in originals.items():
        things[number] = plan_duplicate(options.seed, number, things[original], flaws[number])
    paths = {path: thing for thing in things for path in list_paths(thing)}
    return Site(options.seed, tuple(things), options.slow_seconds, things_by_path=paths)


def list_paths(thing: Thing) -> list[str]:
    """Return every path of the site that belongs to the thing, also those whose response is flawed."""
    paths = [thing.page]
    if thing.picture:
        paths.append(thing.picture.path)
        if Flaw.MOVED_PICTURE in thing.flaws:
            paths.append(find_moved_path(thing.picture))
    if thing.sound:
        paths.append(thing.sound.path)
    return paths


def find_moved_path(picture: Picture) -> str:
    """Return the new path of a picture that moved."""
    return picture.path.replace("/pictures/", "/pictures/archive/")


def plan_thing(seed: int, number: int, kind: Kind, flaws: tuple[Flaw, ...]) -> Thing:
    """Plan one thing with its files and its caption."""
    rng = make_rng(seed, number, Draw.PLAN)
    stem = f"{kind.name}-{number:04d}"
    composition = plan_composition(make_rng(seed, number, Draw.COMPOSITION))
    picture = plan_picture(stem, kind, flaws, composition, rng)
    sound = plan_sound(stem, kind, flaws, rng)
    caption, secrets = plan_caption(seed, number, kind, flaws)
    comment, address = words.write_email(rng) if COMMENTED & set(flaws) else ("", "")
    folder = "/private" if Flaw.FORBIDDEN_PAGE in flaws else "/things"
    return Thing(
        number=number,
        stem=stem,
        kind=kind,
        page=f"{folder}/{stem}.html",
        picture=None if Flaw.NO_PICTURE in flaws else picture,
        sound=None if Flaw.NO_SOUND in flaws else sound,
        caption=caption,
        author=words.choose(rng, words.AUTHORS),
        licence=words.choose(rng, words.LICENCES),
        flaws=flaws,
        comment=comment,
        secrets=(*secrets, address) if address else secrets,
    )


def plan_picture(
    stem: str, kind: Kind, flaws: tuple[Flaw, ...], composition: Composition, rng: np.random.Generator
) -> Picture:
    """Plan format and size of a thing's picture, and whether there is fog."""
    required = [FORMATS[flaw] for flaw in flaws if flaw in FORMATS]
    drawn: PictureFormat = "jpeg" if rng.random() < 0.6 else "png"
    encoding = required[0] if required else drawn
    sizes = JPEG_SIZES if encoding == "jpeg" else PNG_SIZES
    width, height = sizes[int(rng.integers(len(sizes)))]
    framed = bool(rng.random() < 0.35) and encoding == "png" and not flaws
    suffix = "jpg" if encoding == "jpeg" or Flaw.PNG_NAMED_JPEG in flaws else "png"
    fog = choose_unclear(kind.place, list(Place), FOGGY_SHARE, rng)
    return Picture(f"/pictures/{stem}.{suffix}", encoding, width, height, fog, framed, composition)


def plan_sound(stem: str, kind: Kind, flaws: tuple[Flaw, ...], rng: np.random.Generator) -> Sound:
    """Plan format, rate, channels and length of a thing's sound, and whether it is heard from far away."""
    required = [SOUND_FORMATS[flaw] for flaw in flaws if flaw in SOUND_FORMATS]
    drawn: SoundFormat = "wav" if rng.random() < 0.5 else "ogg"
    encoding = required[0] if required else drawn
    rate, channels = RATES[int(rng.integers(len(RATES)))], int(rng.integers(1, 3))
    seconds = round(float(rng.triangular(0.6, 1.4, 2.5)), 2)
    if Flaw.TRUNCATED_OGG in flaws:
        # A stream of more than one page, some 4 kB each: if it had only one, cutting it would leave no audio at all.
        rate, seconds = 44100, 2.5
    distant = choose_unclear(kind.manner, list(Manner), DISTANT_SHARE, rng)
    return Sound(f"/sounds/{stem}.{encoding}", encoding, rate, channels, seconds, distant)


def choose_unclear(trait: Trait, traits: list[Trait], share: float, rng: np.random.Generator) -> Trait | None:
    """Choose the trait that an unclear picture or sound shows: its kind's, sometimes any; None: it is clear."""
    unclear, stray, other = rng.random() < share, rng.random() < STRAY_SHARE, traits[int(rng.integers(len(traits)))]
    if not unclear:
        return None
    return other if stray else trait


def plan_caption(seed: int, number: int, kind: Kind, flaws: tuple[Flaw, ...]) -> tuple[str, tuple[str, ...]]:
    """Write a thing's caption; return it with the personal data in it."""
    if Flaw.EMPTY_CAPTION in flaws:
        return "", ()
    rng = make_rng(seed, number, Draw.CAPTION)
    caption = words.write_caption(kind, bool(rng.random() < VAGUE_SHARE), rng)
    if Flaw.EMAIL_IN_CAPTION in flaws:
        tail, secret = words.write_email(rng)
    elif Flaw.PHONE_IN_CAPTION in flaws:
        tail, secret = words.write_phone(rng)
    else:
        return caption, ()
    return f"{caption} {tail}", (secret,)


def plan_duplicate(seed: int, number: int, original: Thing, flaws: tuple[Flaw, ...]) -> Thing:
    """Plan the original under another path: the same bytes, or for a near duplicate almost the same."""
    assert original.picture is not None  # an original has no flaw
    assert original.sound is not None
    stem = f"{original.kind.name}-{number:04d}"
    picture, sound, caption = original.picture, original.sound, original.caption
    if Flaw.NEAR_DUPLICATE in flaws:
        # Resized a little, and the sound in the other format: the same to eye and ear, but with another hash.
        picture = replace(picture, width=round(picture.width * 0.95), height=round(picture.height * 0.95))
        sound = replace(sound, format="ogg" if sound.format == "wav" else "wav")
        caption = words.retype(caption, make_rng(seed, number, Draw.CAPTION))
    return replace(
        original,
        number=number,
        stem=stem,
        page=f"/things/{stem}.html",
        picture=replace(picture, path=f"/pictures/{stem}.{'jpg' if picture.format == 'jpeg' else 'png'}"),
        sound=replace(sound, path=f"/sounds/{stem}.{sound.format}"),
        caption=caption,
        flaws=flaws,
        copy_of=original.number,
    )
