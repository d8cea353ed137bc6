"""Split texts at the placeholders that replace personal data."""

import re

from pipeline.privacy.kinds import KINDS, TAGS

EMAIL, PHONE = f"[{TAGS['email']}]", f"[{TAGS['phone']}]"
PLACEHOLDERS = (EMAIL, PHONE, *(f"[{TAGS[kind]}]" for kind in KINDS if kind not in ("email", "phone")))
"""The first two are older than the others, and keep their ids in vocabularies of byte pairs."""

_PLACEHOLDER = re.compile("(" + "|".join(re.escape(name) for name in PLACEHOLDERS) + ")")


def split_placeholders(text: str) -> list[str]:
    """Split `text` into parts that are each a placeholder or contain none; none is empty, joined they are the text."""
    if "[" not in text:
        return [text] if text else []
    return [part for part in _PLACEHOLDER.split(text) if part]


def lower_text(text: str) -> str:
    """Return `text` in lower case, except for its placeholders."""
    return "".join(part if part in PLACEHOLDERS else part.lower() for part in split_placeholders(text))
