"""What stands in a text for personal data that was taken out of it."""

import re

EMAIL, PHONE = "[EMAIL]", "[PHONE]"
PLACEHOLDERS = (EMAIL, PHONE)

_PLACEHOLDER = re.compile("(" + "|".join(re.escape(name) for name in PLACEHOLDERS) + ")")


def split_placeholders(text: str) -> list[str]:
    """`text` in parts that are each a placeholder or hold none; none is empty, and together they are the text."""
    return [part for part in _PLACEHOLDER.split(text) if part]


def lower_text(text: str) -> str:
    """`text` in lower case, but for its placeholders."""
    return "".join(part if part in PLACEHOLDERS else part.lower() for part in split_placeholders(text))
