"""Measure the quality of texts of any script, in linear time."""

import re
import unicodedata
from collections import Counter

STRETCH = 12
"""Characters: two words of English, a clause of Chinese."""

_DENSE = re.compile(
    "[\u1100-\u11ff\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3040-\u30ff\u3130-\u318f\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U00016fe0-\U0001b2ff"
    "\U00020000-\U0003ffff]"
)
"""Han, kana, Hangul, Yi, Tangut and Khitan: their blocks in Unicode 15."""


def count_dense(text: str) -> int:
    """Return the number of characters of scripts that write a word or a syllable with one."""
    return 0 if text.isascii() else sum(1 for _ in _DENSE.finditer(text))


def measure_repetition(text: str) -> float:
    """Return the share, 0 to 1, of the stretches of 12 characters that occurred earlier in the text."""
    count = len(text) - STRETCH + 1
    if count < 2:
        return 0.0
    return 1 - len({text[start : start + STRETCH] for start in range(count)}) / count


def measure_symbols(text: str) -> float:
    """Return the share, 0 to 1, of characters that are neither letters, marks, digits nor spaces."""
    counts = Counter(text)
    kept = sum(count for char, count in counts.items() if char.isspace() or unicodedata.category(char)[0] in "LMN")
    return 1 - kept / max(len(text), 1)
