"""List the kinds of personal data."""

from typing import Literal, get_args

Kind = Literal[
    "secret", "email", "iban", "card", "national_id", "passport", "birth_date", "ip", "phone", "name"
]  # fmt: skip

KINDS: tuple[Kind, ...] = get_args(Kind)
"""In the order in which they are looked for: what one kind takes, no later one sees."""

DEFAULT_KINDS: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind != "name")
"""All that need no model."""

TAGS: dict[Kind, str] = {kind: "ID" if kind == "national_id" else kind.upper() for kind in KINDS}
"""What a kind is called in the place of what was found: `[EMAIL]`."""
