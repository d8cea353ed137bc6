"""The plan of the cabinet: every thing, its kind, its files and its flaws. A pure function of the seed.

Flaws that cost a thing, and duplicates, are alone on theirs; harmless flaws of picture, sound and caption meet freely.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Literal, TypeVar

import numpy as np

from demo import words
from demo.flaws import EXPECTED, ORIENTATIONS, Flaw, count_planted
from demo.kinds import KINDS, Kind, Manner, Place
from demo.options import DemoOptions

HOST = "demo.test"
"""The name the crawl knows the site by, reserved for tests by RFC 2606; it resolves it to the port that serves it."""

PictureFormat = Literal["jpeg", "png"]
SoundFormat = Literal["wav", "ogg"]
Trait = TypeVar("Trait", Place, Manner)

FOGGY_SHARE = 0.5
DISTANT_SHARE = 0.5
VAGUE_SHARE = 0.4
"""How much of each modality tells no more than a group of kinds: what makes the fused model worth its while."""

STRAY_SHARE = 0.25
"""Of the foggy pictures and distant sounds, how many were taken elsewhere and mislead: even the fused model errs."""

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
HARMLESS = (
    tuple(flaw for flaw in Flaw if EXPECTED[flaw].part == "picture" and not EXPECTED[flaw].loses_thing),
    (Flaw.OGG_COMMENT,),
    (Flaw.EMAIL_IN_CAPTION, Flaw.PHONE_IN_CAPTION),
)
"""The flaws that a thing survives, a group a part: a thing has at most one of each group."""


class Draw(IntEnum):
    """What a random generator is for: every part of every thing has its own, so that none depends on another."""

    PLAN = 0
    PICTURE = 1
    SOUND = 2
    CAPTION = 3


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture's file and how it is drawn: width and height in pixels as seen upright."""

    path: str
    format: PictureFormat
    width: int
    height: int
    fog: Place | None
    """The place that is seen in fog or in the dark, all but without the thing; None where the thing is clear."""
    framed: bool
    """In an oval with nothing around it: the PNG has an alpha channel."""


@dataclass(frozen=True, slots=True)
class Sound:
    """A sound's file and how it is made."""

    path: str
    format: SoundFormat
    rate: int
    """Hz."""
    channels: int
    seconds: float
    distant: Manner | None
    """The manner that is all one hears from far away; None where the thing is close."""


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing of the cabinet, and everything that is known about it."""

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
    """What stands in the metadata of one of its files."""
    secrets: tuple[str, ...] = ()
    """Personal data that its caption or its comment hold, and that nothing after clean may hold."""

    @property
    def lost(self) -> bool:
        """Whether a flaw costs it a part, so that it is no sample where all three modalities are required."""
        return any(EXPECTED[flaw].loses_thing for flaw in self.flaws if flaw is not Flaw.EXACT_DUPLICATE)


@dataclass(frozen=True)
class Site:
    """The whole plan; what `site.render` renders."""

    seed: int
    things: tuple[Thing, ...]
    slow_seconds: float
    offsite_links: tuple[str, ...] = ("http://elsewhere.test/other-cabinets.html",)
    """Links on the front page to a host that is not to be crawled."""
    things_by_path: dict[str, Thing] = field(default_factory=dict, compare=False, repr=False)

    def find_flawed(self, flaw: Flaw) -> list[Thing]:
        """The things that have the flaw, by number."""
        return [thing for thing in self.things if flaw in thing.flaws]

    def count_flaws(self) -> dict[Flaw, int]:
        """How many things have each flaw."""
        return dict(Counter(flaw for thing in self.things for flaw in thing.flaws))


def make_rng(seed: int, number: int, draw: Draw) -> np.random.Generator:
    """The random generator of one part of one thing."""
    return np.random.default_rng([seed, number, draw])


def plan_site(options: DemoOptions) -> Site:
    """The site that these params stand for: the same for the same options, in every process."""
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
    """Every path of the site that belongs to the thing, whether or not it answers with what it should."""
    paths = [thing.page]
    if thing.picture:
        paths.append(thing.picture.path)
        if Flaw.MOVED_PICTURE in thing.flaws:
            paths.append(find_moved_path(thing.picture))
    if thing.sound:
        paths.append(thing.sound.path)
    return paths


def find_moved_path(picture: Picture) -> str:
    """Where a picture that moved is now."""
    return picture.path.replace("/pictures/", "/pictures/archive/")


def plant_flaws(things: int, rng: np.random.Generator) -> list[tuple[Flaw, ...]]:
    """Which flaws each thing has, by number."""
    flaws: list[list[Flaw]] = [[] for _ in range(things)]
    harmless = {flaw for group in HARMLESS for flaw in group}
    order = [int(number) for number in rng.permutation(things)]
    for flaw in Flaw:
        if flaw not in harmless:
            for _ in range(count_planted(flaw, things)):
                flaws[order.pop()].append(flaw)
    for group in HARMLESS:
        left = [int(number) for number in rng.permutation(order)]
        for flaw in group:
            for _ in range(count_planted(flaw, things)):
                flaws[left.pop()].append(flaw)
    return [tuple(planted) for planted in flaws]


def choose_originals(flaws: list[tuple[Flaw, ...]], rng: np.random.Generator) -> dict[int, int]:
    """Of which flawless thing each duplicate is one: {number of the duplicate: number of the original}."""
    duplicates = [n for n, of in enumerate(flaws) if {Flaw.EXACT_DUPLICATE, Flaw.NEAR_DUPLICATE} & set(of)]
    flawless = [n for n, of in enumerate(flaws) if not of]
    chosen = rng.choice(flawless, size=len(duplicates), replace=False)
    return dict(zip(duplicates, map(int, chosen), strict=True))


def plan_thing(seed: int, number: int, kind: Kind, flaws: tuple[Flaw, ...]) -> Thing:
    """One thing with its files and its caption."""
    rng = make_rng(seed, number, Draw.PLAN)
    stem = f"{kind.name}-{number:04d}"
    picture = plan_picture(stem, kind, flaws, rng)
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


def plan_picture(stem: str, kind: Kind, flaws: tuple[Flaw, ...], rng: np.random.Generator) -> Picture:
    """Format and size of a thing's picture, and whether there is fog."""
    wanted = [FORMATS[flaw] for flaw in flaws if flaw in FORMATS]
    drawn: PictureFormat = "jpeg" if rng.random() < 0.6 else "png"
    encoding = wanted[0] if wanted else drawn
    sizes = JPEG_SIZES if encoding == "jpeg" else PNG_SIZES
    width, height = sizes[int(rng.integers(len(sizes)))]
    framed = bool(rng.random() < 0.35) and encoding == "png" and not flaws
    suffix = "jpg" if encoding == "jpeg" or Flaw.PNG_NAMED_JPEG in flaws else "png"
    fog = choose_unclear(kind.place, list(Place), FOGGY_SHARE, rng)
    return Picture(f"/pictures/{stem}.{suffix}", encoding, width, height, fog, framed)


def plan_sound(stem: str, kind: Kind, flaws: tuple[Flaw, ...], rng: np.random.Generator) -> Sound:
    """Format, rate, channels and length of a thing's sound, and whether it is heard from far away."""
    wanted = [SOUND_FORMATS[flaw] for flaw in flaws if flaw in SOUND_FORMATS]
    drawn: SoundFormat = "wav" if rng.random() < 0.5 else "ogg"
    encoding = wanted[0] if wanted else drawn
    rate, channels = RATES[int(rng.integers(len(RATES)))], int(rng.integers(1, 3))
    seconds = round(float(rng.triangular(0.6, 1.4, 2.5)), 2)
    if Flaw.TRUNCATED_OGG in flaws:
        # A stream of more than one page, some 4 kB each: cutting the only one would leave no sound at all.
        rate, seconds = 44100, 2.5
    distant = choose_unclear(kind.manner, list(Manner), DISTANT_SHARE, rng)
    return Sound(f"/sounds/{stem}.{encoding}", encoding, rate, channels, seconds, distant)


def choose_unclear(own: Trait, others: list[Trait], share: float, rng: np.random.Generator) -> Trait | None:
    """What is left of an unclear picture or sound: its kind's own trait, sometimes any; None where all is clear."""
    unclear, stray, other = rng.random() < share, rng.random() < STRAY_SHARE, others[int(rng.integers(len(others)))]
    if not unclear:
        return None
    return other if stray else own


def plan_caption(seed: int, number: int, kind: Kind, flaws: tuple[Flaw, ...]) -> tuple[str, tuple[str, ...]]:
    """A thing's caption and the personal data in it."""
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
    """The original under another address: the same bytes, or for a near duplicate almost the same."""
    assert original.picture is not None  # an original has no flaw
    assert original.sound is not None
    stem = f"{original.kind.name}-{number:04d}"
    picture, sound, caption = original.picture, original.sound, original.caption
    if Flaw.NEAR_DUPLICATE in flaws:
        # Resized a little, and the sound in the other format: the same to an eye and an ear, never to a hash.
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
