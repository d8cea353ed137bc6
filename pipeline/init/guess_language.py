"""Guess the language of texts: by their script, and for Latin letters by their most frequent short words."""

import re
from collections import Counter
from collections.abc import Iterable

SCRIPTS = {
    "ja": "\u3040-\u30ff", "ko": "\uac00-\ud7af", "zh": "\u4e00-\u9fff", "th": "\u0e00-\u0e7f", "ar": "\u0600-\u06ff",
    "hi": "\u0900-\u097f", "ru": "\u0400-\u04ff", "el": "\u0370-\u03ff", "he": "\u0590-\u05ff", "bn": "\u0980-\u09ff",
    "ta": "\u0b80-\u0bff", "te": "\u0c00-\u0c7f",
}  # fmt: skip
"""By language, the letters of the script that it alone, or most often, is written in; Japanese before Chinese, whose
characters it uses too."""

SHARE = 0.3
"""Of the letters, from which on a script is that of the texts."""

WORDS = {
    "en": "the of and to in is a on with for that this",
    "de": "der die das und ist ein eine mit auf den nicht von",
    "fr": "le la les des et est un une dans sur pour du",
    "es": "el la los las de que es una con por del en",
    "it": "il la di che una con per sono del nel gli lo",
    "pt": "o a os que do da uma com para não em no",
    "nl": "de het een van en is op met dat niet in voor",
    "pl": "w na z i się nie jest do to jak po od",
    "tr": "ve bir bu da de için ile çok olan gibi ne mi",
}
NO_WORDS = ("ja", "th", "ko")
"""Languages whose words spaCy tells only with further packages."""

ENOUGH_WORDS = 0.05
"""The share of the words that must be frequent ones."""


def guess_language(texts: Iterable[str]) -> str | None:
    """Return the code of the language; None where nothing says it."""
    text = " ".join(texts)
    letters = sum(map(str.isalpha, text))
    for code, characters in SCRIPTS.items():
        found = len(re.findall(f"[{characters}]", text))
        if letters and found > SHARE * letters * (0.3 if code == "ja" else 1):
            return code
    words = Counter(re.findall(r"[^\W\d_]+", text.lower()))
    known = {code: sum(words[word] for word in frequent.split()) for code, frequent in WORDS.items()}
    best = max(known, key=lambda code: known[code])
    return best if known[best] > ENOUGH_WORDS * words.total() else None
