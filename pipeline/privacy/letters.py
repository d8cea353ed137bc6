"""Define classes of characters, for the inside of a `[…]` of a regular expression.

Python's `\\w` and `\\b` take all letters for one kind. Between words of Chinese, Japanese, Thai and others there is no
space, and an address or a number in Latin letters and digits begins and ends where the script changes.
"""

LATIN = (
    "A-Za-zªºÀ-ÖØ-öø-ɏɐ-ʯ"  # ASCII, Latin-1, Extended-A and -B, IPA
    "\u0300-\u036f"  # combining marks
    "Ḁ-ỿⱠ-Ɀ꜠-ꟿ"  # Extended Additional, -C, -D
    "Ａ-Ｚａ-ｚ"  # full width
)
"""Letters of the Latin script."""

LATIN_DIGITS = "0-9０-９"
"""ASCII's digits, and their full-width forms in Chinese and Japanese text."""

SPACED = rf"{LATIN}\u0370-\u052f\u0531-\u058f\u10a0-\u10ff"
"""Letters of scripts that write spaces between words: Latin, Greek, Cyrillic, Armenian, Georgian."""

DASHES = "\\-‐-―−－ー"
"""All dashes, with the long vowel mark that Japanese keyboards give in their place."""
