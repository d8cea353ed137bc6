"""What may be written to a terminal of text that others wrote: names, captions, messages about them."""


def escape_controls(text: str) -> str:
    """The text with everything that a terminal would obey, or not show, written as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
