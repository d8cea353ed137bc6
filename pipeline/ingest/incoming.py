"""A file that came in, from wherever: its name in the ledger, its bytes, and what is said about it."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.records import Rejection

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Said:
    """What a list or a table says about a file; None where it says nothing. `start` and `end` are seconds."""

    caption: str | None = None
    label: str | None = None
    group: str | None = None
    split: str | None = None
    licence: str | None = None
    attribution: str | None = None
    language: str | None = None
    sample: str | None = None
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True, slots=True)
class Incoming:
    """One file. `read` gives its bytes, or why they cannot be had; it may be called more than once.

    `url` and `page` are None for local files; `content_type` is the server's word, which nothing trusts.
    """

    source: str
    file: str
    read: Callable[[], bytes | Rejection]
    said: Said = Said()
    url: str | None = None
    page: str | None = None
    content_type: str | None = None

    @property
    def key(self) -> str:
        """Its name in the ledger."""
        return make_key(self.source, self.file)


def make_key(source: str, file: str) -> str:
    """`folder:animals/cat.png`."""
    return f"{source}:{file}"


def escape_name(name: bytes) -> str:
    r"""A file's name as text that can be shown and stored: bytes that are not UTF-8, controls and backslashes escaped.

    No two names give the same text: `\xff` is a byte, `\\xff` four characters.
    """
    text = name.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")
    return _UNPRINTABLE.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}"
