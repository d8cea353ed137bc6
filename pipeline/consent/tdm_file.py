"""Read `/.well-known/tdmrep.json` of the TDM Reservation Protocol: a list of locations, each reserved or not. Pure."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.consent.path_patterns import match_location
from pipeline.consent.statements import AI_USES, Statement, tidy_line

TDM_FILE = "/.well-known/tdmrep.json"

_RESERVED = re.compile(r"""["']?tdm-reservation["']?\s*:\s*["']?1""", re.IGNORECASE)


@dataclass(frozen=True)
class TdmFile:
    """The rules of a site's file at `url`."""

    url: str
    rules: tuple[Mapping[str, Any], ...]

    def read_statements(self, url: str) -> Iterator[Statement]:
        """Yield the reservation of the longest location that matches `url`; of several of that length, each."""
        lengths = [match_location(str(rule.get("location", "/")), url) for rule in self.rules]
        longest = max(lengths, default=-1)
        for rule, length in zip(self.rules, lengths, strict=True):
            if length == longest >= 0 and str(rule.get("tdm-reservation")).strip() in ("1", "1.0", "True"):
                line = tidy_line(json.dumps(rule))
                yield Statement("tdmrep", AI_USES, "tdmrep.json: tdm-reservation 1", line, self.url)


def parse_tdm_file(content: bytes, url: str) -> TdmFile:
    """Return the rules of a file.

    One that is no JSON but says `tdm-reservation: 1` somewhere reserves everything: it was meant to say something.
    """
    text = content.decode("utf-8-sig", "replace")
    try:
        rules = json.loads(text)
    except (ValueError, RecursionError):
        rules = [{"tdm-reservation": 1}] if _RESERVED.search(text) else []
    listed = rules if isinstance(rules, list) else [rules]
    return TdmFile(url, tuple(rule for rule in listed if isinstance(rule, dict)))
