"""What a parser says of bytes that are not what they should be."""


class FormatFault(ValueError):  # noqa: N818 - it says what is wrong with the data, not that the program went wrong
    """The bytes are not of this format, or are damaged. The message is our own words about where, without content."""


class Truncated(FormatFault):
    """The bytes end before the file that they begin does."""
