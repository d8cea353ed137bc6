"""The small picture on each drawer of the cabinet.

It stands in the page itself, as a background: what a page shows in an `img` is one of its things, and these are none.
"""

import base64

import numpy as np

from demo.kinds import KINDS, Kind
from demo.media import encode_jpeg
from demo.picture import draw_picture
from demo.plan import Picture

SIGN = Picture(path="", format="jpeg", width=240, height=180, fog=None, framed=False)

DAYLIGHT = 627
"""The first number that, beside a kind's own, seeds twelve pictures without night or dusk in any."""


def draw_sign(kind: Kind) -> str:
    """A picture of some thing of the kind on a clear day, as a `data:` URL of some 8 kB."""
    pixels = draw_picture(kind, SIGN, np.random.default_rng([KINDS.index(kind), DAYLIGHT]))
    return "data:image/jpeg;base64," + base64.b64encode(encode_jpeg(pixels, 82)).decode()
