"""Escape text from elsewhere, such as names and captions, before it is written to a terminal."""


def escape_controls(text: str) -> str:
    """Return the text with control sequences and other characters that are not printable as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
