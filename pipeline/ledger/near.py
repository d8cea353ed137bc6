"""Names that are like one that is not there, out of any number of them."""

import re
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

PIECE = 4
"""Characters: with one mistake in it, all but one of a name's pieces are still right."""

MAX_PIECES = 16
"""The last ones: paths differ at their ends."""

MAX_POOL = 500
"""Names that are compared letter by letter, some 50 µs each."""

MAX_COMPARED = 200
"""Characters of a name, its last, that are."""

MIN_RATIO = 0.6
"""As in `difflib.get_close_matches`."""


class NearNames:
    """The names most like `name` of all that were looked at; takes the memory of `MAX_POOL` names."""

    def __init__(self, name: str) -> None:
        self._name = name.lower()
        self._pieces = cut_pieces(self._name)
        self._pool: dict[str, int] = {}

    def look(self, names: "pa.Array") -> None:
        """Look at some names, strings without null."""
        import pyarrow.compute as pc

        lower = pc.ascii_lower(names)
        hits = np.zeros(len(names), np.int64)
        for piece in self._pieces:
            hits += pc.match_substring(lower, pattern=piece).to_numpy(zero_copy_only=False)
        best = np.argsort(-hits, kind="stable")[:MAX_POOL]
        best = best[2 * hits[best] >= max(1, len(self._pieces))]
        self._pool |= zip(names.take(best).to_pylist(), hits[best].tolist(), strict=True)
        if len(self._pool) > MAX_POOL:
            self._pool = dict(sorted(self._pool.items(), key=lambda named: (-named[1], named[0]))[:MAX_POOL])

    def rank(self, limit: int) -> list[str]:
        """The likest names, the likest first; none that is not like it at all."""
        rated = sorted((-self._rate(name), name) for name in self._pool)
        return [name for rate, name in rated if -rate >= MIN_RATIO][:limit]

    def _rate(self, name: str) -> float:
        """0 to 1 how alike they are; more where one is a part of the other."""
        name = name.lower()
        within = len(self._name) >= PIECE and self._name in name
        ratio = SequenceMatcher(None, self._name[-MAX_COMPARED:], name[-MAX_COMPARED:], autojunk=False).ratio()
        return ratio + within


def cut_pieces(name: str) -> list[str]:
    """The name's last pieces of up to four letters or digits, none twice; the name itself where it has neither."""
    words = re.findall(r"\w+", name[-MAX_COMPARED:])
    pieces = [word[start : start + PIECE] for word in words for start in range(0, len(word), PIECE)]
    return list(dict.fromkeys(pieces))[-MAX_PIECES:] or [name[-PIECE:]]
