"""The check of a text: UTF-8, in one normal form and free of e-mail addresses and phone numbers."""

import hashlib
import unicodedata
from typing import Annotated

from pydantic import Field as Limits

from pipeline.modalities.characters import normalize_text
from pipeline.modalities.modality import Checked, Fingerprint
from pipeline.modalities.redaction import Kind, redact_text
from pipeline.params import Params
from pipeline.records import Reason, Rejection


class TextCheck(Params):
    """What a text must be to be kept, and what is taken out of it."""

    min_characters: Annotated[int, Limits(ge=1)]
    """Code points, of the cleaned text."""
    max_characters: Annotated[int, Limits(ge=1, le=1_000_000)]
    """Code points, of the text as it came."""
    redact: Annotated[tuple[Kind, ...], Limits(strict=False)]
    """What is replaced by [EMAIL] and [PHONE]."""


def check_text(data: bytes, media_type: str, params: TextCheck) -> Checked | Rejection:
    """Normalise and redact a text, and judge what is left. The fact is characters (code points)."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as fault:
        return Rejection(Reason.NOT_UTF8, "first byte that is not UTF-8", str(fault.start))
    if len(text) > params.max_characters:
        return Rejection(Reason.TOO_LONG, "characters", str(len(text)), str(params.max_characters))
    text, redactions = redact_text(normalize_text(text), params.redact)
    if not text:
        return Rejection(Reason.EMPTY, "no visible characters")
    if len(text) < params.min_characters:
        return Rejection(Reason.TOO_SHORT, "characters", str(len(text)), str(params.min_characters))
    cleaned = text.encode()
    return Checked(
        data if cleaned == data else cleaned, {"characters": len(text)}, Fingerprint(_hash_words(text)), redactions
    )


def _hash_words(text: str) -> int:
    """64 bits that texts share whose words are the same, whatever their case, punctuation and spacing."""
    folded = unicodedata.normalize("NFKC", text.casefold())
    spaced = "".join(" " if unicodedata.category(char)[0] in "PZC" else char for char in folded)
    words = " ".join(spaced.split()) or text
    return int.from_bytes(hashlib.blake2b(words.encode(), digest_size=8).digest(), "little")
