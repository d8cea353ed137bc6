"""Replace e-mail addresses and phone numbers in texts, in linear time."""

from collections.abc import Sequence
from typing import Literal

from pipeline.modalities.text.placeholders import EMAIL, PHONE
from pipeline.modalities.text.redaction.emails import replace_emails
from pipeline.modalities.text.redaction.phones import replace_phones

Kind = Literal["email", "phone"]


def redact_text(text: str, kinds: Sequence[Kind], regions: Sequence[str]) -> tuple[str, int]:
    """Return `text` with every address and number of `kinds` replaced by its placeholder, and how many there were.

    It expects the output of `normalize_text`, where nothing invisible splits a number. Redacting again finds nothing.

    Args:
        text: to redact.
        kinds: of personal data.
        regions: whose phone numbers are found without a country code, by codes of ISO 3166.
    """
    count = 0
    if "email" in kinds:
        text, count = replace_emails(text, EMAIL)
    if "phone" in kinds:
        text, found = replace_phones(text, PHONE, tuple(regions))
        count += found
    return text, count
