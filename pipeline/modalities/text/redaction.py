"""Replace e-mail addresses and phone numbers in texts, in linear time.

Each pattern starts only where no other attempt has passed (a look-behind), takes runs whole (possessive, `++`), or has
a bounded length: so no text makes it read the same characters again and again.
"""

import re
from collections.abc import Sequence
from typing import Literal

from pipeline.modalities.text.placeholders import EMAIL, PHONE

Kind = Literal["email", "phone"]

_LOCAL = r"[\w.!#$%'*+^`{|}~-]"  # of RFC 5322's atoms all but those that stand around addresses in URLs and lists
_EMAIL = re.compile(
    rf"(?<!{_LOCAL}){_LOCAL}++"
    r"[@＠﹫]"
    r"(?:(?:[\w-]++\.){1,126}[^\W\d_][\w-]++|\[[\da-fA-F.:]{3,45}\])"
)

_GAP = r"[ .()/‐-―−-]"  # between the digits of a number: space, dot, brackets, slash, and all dashes
_PHONE = re.compile(
    rf"""
    (?<![\w+.,/=\#$€£¥₹-]) (?<![$€£¥₹][ ])
    (?! \(? (?: \d\d?([./-])\d\d?\1(?:\d\d)?\d\d | \d{{4}}([./-])\d\d?\2\d\d? ) (?!\d|[./-]\d) )  # not a date
    (?! \d[05]0 [‑-] [1-9]\d[05]0 (?!\d) )  # not a range of round numbers
    (?:
        [+＋] [ ]? \(?\d{{1,3}} (?:{_GAP}{{0,3}}\d){{6,12}}                    # +34 612 34 56 78, +1 (555) 010-0199
      | 00 [ ]? [1-9]\d{{0,2}} (?:{_GAP}{{0,3}}\d){{6,12}}                     # 0049 30 1234567
      | (?:1[ .-])? (?:\([2-9]\d\d\)[ ]? | [2-9]\d\d[ .-]) \d{{3}}[ .‑-]\d{{4}}  # (555) 010-0199, 1-555-010-0199
      | [2-9]\d\d [‑-] \d{{4}}                                                 # 555-0100
      | \(?0[1-9] (?:{_GAP}{{0,3}}\d){{7,9}}                                   # 030 1234567, (020) 7946 0958
      | [6-9]\d\d [ ] \d\d [ ] \d\d [ ] \d\d                                   # 612 34 56 78
    )
    (?! \w | {_GAP}?\d | [%€£¥] )
    """,
    re.VERBOSE,
)
_NAMED_PHONE = re.compile(
    rf"""
    (?<!\w)
    ( (?:tel|telephone|telefon|tel[eé]fono|t[eé]l[eé]phone|phone|mobile|m[oó]vil|handy|cell|fax|whatsapp)
      (?:[ ](?:no|number|nr))? [.:]{{0,2}} [ ]? )
    \(?\d (?:{_GAP}{{0,3}}\d){{5,13}} (?!\w)
    """,
    re.VERBOSE | re.IGNORECASE,
)


def redact_text(text: str, kinds: Sequence[Kind]) -> tuple[str, int]:
    """Return `text` with every address and number of `kinds` replaced by its placeholder, and how many there were.

    It expects the output of `normalize_text`, where nothing invisible splits a number. Redacting again finds nothing.
    """
    count = 0
    if "email" in kinds:
        text, found = _EMAIL.subn(EMAIL, text)
        count += found
    if "phone" in kinds:
        text, found = _NAMED_PHONE.subn(rf"\1{PHONE}", text)
        text, more = _PHONE.subn(PHONE, text)
        count += found + more
    return text, count
