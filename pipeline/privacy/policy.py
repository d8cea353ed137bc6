"""Say what is looked for in texts and names, and what takes its place."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from pipeline.errors import ParamsError
from pipeline.privacy.kinds import TAGS, Kind

Action = Literal["placeholder", "pseudonym", "remove"]

NAME = "name"
"""The action for names: a pseudonym without brackets."""

MIN_KEY_BYTES = 16
PSEUDONYM_BYTES = 6
"""Of the keyed hash: with a million different values, two get the same pseudonym with a chance of 1 in 560."""

NO_KEY = b"shardwright: no key"
"""Stands for a key where none is set: the same in all projects, so that whoever guesses a value can check it."""


@dataclass(frozen=True)
class Policy:
    """What is redacted.

    Attributes:
        kinds: that are looked for.
        action: a placeholder `[EMAIL]`, the pseudonym `[EMAIL-5f2c01d3aa9e]`, the same for the same value, or nothing;
            in names a pseudonym without brackets.
        regions: whose phone numbers are found without a country code, by codes of ISO 3166.
        key: of the hash that gives pseudonyms.
        model: the name or folder of a spaCy pipeline that finds names of persons.
        strict: digits alone are no number of any kind, and a phone number needs its country code or a word before it:
            for names of files and groups, where digits count things.
    """

    kinds: frozenset[Kind]
    action: Action | Literal["name"] = "placeholder"
    regions: tuple[str, ...] = ()
    key: bytes = NO_KEY
    model: str | None = None
    strict: bool = False

    def replace(self, kind: Kind, value: str) -> str:
        """Return what takes the place of a value."""
        if self.action == "remove":
            return ""
        if self.action == NAME:
            return self.name(kind, value)
        return f"[{TAGS[kind] if self.action == 'placeholder' else self.name(kind, value)}]"

    def name(self, kind: Kind, value: str) -> str:
        """Return a pseudonym: `EMAIL-5f2c01d3aa9e`, the BLAKE2b of the kind and the value, keyed."""
        content = f"{kind}\0{value.casefold().replace('%40', '@')}".encode("utf-8", "surrogatepass")
        return f"{TAGS[kind]}-{hashlib.blake2b(content, key=self.key, digest_size=PSEUDONYM_BYTES).hexdigest()}"


def read_policy(
    kinds: Sequence[Kind], action: Action, regions: Sequence[str], key_file: str | None, model: str | None
) -> Policy:
    """Return the policy that settings describe. See `read_key` for what it raises."""
    used = NO_KEY if key_file is None else read_key(key_file)
    return _make_policy(frozenset(kinds), action, tuple(regions), used, model)


_make_policy = cache(Policy)


@cache
def read_key(path: str) -> bytes:
    """Return the key that a file holds, as long as BLAKE2b takes: 32 bytes.

    Raises:
        ParamsError: the file is missing or shorter than 16 bytes.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ParamsError(
            f"redact_key names {path}, which cannot be read ({error.strerror}): make it, "
            f"`head -c 32 /dev/urandom > {path}; chmod 600 {path}`"
        ) from None
    if len(content) < MIN_KEY_BYTES:
        raise ParamsError(f"redact_key names {path}, which has {len(content)} bytes; it must have {MIN_KEY_BYTES}")
    return hashlib.blake2b(content, digest_size=32).digest()


def fingerprint_key(path: str | None) -> str:
    """Return what tells one key from another and not what it is; "" for none."""
    return "" if path is None else hashlib.blake2b(b"fingerprint", key=read_key(path), digest_size=8).hexdigest()
