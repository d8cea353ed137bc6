"""Draw the small picture on each card of the front page.

It is part of the page, as a CSS background: an `img` would be crawled as one of the things.
"""

import base64

import numpy as np

from demo.composition import Composition, Hour
from demo.kinds import KINDS, Kind
from demo.media import encode_jpeg
from demo.picture import draw_picture
from demo.plan import Picture

NOON = Composition(Hour.NOON, scale=1.0, across=0.5, balloons=())
SIGN = Picture(path="", format="jpeg", width=240, height=180, fog=None, framed=False, composition=NOON)


def draw_sign(kind: Kind) -> str:
    """Draw a thing of the kind on a clear day, as a `data:` URL of some 8 kB."""
    pixels = draw_picture(kind, SIGN, np.random.default_rng(KINDS.index(kind)))
    return "data:image/jpeg;base64," + base64.b64encode(encode_jpeg(pixels, 82)).decode()
