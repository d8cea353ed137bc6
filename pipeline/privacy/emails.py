"""Find e-mail addresses, also obfuscated ones (`jane at example dot org`), in linear time.

Each pattern starts only where no other attempt has passed (a look-behind), takes runs whole (possessive, `++`), or has
a bounded length: so no text makes it read the same characters again and again.
"""

import re
from collections.abc import Iterable, Iterator
from functools import partial

from pipeline.privacy.letters import LATIN, LATIN_DIGITS
from pipeline.privacy.spans import Span, find_in_turn

_AT, _DOT = "[@＠﹫]", "[.．﹒]"
_MARKS = "!#$%'*^`{|}~"  # RFC 5322's atoms have these too; at the front they are quotes and Markdown, and stay
_PUNCTUATION = r"._+\-"
_HOST = rf"[{LATIN}{LATIN_DIGITS}_-]"
_LATIN_DOMAIN = rf"(?:{_HOST}++{_DOT}){{1,126}}[{LATIN}]{_HOST}++"
_TOP_WITHOUT_SPACES = (
    "中国|中國|公司|网络|網絡|香港|台湾|台灣|在线|网址|网站|商城|集团|政务|公益|广告|手机|"
    "みんな|コム|한국|닷컴|닷넷|ไทย|คอม"
)
_ANY_DOMAIN = (
    rf"(?:[\w-]++{_DOT}){{1,126}}(?:[{LATIN}]{_HOST}++|[\u0370-\u052f]{{2,63}}+|{_TOP_WITHOUT_SPACES}"
    rf"|[^\W\d_{LATIN}\u0370-\u052f][\w-]++)"
)
"""A top-level domain is in one script: the letters of another behind it are those of the sentence."""

_ADDRESS = r"\[[\da-fA-F.:]{3,45}\]"
_LATIN_LOCAL = rf"{LATIN}{LATIN_DIGITS}{_PUNCTUATION}．﹒"

_LATIN_PATTERN = re.compile(
    rf"(?<![{_LATIN_LOCAL}{_MARKS}])[.{_MARKS}\-]*+(?P<value>[{_LATIN_LOCAL}{_MARKS}]++"
    rf"{_AT}(?:{_LATIN_DOMAIN}|{_ANY_DOMAIN}|{_ADDRESS}))"
)
"""In Latin letters: the letters of another script beside them are no part of it."""

_ANY_PATTERN = re.compile(
    rf"(?<![\w{_PUNCTUATION}{_MARKS}])[.{_MARKS}\-]*+(?P<value>[\w{_PUNCTUATION}{_MARKS}]++"
    rf"{_AT}(?:{_ANY_DOMAIN}|{_ADDRESS}))"
)
"""In the letters of any script."""

_ESCAPED_PATTERN = re.compile(
    r"(?<![A-Za-z0-9._+-])(?P<value>[A-Za-z0-9._+-]++%40(?:[A-Za-z0-9-]++\.){1,126}[A-Za-z][A-Za-z0-9-]++)"
)
"""In URLs: `?to=jane%40example.org`."""

_TOKEN = r"[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,63}+"
_LABEL = r"[A-Za-z0-9][A-Za-z0-9-]{0,62}+"
_TOP = (
    r"(?:com|org|net|edu|gov|mil|int|info|biz|museum|name|app|dev|online|site|tech|cloud|email|example|test|invalid|"
    r"[a-z]{2})(?![A-Za-z0-9])"
)
_AT_WORD = r"(?:at|ät|arroba|arobase|chiocciola|klammeraffe|małpa|собака|собачка|@|＠)"
_DOT_WORD = r"(?:dot|punkt|point|punto|ponto|kropka|точка|nokta|\.)"
_OPEN, _CLOSE = r"[\[({<（【]", r"[\])}>）】]"
_BRACKETED_AT = rf"[ ]?{_OPEN}[ ]?(?:{_AT_WORD}|a)[ ]?{_CLOSE}[ ]?"
_BRACKETED_DOT = rf"[ ]?{_OPEN}[ ]?{_DOT_WORD}[ ]?{_CLOSE}[ ]?"
_BARE_DOT = r"[ ](?:dot|punkt|point|punto|ponto|kropka|точка|nokta)[ ]"
_ANY_DOT = rf"(?:{_BRACKETED_DOT}|{_BARE_DOT}|\.)"
_LOCAL = rf"{_TOKEN}(?:(?:{_BRACKETED_DOT}|{_BARE_DOT}){_TOKEN}){{0,3}}"

_OBFUSCATED = re.compile(
    rf"(?<![A-Za-z0-9._+-])(?P<value>"
    # jane (at) example.org, jane [at] example [dot] org
    rf"{_LOCAL}{_BRACKETED_AT}(?:{_LABEL}{_ANY_DOT}){{1,4}}{_TOP}"
    # jane at example dot org: only a spelled dot tells it from "meet at noon."
    rf"|{_LOCAL}(?:[ ]{_AT_WORD}[ ]|@)(?:{_LABEL}{_ANY_DOT}){{0,3}}{_LABEL}(?:{_BRACKETED_DOT}|{_BARE_DOT}){_TOP}"
    # jane.doe @ example.org
    rf"|[A-Za-z0-9_+-]{{1,64}}[._][A-Za-z0-9._+-]{{1,64}}[ ][@＠][ ](?:{_LABEL}\.){{1,4}}{_TOP}"
    rf")",
    re.IGNORECASE,
)
_BRACKETED_HINT = re.compile(rf"{_OPEN}[ ]?(?:{_AT_WORD}|a)[ ]?{_CLOSE}", re.IGNORECASE)
_DOT_WORDS = ("dot", "punkt", "point", "punto", "ponto", "kropka", "точка", "nokta")
_BRACKETS = frozenset("[({<（【")


def find_emails(text: str) -> Iterable[Span]:
    """Return the spans of e-mail addresses."""
    patterns = []
    if "@" in text or "＠" in text or "﹫" in text:
        patterns += [_LATIN_PATTERN, _ANY_PATTERN]
    if "%40" in text:
        patterns.append(_ESCAPED_PATTERN)
    if _may_obfuscate(text):
        patterns.append(_OBFUSCATED)
    return find_in_turn(text, [partial(_match, pattern) for pattern in patterns])


def _may_obfuscate(text: str) -> bool:
    """Return whether a text may have an obfuscated address: nearly all others are told so in a microsecond."""
    if "@ " in text or (not _BRACKETS.isdisjoint(text) and _BRACKETED_HINT.search(text)):
        return True
    folded = text.casefold()
    return any(word in folded for word in _DOT_WORDS)


def _match(pattern: re.Pattern[str], text: str) -> Iterator[Span]:
    return (match.span("value") for match in pattern.finditer(text))
