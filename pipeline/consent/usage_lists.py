"""Read lists of preferences: `train-ai=n, search=y` of AIPREF, `ai-train=no,search=yes` of Content-Signal."""

import re

from pipeline.consent.statements import AI_USES, ALL_USES, Use

_LABELS: dict[str, frozenset[Use]] = {
    # AIPREF, draft-ietf-aipref-vocab, with the labels of its earlier versions
    "train-ai": frozenset({"ai-train"}),
    "train-genai": frozenset({"ai-train"}),
    "ai-use": frozenset({"ai-input"}),
    "ai-output": frozenset({"ai-input"}),
    "bots": ALL_USES,
    "all": ALL_USES,
    "tdm": AI_USES,
    "ai": AI_USES,
    "genai": AI_USES,
    # Content-Signal
    "ai-train": frozenset({"ai-train"}),
    "ai-input": frozenset({"ai-input"}),
    "search": frozenset({"search"}),
}
"""The uses that each label speaks of."""

_NO = frozenset({"n", "no", "?0", "0", "false"})
_YES = frozenset({"y", "yes", "?1", "1", "true"})

_ITEM = re.compile(r'\s*([a-z*][\w.*-]*)\s*=\s*"?([?\w]+)"?\s*(?:;.*)?', re.IGNORECASE)
"""A member of a dictionary (RFC 9651, section 3.2) with its parameters, which have no meaning here."""


def read_refused_uses(value: str) -> frozenset[Use]:
    """Return the uses that a list refuses. A label about one use counts before one about several: `bots=n, search=y`
    allows search. Of two values for one label `n` counts; what is no item of a list says nothing."""
    refused: set[Use] = set()
    general: set[Use] = set()
    allowed: set[Use] = set()
    for part in value.split(","):
        item = _ITEM.fullmatch(part)
        uses = _LABELS.get(item[1].lower(), frozenset()) if item else frozenset()
        if item and item[2].lower() in _NO:
            (refused if len(uses) == 1 else general).update(uses)
        elif item and item[2].lower() in _YES and len(uses) == 1:
            allowed |= uses
    return frozenset(refused | (general - allowed))
