"""A sample's key: a stem that a person recognises, and a hash that tells samples apart."""

import hashlib
import re
import unicodedata

MAX_STEM = 51  # with a dash and the hash 64 characters, the longest key that a shard takes
HASH_DIGITS = 12  # 48 bits: a million samples of one stem collide with a chance of 0.2 %


def make_key(material: str, apart: str = "") -> str:
    """The key, `[A-Za-z0-9_-]{1,64}`, of the sample that was aligned by `material`, a path or a name.

    `apart` goes into the hash alone: it tells samples of the same material apart.

    `animals/birds/owl` gives `animals-birds-owl-` and 12 hex digits: the last components that fit whole, their
    accents dropped, other characters as dashes. A material with nothing to read gives the stem `sample`.
    """
    digest = hashlib.sha256(f"{material}{apart}".encode()).hexdigest()[:HASH_DIGITS]
    return f"{_make_stem(material) or 'sample'}-{digest}"


def _make_stem(material: str) -> str:
    plain = unicodedata.normalize("NFKD", material).encode("ascii", "ignore").decode()
    plain = re.sub(r"\.[A-Za-z][A-Za-z0-9]{0,4}$", "", plain)  # a file's ending
    parts = [part for part in (re.sub(r"[^A-Za-z0-9_]+", "-", piece).strip("-") for piece in plain.split("/")) if part]
    stem = ""
    for part in reversed(parts):
        longer = f"{part}-{stem}" if stem else part
        if len(longer) > MAX_STEM:
            break
        stem = longer
    return stem or (parts[-1][:MAX_STEM] if parts else "")
