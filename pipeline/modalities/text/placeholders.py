"""Define the placeholders that replace personal data in texts."""

import re

EMAIL, PHONE = "[EMAIL]", "[PHONE]"
PLACEHOLDERS = (EMAIL, PHONE)

_PLACEHOLDER = re.compile("(" + "|".join(re.escape(name) for name in PLACEHOLDERS) + ")")


def split_placeholders(text: str) -> list[str]:
    """Split `text` into parts that are each a placeholder or contain none; none is empty, joined they are the text."""
    return [part for part in _PLACEHOLDER.split(text) if part]


def lower_text(text: str) -> str:
    """Return `text` in lower case, except for its placeholders."""
    return "".join(part if part in PLACEHOLDERS else part.lower() for part in split_placeholders(text))
