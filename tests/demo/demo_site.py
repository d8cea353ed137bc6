"""Make a small site of the demo, and find things of it."""

import cv2
import numpy as np

from demo.composition import write_alt
from demo.flaws import Flaw
from demo.media import Pixels
from demo.options import DemoOptions
from demo.plan import Site, Thing, plan_site

SLOW = 0.3


def make_site(things: int = 60, seed: int = 0) -> Site:
    return plan_site(DemoOptions(things=things, seed=seed, slow_seconds=SLOW))


def find_one(site: Site, flaw: Flaw) -> Thing:
    return site.find_flawed(flaw)[0]


def find_picture(site: Site, flaw: Flaw) -> str:
    picture = find_one(site, flaw).picture
    assert picture is not None
    return picture.path


def find_sound(site: Site, flaw: Flaw) -> str:
    sound = find_one(site, flaw).sound
    assert sound is not None
    return sound.path


def describe(thing: Thing) -> str:
    shown = thing.picture
    assert shown is not None
    return write_alt(shown.composition, thing.kind.place, shown.fog, shown.framed)


def decode_picture(data: bytes, flags: int = cv2.IMREAD_COLOR) -> Pixels | None:
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    return None if decoded is None else np.asarray(decoded, np.uint8)
