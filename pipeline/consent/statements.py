"""Define what an owner's statement about the use of content is, and pick the one that counts."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, get_args

from pydantic import Field

from pipeline.config.params import Params
from pipeline.consent.signals import SignalName

Use = Literal["ai-train", "ai-input", "search"]
"""What content is collected for: training a model; input of a model that was trained before (retrieval, grounding); an
index that leads people to the original. The names are those of Content-Signal, which AIPREF and RSL have too."""

ALL_USES: frozenset[Use] = frozenset(get_args(Use))
AI_USES: frozenset[Use] = frozenset({"ai-train", "ai-input"})

MAX_LINE = 300
"""Characters of a line that are kept as evidence."""


class ConsentParams(Params):
    """Which statements of owners count."""

    uses: tuple[Use, ...] = Field(default=("ai-train",), min_length=1, strict=False)
    """What the data is collected for: content whose owner refuses one of these uses is dropped as opted_out."""
    ignore: tuple[SignalName, ...] = Field(default=(), strict=False)
    """Signals that do not count, of those that docs/crawling.md lists. robots.txt and HTTP 402 always do."""


@dataclass(frozen=True, slots=True)
class Statement:
    """An owner's refusal.

    Attributes:
        signal: which signal of the table it is.
        uses: the uses that it refuses.
        detail: what it says, in few words.
        line: the line, header, element or field that says so, as it was spelled; one printable line.
        place: where that is: a URL, the name of a header, an element, a field of a file.
        images_only: whether it is about images alone; also about those that a page shows.
    """

    signal: SignalName
    uses: frozenset[Use]
    detail: str
    line: str
    place: str
    images_only: bool = False

    def locate(self, url: str) -> "Statement":
        """Return the statement with the URL of what it was found in."""
        return replace(self, place=f"{self.place} of {url}")


def find_refusal(statements: Iterable[Statement], params: ConsentParams, image: bool = False) -> Statement | None:
    """Return the first statement that counts under `params`: for an image, or for what is none."""
    for one in statements:
        if one.signal not in params.ignore and one.uses & set(params.uses) and (image or not one.images_only):
            return one
    return None


def tidy_line(text: str) -> str:
    """Return one line of printable ASCII, cut to `MAX_LINE`: it may come from anyone, and is shown on terminals."""
    line = " ".join(text.split())[:MAX_LINE]
    return "".join(character if " " <= character <= "~" else "?" for character in line)
