"""Find e-mail addresses, in linear time.

Each pattern starts only where no other attempt has passed (a look-behind), takes runs whole (possessive, `++`), or has
a bounded length: so no text makes it read the same characters again and again.
"""

import re

from pipeline.modalities.text.redaction.letters import LATIN, LATIN_DIGITS

_AT, _DOT = "[@＠﹫]", "[.．﹒]"
_MARKS = "!#$%'*^`{|}~"  # RFC 5322's atoms have these too; at the front they are quotes and Markdown, and stay
_PUNCTUATION = r"._+\-"
_HOST = rf"[{LATIN}{LATIN_DIGITS}_-]"
_LATIN_DOMAIN = rf"(?:{_HOST}++{_DOT}){{1,126}}[{LATIN}]{_HOST}++"
_ANY_DOMAIN = rf"(?:[\w-]++{_DOT}){{1,126}}[^\W\d_][\w-]++"
_ADDRESS = r"\[[\da-fA-F.:]{3,45}\]"

_LATIN_LOCAL = rf"{LATIN}{LATIN_DIGITS}{_PUNCTUATION}．﹒"
_PATTERNS = (
    # In Latin letters: the letters of another script beside them are no part of it.
    re.compile(
        rf"(?<![{_LATIN_LOCAL}{_MARKS}])(?P<before>[.{_MARKS}\-]*+)[{_LATIN_LOCAL}{_MARKS}]++"
        rf"{_AT}(?:{_LATIN_DOMAIN}|{_ANY_DOMAIN}|{_ADDRESS})"
    ),
    # In the letters of any script.
    re.compile(
        rf"(?<![\w{_PUNCTUATION}{_MARKS}])(?P<before>[.{_MARKS}\-]*+)[\w{_PUNCTUATION}{_MARKS}]++"
        rf"{_AT}(?:{_ANY_DOMAIN}|{_ADDRESS})"
    ),
)


def replace_emails(text: str, placeholder: str) -> tuple[str, int]:
    """Return the text with `placeholder` for each e-mail address, and how many there were."""
    count = 0
    if re.search(_AT, text):
        for pattern in _PATTERNS:
            text, found = pattern.subn(rf"\g<before>{placeholder}", text)
            count += found
    return text, count
